"""Each stage of training, with few steps on images made here; the networks' classes are the real ones."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from test_data import make_folder

from cxr.cli import main
from cxr.models import load_model
from cxr.train import architecture, base, loop
from cxr.train.autoencoder import enlarge, shrink
from cxr.train.latents import LATENT_SCALE, block_cosines
from cxr.train.loop import LoopSettings, batch_generator, learning_rate_at

ROWS = [
    ("No Finding", "54", "M", "PA", "1"),
    ("Mass|Edema", "31", "F", "AP", "2"),
    ("Pneumonia", "60", "F", "PA", "3"),
    ("No Finding", "9", "M", "AP", "4"),
    ("Effusion", "77", "M", "PA", "5"),
    ("No Finding", "45", "F", "PA", "6"),
]


def small_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=architecture.LATENT_SIZE,
        in_channels=architecture.LATENT_CHANNELS,
        out_channels=architecture.LATENT_CHANNELS,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=architecture.TEXT_WIDTH,
        attention_head_dim=1,
        norm_num_groups=8,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("data")
    return [make_folder(folder / "128", ROWS, side=128), make_folder(folder / "512", ROWS, side=256)]


def run(stage: str, data: list[Path], out: Path, *options: str) -> int:
    folders = [part for folder in data for part in ("--data", str(folder))]
    shared = ["--batch-size", "2", "--validation-share", "0.5", "--decay-share", "0.5", *options]
    return main(["train", stage, *folders, "--out", str(out), *shared])


def rows_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Autoencoder, base and LoRA, two steps each, as a user would run them."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "build_unet", small_unet)
        assert run("autoencoder", data, out / "vae_run", "--steps", "2") == 0
        assert run("base", data, out / "base_run", "--steps", "2", "--model", str(out / "vae_run")) == 0
        assert run("lora", data, out / "lora_run", "--steps", "2", "--model", str(out / "base_run")) == 0
    return out


def test_what_training_writes_is_what_generation_reads(trained: Path) -> None:
    model = load_model(str(trained / "base_run" / "model"), f"local:{trained / 'lora_run' / 'adapter'}")
    assert model.info.resolution == architecture.RESOLUTION
    assert model.adapter is not None
    assert model.adapter.lora_alpha == 32
    assert model.preview_projection is not None


def test_the_log_tells_samples_loss_speed_and_held_out_figures(trained: Path) -> None:
    validation = rows_of(trained / "vae_run")[-1]
    assert validation["samples"] == 4
    assert {"validation_psnr_128", "validation_psnr_256", "validation_detail_ratio"} <= set(validation)
    assert rows_of(trained / "base_run")[-1]["validation_loss"] > 0


def test_the_lora_leaves_the_base_alone_and_has_learnt_something(trained: Path) -> None:
    tensors = load_file(trained / "lora_run" / "adapter" / "pytorch_lora_weights.safetensors")
    ups = [value for name, value in tensors.items() if "lora_B" in name or ".up." in name or "lora.up" in name]
    assert ups
    assert any(float(value.abs().max()) > 0 for value in ups)
    assert any(name.startswith("text_encoder") for name in tensors)


def test_a_killed_run_ends_with_the_same_weights(
    data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--steps", "4", "--validate-every", "2")
    run("judge", data, tmp_path / "straight", *options)
    optimise = loop._optimise
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_optimise", lambda task, step, *rest: optimise(task, step, *rest) if step < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("judge", data, tmp_path / "cut", *options)
    assert json.loads((tmp_path / "cut" / "state.json").read_text())["step"] == 2
    run("judge", data, tmp_path / "cut", *options)
    straight, cut = (load_file(tmp_path / name / "judge.safetensors") for name in ("straight", "cut"))
    for name, value in straight.items():
        assert torch.equal(value, cut[name]), name


def test_a_checkpoint_of_another_network_is_refused(
    data: list[Path], trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("judge", data, trained / "vae_run", "--steps", "4")
    assert code == 2
    assert "checkpoint of another network" in capsys.readouterr().err


def test_block_cosines_keep_all_that_a_coarse_image_holds() -> None:
    coarse = torch.rand(2, 1, 16, 16) * 2 - 1
    latents = block_cosines(coarse)
    assert latents.shape == (2, 16, 4, 4)
    unscaled = latents / torch.tensor(LATENT_SCALE).flatten()[:, None, None]
    # The cosines are orthonormal: their transpose is their inverse.
    basis = block_cosines(torch.eye(16).view(16, 1, 4, 4))[:, :, 0, 0] / torch.tensor(LATENT_SCALE).flatten()
    blocks = torch.einsum("bchw,pc->bphw", unscaled, basis)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(blocks, 4), coarse, rtol=0, atol=1e-5)


def test_an_even_image_has_one_latent_channel_only() -> None:
    latents = block_cosines(torch.full((1, 1, 8, 8), 0.5))
    torch.testing.assert_close(latents[:, 0], torch.full((1, 2, 2), 0.5 * 4 * LATENT_SCALE[0][0]))
    assert float(latents[:, 1:].abs().max()) < 1e-5


def test_preview_projection_is_the_least_squares_fit() -> None:
    torch.manual_seed(0)
    vae = architecture.build_autoencoder().eval().requires_grad_(False)
    latents = torch.randn(2, 16, 4, 4)
    weights, bias = base.fit_preview(vae, latents)
    grey = torch.nn.functional.interpolate(vae.decode(latents / vae.config.scaling_factor).sample, size=4, mode="area")
    residual = grey[:, 0] - torch.einsum("bchw,c->bhw", latents, torch.tensor(weights)) - bias
    assert abs(float(residual.mean())) < 1e-4
    assert abs(float((residual * latents[:, 0]).mean())) < 1e-4


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = torch.rand(3, generator=batch_generator(0, 5))
    assert torch.equal(first, torch.rand(3, generator=batch_generator(0, 5)))
    assert not torch.equal(first, torch.rand(3, generator=batch_generator(0, 6)))
    assert not torch.equal(first, torch.rand(3, generator=batch_generator(1, 5)))


def test_learning_rate_warms_up_holds_and_cools_down() -> None:
    settings = LoopSettings(steps=1000, batch_size=1, learning_rate=1.0, warmup_steps=100, decay_share=0.2)
    rates = [learning_rate_at(step, settings) for step in (0, 99, 500, 800, 900, 999)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[1:4] == [1.0, 1.0, 1.0]
    assert rates[4] == pytest.approx(0.505)
    assert rates[5] < 0.02


def test_small_and_large_sources_give_the_encoder_the_same_kind_of_image() -> None:
    large = torch.rand(1, 1, 256, 256)
    assert torch.allclose(enlarge(large), enlarge(shrink(large)), atol=1e-6)
