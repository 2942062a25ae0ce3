"""LoRAs for full-size models: tiny ones of the same classes, trained for a few steps as a user would."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from test_data import make_folder
from tiny_sd import FAST, ROWS, save_tiny, train
from torch import Tensor

from cxr.generate.model import load_model
from cxr.lora.find import read_adapter
from cxr.train.checkpoint import read_facts
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.batches import Batches
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.task import FullLoraTask

KINDS: dict[str, dict[str, Any]] = {"sd": {}, "sd_v": {"prediction_type": "v_prediction"}, "sdxl": {"xl": True}}
ROOT = Path(__file__).parent.parent
WEIGHTS = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("full")
    return {name: save_tiny(folder / name, **options) for name, options in KINDS.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of five patients, one of whom is held out."""
    return make_folder(tmp_path_factory.mktemp("data") / "made", ROWS, side=40)


def log_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def draw(model: Path, adapter: Path | None) -> Tensor:
    """An image by diffusers itself."""
    kind = StableDiffusionXLPipeline if "sdxl" in model.name else StableDiffusionPipeline
    pipeline = kind.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_lora_weights(adapter)
    generator = torch.Generator().manual_seed(0)
    image: Tensor = pipeline("effusion", num_inference_steps=2, generator=generator, output_type="pt").images
    return image


