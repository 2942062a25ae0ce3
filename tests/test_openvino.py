"""OpenVINO in place of PyTorch: the same bytes at any time, close to PyTorch, prepared once, never changed midway."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_families import save_tiny
from tiny_model import images_of

from cxr.commands.main import main
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import build_plan
from cxr.dataset.reproduce import IDENTICAL, Reproducer
from cxr.generate.images import generate, generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.images.png import encode_png
from cxr.models.decisions import decide_once, find_decision
from cxr.models.openvino import engine_choice, graph_cache
from cxr.models.openvino.engine_choice import PREPARING, EngineChoice, choose_engine
from cxr.models.openvino.graph_cache import MAX_GRAPHS, find_graph, graphs_folder, keep_graph
from cxr.models.openvino.library import is_installed
from cxr.models.openvino.prepare import prepare, question_of, start_preparing
from cxr.request.events import GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest
from cxr.request.init_image import InitImage, hash_of

pytestmark = pytest.mark.skipif(not is_installed(), reason="OpenVINO is not installed: pip install openvino")

CPU = torch.device("cpu")
REQUEST = GenerationRequest("chest xray", num_inference_steps=4, guidance_scale=3.0, seed=3, bit_depth=16)
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
PICTURE = InitImage(32, 32, NOISE.tobytes(), hash_of(NOISE))
LEFT_HALF = " ".join(f"{row}:0-7" for row in range(16))
LEVEL = 257  # of 16 bits


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was measured, and a process that has not chosen; without CXR_ENGINE."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_choice, "chosen", {})
    monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
    monkeypatch.delenv("CXR_ENGINE")
    return tmp_path / "cache"


@pytest.fixture(name="model", scope="module")
def _model(tiny_model_dir: Path, tiny_lora_dir: Path) -> LoadedModel:
    return load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}", engine="openvino")


@pytest.fixture(name="reference", scope="module")
def _reference(tiny_model_dir: Path, tiny_lora_dir: Path) -> LoadedModel:
    return load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}", engine="pytorch")


def pixels_of(request: GenerationRequest, model: LoadedModel) -> NDArray[np.int64]:
    return np.stack([image.pixels for image in images_of(request, model)]).astype(np.int64)


def config_of(model: LoadedModel) -> Any:
    return dict(model.pipeline.unet.config)


# What it makes

REQUESTS: dict[str, dict[str, Any]] = {
    "guided": {},
    "not guided": {"guidance_scale": 1.0},
    "guided to the half": {"guidance_stop": 0.5},
    "guided not at all": {"guidance_stop": 0.0},
    "a negative prompt": {"negative_prompt": "effusion"},
    "one step": {"num_inference_steps": 1},
    "a picture": {"init_image": PICTURE, "strength": 0.5},
    "a region": {"init_image": PICTURE, "strength": 1.0, "mask_cells": LEFT_HALF},
    "without the LoRA": {"adapter_weight": 0.0},
    "half of it": {"adapter_weight": 0.5},
    "twice as much": {"adapter_weight": 2.0},
    "8 bits": {"bit_depth": 8},
    "three": {"num_images": 3},
}


@pytest.mark.parametrize("changes", REQUESTS.values(), ids=list(REQUESTS))
def test_an_image_is_pytorchs_within_a_grey_level_and_always_the_same(
    changes: dict[str, Any], model: LoadedModel, reference: LoadedModel
) -> None:
    request = dataclasses.replace(REQUEST, **changes)
    made = pixels_of(request, model)
    assert np.abs(made - pixels_of(request, reference)).max() <= (1 if request.bit_depth == 8 else LEVEL)
    assert np.array_equal(pixels_of(request, model), made)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "DDPMScheduler"])
def test_schedulers_whose_timesteps_are_fractions_too(name: str, tiny_model_dir: Path) -> None:
    made = []
    for engine in ("openvino", "pytorch"):
        model = load_model(str(tiny_model_dir), "none", engine=engine)
        options = {"timestep_spacing": "linspace", "rescale_betas_zero_snr": False}
        model.pipeline.scheduler = getattr(diffusers, name).from_config(model.pipeline.scheduler.config, **options)
        made.append(pixels_of(REQUEST, model))
    assert np.abs(made[0] - made[1]).max() <= LEVEL


@pytest.mark.parametrize("name", ["guided to the half", "half of it", "a region"])
def test_what_is_made_meanwhile_changes_nothing(name: str, model: LoadedModel) -> None:
    request = dataclasses.replace(REQUEST, **REQUESTS[name])
    made = pixels_of(request, model)
    pixels_of(dataclasses.replace(REQUEST, adapter_weight=1.5, guidance_scale=7.0, num_images=2), model)
    assert np.array_equal(pixels_of(request, model), made)


def test_another_process_would_make_the_same(
    model: LoadedModel, tiny_model_dir: Path, tiny_lora_dir: Path, empty_cache: Path
) -> None:
    again = load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}", engine="openvino")
    assert np.array_equal(pixels_of(REQUEST, again), pixels_of(REQUEST, model))
    assert [path.suffix for path in graphs_folder().iterdir()] == [".zip"]


def test_an_image_depends_on_no_other_in_its_batch(tiny_model_dir: Path) -> None:
    four = load_model(str(tiny_model_dir), "none", engine="openvino", micro_batch_size=4)
    together = pixels_of(dataclasses.replace(REQUEST, num_images=5), four)
    for k in range(5):
        assert np.array_equal(pixels_of(dataclasses.replace(REQUEST, seed=3 + k), four)[0], together[k])
    backwards = [dataclasses.replace(REQUEST, seed=3 + k) for k in (3, 2, 1, 0)]
    made = [event.pixels for event in generate_each(backwards, four) if isinstance(event, GeneratedImage)]
    assert np.array_equal(np.stack(made)[::-1], together[:4])


def test_another_thread_makes_the_same(model: LoadedModel) -> None:
    made: list[NDArray[np.int64]] = []
    thread = threading.Thread(target=lambda: made.append(pixels_of(REQUEST, model)))
    thread.start()
    thread.join()
    assert np.array_equal(made[0], pixels_of(REQUEST, model))


def test_without_the_lora_it_is_the_bases_bit_by_bit(model: LoadedModel, tiny_model_dir: Path) -> None:
    base = load_model(str(tiny_model_dir), "none", engine="openvino")
    bypassed = pixels_of(dataclasses.replace(REQUEST, adapter_weight=0.0), model)
    assert np.array_equal(bypassed, pixels_of(REQUEST, base))
    assert not np.array_equal(bypassed, pixels_of(REQUEST, model))


def test_a_lora_that_is_taken_out_and_another_time_put_in(
    model: LoadedModel, tiny_model_dir: Path, tiny_lora_dir: Path
) -> None:
    own = load_model(str(tiny_model_dir), "none", engine="openvino")
    before = pixels_of(REQUEST, own)
    own.load_adapter(f"local:{tiny_lora_dir}")
    assert np.array_equal(pixels_of(REQUEST, own), pixels_of(REQUEST, model))
    own.load_adapter(())
    assert np.array_equal(pixels_of(REQUEST, own), before)


def test_in_float32_for_a_while_and_back(tiny_model_dir: Path) -> None:
    rounded = load_model(str(tiny_model_dir), "none", engine="openvino", weight_dtype="bfloat16")
    before = pixels_of(REQUEST, rounded)
    with rounded.in_float32():
        meanwhile = pixels_of(REQUEST, rounded)
        assert np.array_equal(pixels_of(REQUEST, rounded), meanwhile)
    assert np.array_equal(pixels_of(REQUEST, rounded), before)
    assert not np.array_equal(meanwhile, before)  # the decoder at least knows more levels


def test_previews_are_pytorchs_within_a_grey_level(model: LoadedModel, reference: LoadedModel) -> None:
    previews = []
    for one in (model, reference):
        events = [event for event in generate(REQUEST, one, preview_every=1) if isinstance(event, StepProgress)]
        previews.append(np.stack([event.preview for event in events if event.preview is not None]).astype(np.int64))
    assert len(previews[0]) == REQUEST.num_inference_steps
    assert np.abs(previews[0] - previews[1]).max() <= 1


def test_the_recipe_names_engine_and_version_and_verify_uses_it_again(
    model: LoadedModel, tiny_model_dir: Path, tiny_lora_dir: Path
) -> None:
    (image,) = images_of(REQUEST, model)
    assert image.recipe.engine == "openvino"
    assert "openvino" in image.recipe.library_versions
    again = Reproducer(str(tiny_model_dir), f"local:{tiny_lora_dir}").check(image.pixels, image.recipe, 16)
    assert (again.verdict, again.changed) == (IDENTICAL, ())  # although the tests' own engine is PyTorch


def test_architectures_that_it_does_not_run_stay_with_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_ENGINE", "openvino")
    for family in ("StableDiffusionXLPipeline", "PixArtSigmaPipeline"):
        other = load_model(str(save_tiny(family, tmp_path)))
        assert (other.info.engine, other.engine) == ("pytorch", None)


# The cache

DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "a changed byte": lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
    "another file": lambda data: b"<?xml version='1.0'?>",
    "too large": lambda data: data + bytes(graph_cache.MAX_BYTES),
    "no ZIP of ours": lambda data: b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize(
    "changes", [{"structure": b"<net/>"}, {"structure": b""}, {"constants": b""}, {"weights": ("conv_in.weight",)}]
)
def test_an_entry_that_is_no_network_is_converted_anew(
    changes: dict[str, Any], model: LoadedModel, empty_cache: Path
) -> None:
    graph = keep_graph(config_of(model))
    (path,) = graphs_folder().iterdir()
    path.write_bytes(dataclasses.replace(graph, **changes).to_bytes())
    assert keep_graph(config_of(model)) == find_graph(config_of(model))
    assert keep_graph(config_of(model)).weights == graph.weights


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_entry_is_converted_anew(damage: Any, model: LoadedModel, empty_cache: Path) -> None:
    graph = keep_graph(config_of(model))
    (path,) = graphs_folder().iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert find_graph(config_of(model)) is None
    again = keep_graph(config_of(model))
    assert again.weights == graph.weights  # OpenVINO gives nodes other names each time
    assert find_graph(config_of(model)) == again


def test_old_entries_go_and_the_one_in_use_stays(model: LoadedModel, empty_cache: Path) -> None:
    keep_graph(config_of(model))
    (path,) = graphs_folder().iterdir()
    for number in range(MAX_GRAPHS + 3):
        other = graphs_folder() / f"{number:032}.zip"
        other.write_bytes(b"")
        os.utime(other, (number, number))
    os.utime(path, (0, 0))
    assert find_graph(config_of(model)) is not None  # which counts as use
    keep_graph(config_of(model) | {"norm_eps": 1e-4})
    left = {entry.name for entry in graphs_folder().iterdir()}
    assert len(left) == MAX_GRAPHS
    assert path.name in left
    assert f"{0:032}.zip" not in left


@pytest.mark.parametrize("in_the_way", ["cache", "cache/cxr-studio", "cache/cxr-studio/openvino"])
def test_without_a_cache_it_works(in_the_way: str, tmp_path: Path, model: LoadedModel, empty_cache: Path) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")
    assert keep_graph(config_of(model)).weights
    assert find_graph(config_of(model)) is None


def test_another_architecture_is_another_entry_and_a_name_is_not(model: LoadedModel) -> None:
    config = config_of(model)
    assert graph_cache.fingerprint(config | {"_name_or_path": "elsewhere"}) == graph_cache.fingerprint(config)
    assert graph_cache.fingerprint(json.loads(json.dumps(config))) == graph_cache.fingerprint(config)
    assert graph_cache.fingerprint(config | {"sample_size": 8}) != graph_cache.fingerprint(config)


# The choice


def test_a_process_never_changes_its_engine(
    model: LoadedModel, tiny_model_dir: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def start(config: object) -> bool:
        started.append(config)
        return True

    monkeypatch.setattr(engine_choice, "start_preparing", start)
    first = load_model(str(tiny_model_dir), "none")
    assert (first.info.engine, first.notes) == ("pytorch", (PREPARING,))
    keep_graph(config_of(model))
    decide_once(question_of(config_of(model)), lambda: "openvino float32", "pytorch")
    assert load_model(str(tiny_model_dir), "none").info.engine == "pytorch"
    assert len(started) == 1
    monkeypatch.setattr(engine_choice, "chosen", {})  # the next process
    second = load_model(str(tiny_model_dir), "none")
    assert (second.info.engine, second.info.weight_dtype, second.notes) == ("openvino", "float32", ())
    assert len(started) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("pytorch", EngineChoice()),
        ("openvino float32", EngineChoice("openvino", "float32")),
        ("openvino bfloat16", EngineChoice("openvino", "bfloat16")),
        *((text, EngineChoice(notes=(PREPARING,))) for text in ("", "openvino", "openvino int8", "onnx float32")),
    ],
)
def test_what_was_measured_once_counts(
    answer: str, expected: EngineChoice, model: LoadedModel, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "start_preparing", lambda config: True)
    keep_graph(config_of(model))
    decide_once(question_of(config_of(model)), lambda: answer, "")
    assert choose_engine(config_of(model), CPU, is_plain=True) == expected


def test_a_lost_conversion_is_prepared_again(
    model: LoadedModel, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "start_preparing", lambda config: True)
    decide_once(question_of(config_of(model)), lambda: "openvino float32", "")
    assert choose_engine(config_of(model), CPU, is_plain=True).notes == (PREPARING,)


def test_it_is_measured_once(model: LoadedModel, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = prepare(config_of(model))
    assert answer in ("pytorch", "openvino float32", "openvino bfloat16")
    monkeypatch.setattr("cxr.models.openvino.prepare.best_seconds", lambda *given: pytest.fail("measured again"))
    assert prepare(config_of(model)) == answer == find_decision(question_of(config_of(model)))


def test_what_it_cannot_convert_stays_with_pytorch(model: LoadedModel, empty_cache: Path) -> None:
    config = config_of(model) | {"in_channels": 5, "conv_in_kernel": 2}  # its latents do not fit together again
    assert prepare(config) == "pytorch"
    assert choose_engine(config, CPU, is_plain=True) == EngineChoice()


def test_the_background_process_prepares_what_the_next_process_takes(model: LoadedModel, empty_cache: Path) -> None:
    assert start_preparing(config_of(model))
    until = time.monotonic() + 300
    while find_decision(question_of(config_of(model))) is None and time.monotonic() < until:
        time.sleep(0.2)
    assert find_decision(question_of(config_of(model)))
    assert find_graph(config_of(model)) == keep_graph(config_of(model))


SILENT = """
import json, sys

