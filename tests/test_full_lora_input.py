"""What a LoRA for a full-size model can be trained with: captions, models, options, settings and loss."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from test_data import make_folder
from tiny_sd import ROWS, save_tiny, train

from cxr.request.errors import DataError, RequestError
from cxr.train.full_lora.base_model import BaseModel, read_base_model
from cxr.train.full_lora.cache import SHARD_ROWS, RowCache
from cxr.train.full_lora.components import TextEncoders
from cxr.train.full_lora.data import in_form, read_training_data
from cxr.train.full_lora.denoising import choose_gamma, loss_weights
from cxr.train.full_lora.model_card import license_of
from cxr.train.full_lora.task import FullLoraTask
from cxr.train.full_lora.training_settings import VALIDATION_PROMPTS, FullLoraSettings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("full")
    return {"sd": save_tiny(folder / "sd"), "sdxl": save_tiny(folder / "sdxl", xl=True)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "made", ROWS, side=40)


def test_captions_of_the_data_are_used_and_needed(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "data", ROWS, side=32)
    table = folder / "metadata.csv"
    lines = [f"{number}.png,p{number},secret words {number}" for number in range(5)]
    table.write_text("\n".join(["file_name,patient_id,text", *lines]))
    assert train(models["sd"], folder, tmp_path / "run", "--steps", "1") == 0
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err + (tmp_path / "run" / "log.jsonl").read_text()
    card = (tmp_path / "run" / "adapter" / "README.md").read_text()
    assert "the data's own" in card
    assert "secret" not in card
    table.write_text("\n".join(["file_name,patient_id,text", *lines[:4], "4.png,p4,"]))
    assert train(models["sd"], folder, tmp_path / "none", "--steps", "1") == 2
    assert "line 6 has no text; every image needs one" in capsys.readouterr().err
    table.write_text("file_name,caption\n0.png,words\n")
    assert train(models["sd"], folder, tmp_path / "none", "--steps", "1") == 2
    assert "has no column patient_id" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"file_name,patient_id,text\n0.png,p0,R\x81ntgen\n", "metadata.csv cannot be read: .*codec"),
        (b"file_name,patient_id,text\n", "metadata.csv lists no image"),
        (b"file_name,patient_id,text\ngone.png,p0,words\n", "line 2 lists gone.png, which is not in the folder"),
        (b"file_name,patient_id,text\n0.png,p0\n", "line 2 has no text"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(table: bytes, message: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data", ROWS, side=32)
    (folder / "metadata.csv").write_bytes(table)
    with pytest.raises(DataError, match=message):
        read_training_data([folder], validation_share=0, judging_share=0, captions_per_image=1, seed=0)


def test_the_captions_of_a_table_in_json_lines_are_read_too(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "data", ROWS, side=32)
    (folder / "metadata.csv").unlink()
    rows = [
        {"file_name": f"{number}.png", "patient_id": f"p{number}", "text": f"words {number}"} for number in range(5)
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_training_data([folder], validation_share=0, judging_share=0, captions_per_image=1, seed=0)
    assert {image.captions for image in data.training} == {(f"words {number}",) for number in range(5)}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model_index.json", {"_class_name": "PixArtAlphaPipeline"}, "is a PixArtAlphaPipeline; LoRAs can be trained"),
        ("vae/config.json", {"latent_channels": 16}, "has the small architecture; give --model the --out folder"),
        ("unet/config.json", {"in_channels": 9}, "is made for inpainting"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "noise schedules with epsilon"),
        ("text_encoder/config.json", {"attn_implementation": "owner/kernel"}, "wants to run code of its own"),
    ],
)
def test_models_of_other_kinds_are_refused(
    name: str, change: dict[str, Any], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "model")
    settings = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps(settings | change))
    assert train(model, data, tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_model_lacks_is_told_before_anything_is_computed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny(tmp_path / "model", prediction_type="v_prediction")
    assert train(model, data, tmp_path / "out", "--min-snr-gamma", "5") == 2
    assert "this model's schedule ends in pure noise; use 0" in capsys.readouterr().err
    (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert train(model, data, tmp_path / "out") == 2
    assert "model 'model' is incomplete: unet/ holds no .safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_the_other_kind_of_model_are_refused(
    models: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(models["sd"], data, tmp_path / "out", "--guide", "guide.safetensors") == 2
    assert "--guide is for the small model" in capsys.readouterr().err
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    assert train(tmp_path, data, tmp_path / "out") == 2
    assert "--warmup-steps is for full-size models" in capsys.readouterr().err
    assert train(models["sd"], data, tmp_path / "out", "--resolution", "33") == 2
    assert "--resolution is 33; use a multiple of 64" in capsys.readouterr().err
    assert train(models["sd"], data, tmp_path / "out", "--mixed-precision", "fp16") == 2
    assert "'fp16', which needs a GPU" in capsys.readouterr().err


def test_too_little_memory_is_one_sentence(
    models: dict[str, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(task: FullLoraTask, step: int) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FullLoraTask, "loss", full)
    assert train(models["sd"], data, tmp_path, "--batch-size", "3") == 2
    assert "batches of 3 at 32 pixels with rank 4; lower --batch-size" in capsys.readouterr().err


def test_cached_rows_are_kept_until_they_are_of_something_else(tmp_path: Path) -> None:
    def make(rows: range) -> dict[str, torch.Tensor]:
        return {"value": torch.tensor([[float(row)] for row in rows])}

    cache = RowCache(tmp_path, SHARD_ROWS + 2, "identity")
    assert cache.missing() == [0, 1]
    cache.fill(lambda: make, 100)
    assert cache.rows([SHARD_ROWS + 1, 3])["value"].tolist() == [[SHARD_ROWS + 1], [3]]
    assert RowCache(tmp_path, SHARD_ROWS + 2, "identity").missing() == []
    assert RowCache(tmp_path, SHARD_ROWS + 2, "other").missing() == [0, 1]
    (tmp_path / "00001.safetensors").write_bytes(b"cut off")
    assert RowCache(tmp_path, SHARD_ROWS + 2, "identity").missing() == [1]


@pytest.mark.parametrize(
    ("base", "own", "told"),
    [
        ("creativeml-openrail-m", "", "creativeml-openrail-m"),
        ("openrail++", "Apache-2.0", "apache-2.0"),
        ("one (base), another (LoRA)", "", "unknown"),
    ],
)
def test_the_licence_of_the_card_is_one_id(base: str, own: str, told: str) -> None:
    model = BaseModel("sd15", Path(), base, "StableDiffusionPipeline", "epsilon", 512, 8)
    assert license_of(model, FullLoraSettings(license=own)) == told


def test_min_snr_weights_follow_the_prediction_type() -> None:
    schedule = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    steps = torch.tensor([0, 500, 999])
    share = schedule.alphas_cumprod[steps]
    ratio = share / (1 - share)
    torch.testing.assert_close(loss_weights(steps, schedule, 5.0), torch.clamp(ratio, max=5) / ratio)
    velocity = DDPMScheduler.from_config(schedule.config, prediction_type="v_prediction")
    torch.testing.assert_close(loss_weights(steps, velocity, 5.0), torch.clamp(ratio, max=5) / (ratio + 1))
    assert loss_weights(steps, schedule, 0.0).tolist() == [1, 1, 1]
    assert choose_gamma(None, schedule) == 5
    noise_only = DDPMScheduler.from_config(velocity.config, rescale_betas_zero_snr=True)
    assert choose_gamma(None, noise_only) == 0
    with pytest.raises(RequestError, match="schedule ends in pure noise; use 0"):
        choose_gamma(5.0, noise_only)


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_text_is_embedded_as_the_pipeline_does(kind: str, models: dict[str, Path]) -> None:
    texts = ["a man with pneumonia", VALIDATION_PROMPTS[0]]
    ours = TextEncoders(read_base_model(str(models[kind])), torch.device("cpu")).encode([*texts, ""])
    pipeline = (StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline).from_pretrained(models[kind])
    with torch.no_grad():
        for place, text in enumerate(texts):
            theirs = pipeline.encode_prompt(
                text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
            )
            torch.testing.assert_close(ours["text"][place], theirs[0][0])
            torch.testing.assert_close(ours["text"][2], theirs[1][0])
            if kind == "sdxl":
                torch.testing.assert_close(ours["pooled"][place], theirs[2][0])
                torch.testing.assert_close(ours["pooled"][2], theirs[3][0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "rank is 0; use 1 to 256"),
        ({"steps": 0}, "steps is 0; use a number above 0"),
        ({"caption_dropout": 1.5}, "caption_dropout is 1.5; use 0 to 1"),
        ({"mixed_precision": "int8"}, "mixed_precision is 'int8'; use auto, no, fp16, bf16"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        FullLoraSettings(**values)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("plain", "Chest X-ray, AP view, 61-year-old woman with effusion"),
        ("caption", "Chest X-ray, AP view, 61-year-old woman with effusion"),
        ("report", "61 year old female. Pleural effusion."),
        ("key_value", "chest xray view=pa age=61 gender=female demonstrating pleural effusion"),
    ],
)
def test_captions_are_written_in_the_form_of_the_models_prompts(form: str, written: str) -> None:
    assert in_form("Chest X-ray, AP view, 61-year-old woman with effusion", form) == written