@pytest.fixture(scope="module", params=KINDS)
def trained(
    request: pytest.FixtureRequest, models: dict[str, Path], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model and the folder of a run that trained a LoRA on four images for it."""
    model, out = models[request.param], tmp_path_factory.mktemp("runs") / request.param
    before = hashes(model)
    train_on_validation(model, data, out, steps=4)
    assert hashes(model) == before
    return model, out


def train_on_validation(model: Path, data: Path, out: Path, steps: int) -> None:
    # Training images are held out as well here: the fixed noise then measures what is learnt, not what is general.
    with pytest.MonkeyPatch.context() as patch:

        def known(base: BaseModel, data: TrainingData, *rest: Any) -> Batches:
            return Batches(base, dataclasses.replace(data, validation=data.training), *rest)

        patch.setattr("cxr.train.full_lora.task.Batches", known)
        options = ("--steps", str(steps), "--learning-rate", "0.02", "--batch-size", "4", "--validation-images", "1")
        prompt = ("--validation-prompt", "effusion")
        assert train(model, data, out, *options, "--gradient-accumulation-steps", "1", *prompt) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_error_at_fixed_noise(
    kind: str, models: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    train_on_validation(models[kind], data, tmp_path, steps=40)
    losses = [row["validation_loss"] for row in log_of(tmp_path) if "validation_loss" in row]
    assert len(losses) == 2
    assert losses[-1] < 0.97 * losses[0]


def test_diffusers_reads_the_lora_with_its_alpha_and_it_changes_the_image(trained: tuple[Path, Path]) -> None:
    model, out = trained
    adapter = out / "adapter"
    plain, changed = draw(model, None), draw(model, adapter)
    assert float((plain - changed).abs().max()) > 1e-3
    file = read_adapter(adapter)
    assert (file.info.rank, file.info.lora_alpha, file.info.notes) == (4, 12.0, ())
    assert {(layer.component, layer.alpha) for layer in file.lora.layers} == {("unet", 12.0)}
    pipeline = (StableDiffusionXLPipeline if "xl" in model.name else StableDiffusionPipeline).from_pretrained(model)
    pipeline.load_lora_weights(adapter, adapter_name="read")
    assert pipeline.unet.peft_config["read"].lora_alpha == 12
    assert {layer.scaling["read"] for layer in pipeline.unet.modules() if hasattr(layer, "scaling")} == {3.0}


def test_validation_images_are_a_sheet_and_in_the_card(trained: tuple[Path, Path]) -> None:
    out = trained[1]
    sheets = sorted((out / "validation").iterdir())
    assert [path.name for path in sheets] == ["step_000000.png", "step_000004.png"]
    assert sheets[0].read_bytes() != sheets[1].read_bytes()
    card = ModelCard.load(out / "adapter" / "README.md")
    assert card.data.widget == [{"text": "effusion", "output": {"url": "images/0.png"}}]
    assert (out / "adapter" / "images" / "0.png").is_file()


def test_the_card_and_config_tell_what_the_lora_is(trained: tuple[Path, Path]) -> None:
    model, out = trained
    card = ModelCard.load(out / "adapter" / "README.md")
    facts = card.data.to_dict()
    assert (facts["base_model"], facts["library_name"], facts["license"]) == (model.name, "diffusers", "unknown")
    assert facts["pipeline_tag"] == "text-to-image"
    assert {"lora", "template:sd-lora"} <= set(facts["tags"])
    assert facts["instance_prompt"] == "effusion"
    for told in ("4 images of 4 patients", "4 of 4", "4 and 12", "Not for diagnosis", "| 0 |", "| 4 |"):
        assert told in card.text
    config = json.loads((out / "adapter" / "config.json").read_text())
    assert (config["base_model"], config["license"], config["rank"], config["lora_alpha"]) == (
        model.name,
        "unknown",
        4,
        12.0,
    )
    assert config["training_data"] == "4 images of 4 patients"


def test_the_weights_of_the_base_stay_as_they_are(
    models: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[FullLoraTask] = []
    loss = FullLoraTask.loss

    def noted(task: FullLoraTask, *batch: Any) -> dict[str, Tensor]:
        tasks.append(task)
        return loss(task, *batch)

    monkeypatch.setattr(FullLoraTask, "loss", noted)
    assert train(models["sd"], data, tmp_path, "--steps", "2", "--learning-rate", "1", "--gradient-checkpointing") == 0
    unet = tasks[0].denoiser.unet
    assert unet.is_gradient_checkpointing
    stored = load_file(models["sd"] / "unet" / "diffusion_pytorch_model.safetensors")
    present = {
        name.replace(".base_layer", ""): value for name, value in unet.state_dict().items() if "lora" not in name
    }
    assert present.keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in present.items())
    assert any(bool(value.any()) for name, value in unet.state_dict().items() if "lora_B" in name)


def test_our_own_loader_takes_the_lora(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    assert train(models["sd"], data, tmp_path, "--steps", "1") == 0
    loaded = load_model(str(models["sd"]), f"local:{tmp_path / 'adapter'}")
    assert loaded.adapter is not None
    assert loaded.adapter.lora_alpha == 12


def test_a_killed_run_ends_with_the_same_weights(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    options = ("--steps", "6", "--checkpoint-every", "3", "--ema-decay", "0.5", "--caption-dropout", "0.5")
    assert train(models["sd"], data, tmp_path / "straight", *options) == 0
    loss = FullLoraTask.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FullLoraTask, "loss", lambda task, batch: loss(task, batch) if batch < 5 * 4 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(models["sd"], data, tmp_path / "cut", *options)
    assert json.loads((tmp_path / "cut" / "state.json").read_text())["step"] == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxr.train.full_lora.cache.load_vae", None)  # latents and embeddings are on disk already
        patch.setattr("cxr.train.full_lora.cache.TextEncoders", None)
        assert train(models["sd"], data, tmp_path / "cut", *options) == 0
    for name in ("checkpoint.safetensors", f"adapter/{WEIGHTS}"):
        straight, cut = (load_file(tmp_path / run / name) for run in ("straight", "cut"))
        assert straight.keys() == cut.keys()
        assert all(torch.equal(value, cut[key]) for key, value in straight.items()), name


def test_other_settings_are_refused_and_later_validation_is_not(
    models: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(models["sd"], data, tmp_path, "--steps", "1") == 0
    before = hashes(tmp_path)
    for model, options, message in (
        ("sd", ("--steps", "1", "--rank", "2"), "holds a run with rank 4, and this one has 2; use the same again"),
        ("sd", ("--steps", "9"), "holds a run with steps 1, and this one has 9"),
        ("sd_v", ("--steps", "1"), "holds a run with another base model"),
        ("sd", ("--steps", "1", "--validation-share", "0.2"), "holds a run with other images or captions"),
    ):
        chosen = models[model]
        if model == "sd_v":  # the same UNet; another schedule alone would do as well
            chosen = save_tiny(tmp_path.parent / f"{tmp_path.name}_other", prediction_type="v_prediction")
        assert train(chosen, data, tmp_path, *options) == 2
        assert message in capsys.readouterr().err
    assert hashes(tmp_path) == before
    assert train(models["sd"], data, tmp_path, "--steps", "1", "--validate-every", "7") == 0


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_frozen_weights_in_half_precision_as_on_a_gpu(
    kind: str, models: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.train.full_lora.task.frozen_dtype", lambda precision: torch.bfloat16)
    options = ("--mixed-precision", "bf16", "--validation-images", "1", "--validation-prompt", "effusion")
    assert train(models[kind], data, tmp_path, "--steps", "2", "--gradient-checkpointing", *options) == 0
    weights = load_file(tmp_path / "checkpoint.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert log_of(tmp_path)[-1]["validation_loss"] > 0
    assert len(list((tmp_path / "validation").iterdir())) == 2


@pytest.mark.slow
def test_kill_minus_nine_costs_nothing(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    options = (*FAST, "--steps", "120", "--checkpoint-every", "10", "--validation-share", "0.4")
    command = [
        sys.executable,
        "-m",
        "cxr",
        "train",
        "lora",
        "--model",
        str(models["sd"]),
        "--data",
        str(data),
        *options,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    cut, straight = tmp_path / "cut", tmp_path / "straight"
    with subprocess.Popen([*command, "--out", str(cut)], env=environment, cwd=ROOT) as process:
        while not (cut / "checkpoint.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert 0 < int(read_facts(cut)["step"]) < 120
    for out in (cut, straight):
        subprocess.run([*command, "--out", str(out)], check=True, env=environment, timeout=120, cwd=ROOT)
    ends = [load_file(out / "checkpoint.safetensors") for out in (cut, straight)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.slow
def test_two_processes_train_one_lora(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "cxr", "train", "lora"]
    options = ["--model", str(models["sd"]), "--data", str(data), "--out", str(tmp_path), *FAST, "--steps", "3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, *options], check=True, env=environment, timeout=120, cwd=ROOT)
    assert log_of(tmp_path)[-1]["samples"] == 3 * 2 * 4
    assert read_adapter(tmp_path / "adapter").info.rank == 4