def refuse(event, arguments):
    # Not the mere making of one: urllib3 looks whether there is IPv6 when it is imported.
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        sys.stderr.write(f"{event} {arguments}\\n")
        raise SystemExit(f"a socket was used: {event}")

sys.addaudithook(refuse)
from cxr.models.openvino.graph import convert_unet
from cxr.models.openvino.network import has_bfloat16

graph = convert_unet(json.loads(sys.argv[1]))
has_bfloat16()
print(len(graph.weights), sys.modules["openvino_telemetry"])
"""


def test_it_converts_with_closed_sockets_and_leaves_nothing_at_home(model: LoadedModel, tmp_path: Path) -> None:
    silent = {"CI": "", "GITHUB_ACTIONS": ""}  # where its telemetry would be off anyway
    environment = {name: value for name, value in os.environ.items() if name not in silent} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", SILENT, json.dumps(config_of(model), default=str)]
    root = Path(__file__).parents[1]
    ended = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "socket" not in ended.stderr
    assert ended.stdout.split() == [str(len(keep_graph(config_of(model)).weights)), "None"]
    assert not (tmp_path / "intel").exists()


# Folders and data sets


def test_a_folder_goes_on_with_the_engine_it_began_with(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(place: str, engine: str, count: int) -> None:
        monkeypatch.setenv("CXR_ENGINE", engine)
        monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
        command = ["generate", "chest xray", "--steps", "2", "--count", str(count), "--adapter", "none"]
        assert main([*command, "--model", str(tiny_model_dir), "--output", str(tmp_path / place)]) == 0

    for engine, other in (("openvino", "pytorch"), ("pytorch", "openvino")):
        make(f"{engine} whole", engine, 2)
        make(f"{engine} begun", engine, 1)
        make(f"{engine} begun", other, 2)
        whole, begun = (
            {path.name: path.read_bytes() for path in (tmp_path / f"{engine} {name}").iterdir()}
            for name in ("whole", "begun")
        )
        assert begun == whole
        rows = [json.loads(line) for line in whole["metadata.jsonl"].decode().splitlines()]
        assert {row.get("engine", "pytorch") for row in rows} == {engine}


def test_a_data_set_goes_on_with_the_engine_it_began_with(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_inference_steps": 1}
    given = {"settings": settings, "cohort": [{"findings": ["Effusion"], "count": 3}], "split": {"train": 1.0}}
    plan, options, folder = build_plan(given, "test"), Options(str(tiny_model_dir), "none"), tmp_path / "set"

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    monkeypatch.setenv("CXR_ENGINE", "openvino")
    assert run_dataset(plan, folder, options) == 0
    whole = content()
    assert json.loads((folder / "manifest.json").read_text())["engine"] == "openvino"
    assert "float32, cpu, openvino" in (folder / "README.md").read_text()
    monkeypatch.setenv("CXR_ENGINE", "pytorch")
    next(folder.glob("train/*.png")).unlink()
    assert run_dataset(plan, folder, options) == 0
    assert content() == whole
    assert main(["verify", str(folder), "--sample", "2", "--model", str(tiny_model_dir)]) == 0


def test_restore_prints_the_engine_where_another_would_run(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(images_of(REQUEST, model)[0]))
    for engine, head in (("pytorch", "CXR_ENGINE=openvino python "), ("openvino", "python "), ("", "CXR_ENGINE=")):
        monkeypatch.setenv("CXR_ENGINE", engine)
        assert main(["restore", str(path)]) == 0
        assert capsys.readouterr().out.startswith(head)
