"""Settings out of a picture and into the form, also when the picture was made to do harm."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import sample_images
from hostile_pictures import GOOD_JPEG, GOOD_PNG, with_recipe

from cxr.commands.main import build_parser, main
from cxr.commands.restore import command_line
from cxr.dataset.reproduce import Reproducer
from cxr.images.png import encode_png
from cxr.images.recipe_file import find_differences, read_recipe_file
from cxr.request.errors import CxrError, DataError
from cxr.request.model_info import EARLIER, EARLIER_ADAPTER, EARLIER_FOLDER, EarlierWeights, ModelInfo, earlier_commit
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.begin_panel import NOTHING, build_begin_panel
from cxr.web.page.blocks import build_page
from cxr.web.page.image_form import build_image_form
from cxr.web.page.restore import build_restore, describe
from cxr.web.server.init_upload import PictureReader

RECIPE = replace(sample_images.RECIPE, negative_prompt="mass", guidance_stop=0.6, library_versions={})
EARLIER_MODELS = [(weights, weights.model_revision) for weights in EARLIER if weights.model_revision is not None]
EARLIER_LORAS = [weights for weights in EARLIER if weights.adapter_sha256]
INFO = ModelInfo("embedded", "sha256:00", "clinical", "11", 32, RECIPE.scheduler, "float32", "cpu")


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{'0123456789abcdef' * 2}.png"  # as the door names uploads
    path.write_bytes(data)
    return path


def test_own_picture_gives_its_recipe(tmp_path: Path) -> None:
    image = replace(sample_images.make_image(0), recipe=RECIPE)
    assert read_recipe_file(written(tmp_path, encode_png(image)), tmp_path) == RECIPE


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "examples").glob("0*.png")), ids=lambda p: p.name)
def test_shipped_examples_can_be_restored(path: Path) -> None:
    assert read_recipe_file(path, path.parent).prompt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read: the recipe is not the JSON"),
        ("[" * 30_000, "cannot read: the recipe is not the JSON"),
        ("x" * 64_001, "more than 64,000 characters"),
        (json.dumps(RECIPE.values | {"num_threads": 1_500}), "cannot read: num_threads is 1500"),
    ],
)
def test_recipes_that_are_not_allowed(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_recipe_file(written(tmp_path, with_recipe(text)), tmp_path)


@pytest.mark.parametrize("data", [GOOD_PNG, GOOD_JPEG], ids=["png", "jpeg"])
def test_pictures_without_a_recipe(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="holds no recipe"):
        read_recipe_file(written(tmp_path, data), tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"model_revision": "sha256:99"}, ["another version of the model embedded"]),
        ({"model": "own", "model_revision": "sha256:99"}, ["the model own"]),
        ({"adapter_sha256": "99"}, ["another version of the LoRA clinical"]),
        ({"adapter": "none", "adapter_sha256": ""}, ["the LoRA none"]),
        ({"width": 64}, ["64 × 32 pixels"]),
        ({"weight_dtype": "bfloat16", "device": "cuda"}, ["bfloat16", "cuda"]),
        ({"library_versions": {"torch": "1.0", "unknown": "3"}}, [r"torch 1.0 (here "]),
    ],
)
def test_differences_are_said(changes: dict[str, Any], words: list[str]) -> None:
    recipe = replace(RECIPE, **changes)
    differences = find_differences(recipe, INFO)
    assert len(differences) == len(words)
    said = describe(recipe, INFO)
    assert ("may come out differently" in said) == bool(words)
    assert all(word in said for word in words)


def test_what_is_said_is_text() -> None:
    said = describe(replace(RECIPE, model="<img src=x>", model_revision="", bit_depth=16), INFO)
    assert "<img" not in said
    assert "Its grey levels: 16; the page makes images with 8." in said
    assert "could not be compared" in describe(RECIPE, None)


def restoring() -> tuple[Any, Any]:
    """The form and the function of the event."""
    with gr.Blocks() as page:
        form = build_image_form(ModelChoice())
        begin, _ = build_begin_panel(PictureReader())
        build_restore(form, lambda: INFO, begin)
    (function,) = [fn for fn in page.fns.values() if fn.name == "restore"]
    return form, function


def test_every_field_is_filled_and_the_upload_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    form, event = restoring()
    path = written(tmp_path, encode_png(replace(sample_images.make_image(0), recipe=RECIPE)))
    values = dict(zip(event.outputs, event.fn(str(path)), strict=True))
    assert not path.exists()
    assert values.pop(form.randomise) is False
    assert values.pop(form.settings["num_images"]) == 1
    for name in (
        "prompt",
        "negative_prompt",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "guidance_stop",
        "reword",
    ):
        assert values.pop(form.settings[name]) == getattr(RECIPE, name)
    assert values.pop(form.settings["adapter_weight"]) == RECIPE.adapter_weight
    _, region, _, said, file = values.values()  # the first three are of the panel "Start from a picture"
    assert region == NOTHING
    assert "seed 7" in said
    assert file is None
    assert event.api_visibility == "private"


def test_a_refused_upload_is_gone_too_and_another_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "temp"
    inside.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(inside))
    _, event = restoring()
    for folder, remains in ((inside, False), (tmp_path, True)):
        path = written(folder, GOOD_PNG)
        *form, said, file = event.fn(str(path))
        assert all(value == gr.skip() for value in form)
        assert "Nothing was changed." in said
        assert file is None
        assert path.exists() == remains


def test_the_page_has_it_folded_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build_page(ModelChoice("embedded"))
    (accordion,) = [block for block in page.blocks.values() if getattr(block, "elem_id", "") == "restore"]
    assert isinstance(accordion, gr.Accordion)
    assert accordion.open is False


def test_no_event_lets_pillow_read_what_visitors_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    inputs = {type(widget) for fn in build_page(ModelChoice("embedded")).fns.values() for widget in fn.inputs}
    assert gr.UploadButton in inputs
    assert not inputs & {gr.Image, gr.Gallery, gr.ImageEditor, gr.ImageSlider, gr.AnnotatedImage, gr.MultimodalTextbox}


def test_command_line_that_makes_an_example_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_ENGINE", "pytorch")  # as that of the recipe: the line need not say it
    recipe = replace(RECIPE, prompt="it's a `man` with $HOME; rm -rf", seed=12)
    path = written(tmp_path, encode_png(replace(sample_images.make_image(0), recipe=recipe)))
    assert main(["restore", str(path)]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:5] == ["python", "-m", "cxr", "generate", recipe.prompt]
    words.remove("--no-reword")
    given = dict(zip(words[5::2], words[6::2], strict=True))
    assert given["--seed"] == "12"
    assert given["--negative-prompt"] == "mass"
    assert given["--guidance-stop"] == "0.6"
    arguments = build_parser().parse_args(words[3:])
    assert (arguments.model, arguments.adapter, arguments.seed) == ("embedded", "clinical", 12)
    words = shlex.split(command_line(replace(recipe, negative_prompt="-mass")))
    assert build_parser().parse_args(words[3:]).negative_prompt == "-mass"
    line = command_line(replace(recipe, prompt="--help"))
    assert build_parser().parse_args(shlex.split(line)[3:]).prompt == "--help"


@pytest.mark.skipif(not shutil.which("bash"), reason="needs a shell that knows $'...'")
def test_the_command_line_keeps_every_character_of_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = "  it's   a\\n `man`\n\twith\xa0$HOME\u200b, Übung 肺炎 "
    recipe = replace(RECIPE, prompt=prompt)
    path = written(tmp_path, encode_png(replace(sample_images.make_image(0), recipe=recipe)))
    assert main(["restore", str(path)]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    argument = line[line.index("$'") : line.index(" --negative-prompt")]
    shown = subprocess.run(
        ["bash", "-c", f"printf %s {argument}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shown.stdout.decode() == prompt


@pytest.mark.parametrize(
    ("model", "revision", "named"),
    [
        ("embedded", "sha256:12", "embedded"),
        ("sd15", f"hub:stable-diffusion-v1-5/stable-diffusion-v1-5@{'a' * 40}", "sd15"),
        ("owner/name", f"hub:owner/name@{'a' * 40}", f"hub:owner/name@{'a' * 40}"),
        ("my_folder", "sha256:12", "MODEL_FOLDER"),
    ],
)
def test_the_command_line_names_a_model_that_can_be_found_again(model: str, revision: str, named: str) -> None:
    recipe = replace(RECIPE, model=model, model_revision=revision)
    words = shlex.split(command_line(recipe))
    assert words[words.index("--model") + 1] == named


def test_command_line_refuses_other_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restore", str(written(tmp_path, GOOD_PNG))]) == 2
    assert "holds no recipe" in capsys.readouterr().err
    own = replace(RECIPE, model="own")
    path = written(tmp_path, encode_png(replace(sample_images.make_image(0), recipe=own)))
    assert main(["restore", str(path)]) == 0
    said = capsys.readouterr()
    assert "--model MODEL_FOLDER" in said.out
    assert "folder of the model own" in said.err


@pytest.mark.parametrize(("weights", "revision"), EARLIER_MODELS, ids=[weights.commit for weights, _ in EARLIER_MODELS])
def test_weights_that_no_longer_ship_are_found_again(
    weights: EarlierWeights, revision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = weights.adapter_sha256 or "ab" * 32
    recipe = replace(RECIPE, model_revision=revision, adapter="clinical", adapter_sha256=sha256)
    path = written(tmp_path, encode_png(replace(sample_images.make_image(0), recipe=recipe)))
    assert main(["restore", str(path)]) == 0
    said = capsys.readouterr()
    assert f"--model {EARLIER_FOLDER}" in said.out
    assert f"--adapter {EARLIER_ADAPTER}" in said.out
    assert f"git worktree add earlier {weights.commit}" in said.err
    mixed = replace(recipe, adapter="clinical:0.5,local:own:0.25")
    assert f"--adapter {EARLIER_ADAPTER}:0.5,local:own:0.25" in command_line(mixed)
    todays = replace(recipe, model_revision=RECIPE.model_revision, adapter_sha256="ab" * 32)
    assert "--adapter clinical" in command_line(todays)
    assert "git worktree add earlier" in describe(recipe, INFO)
    assert "git worktree" not in describe(RECIPE, INFO)
    with pytest.raises(DataError, match="git worktree add earlier"):
        Reproducer(adapter="none").check(np.zeros((32, 32), np.uint8), recipe, 8)


@pytest.mark.parametrize("weights", EARLIER_LORAS, ids=lambda weights: weights.commit)
def test_a_lora_that_no_longer_ships_is_found_again_beside_another_model(weights: EarlierWeights) -> None:
    sha256 = f"{weights.adapter_sha256},{'ab' * 32}"
    recipe = replace(RECIPE, adapter="clinical,local:own", adapter_sha256=sha256)
    command, said = command_line(recipe), describe(recipe, INFO)
    assert f"--adapter {EARLIER_ADAPTER}:1,local:own:1" in command
    assert EARLIER_FOLDER not in command
    assert f"git worktree add earlier {weights.commit}" in said
    assert "--model" not in said
    (newest, revision), (oldest, first_revision) = EARLIER_MODELS[0], EARLIER_MODELS[-1]
    assert earlier_commit(revision, "") == newest.commit
    assert earlier_commit(first_revision, sha256) == oldest.commit
    assert earlier_commit(RECIPE.model_revision, "") is None
