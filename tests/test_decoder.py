"""The decoder against a discriminator, on tiny data; the autoencoder is the one that ships."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from test_data import make_folder
from test_train import ROWS, run

from cxr.folders.radiographs import read_folders
from cxr.metrics.spectrum import BANDS, band_powers
from cxr.request.errors import DataError, RequestError
from cxr.train import decoder_task, latent_sampling, loop, precision
from cxr.train.decoder_task import read_vae, with_gain
from cxr.train.discriminator import Discriminator, hinge_loss, realism
from cxr.train.latent_sampling import channel_gains
from cxr.train.latents import block_cosines, coarse_images
from cxr.train.loop_settings import LoopSettings
from cxr.train.precision import Precision, choose_precision
from cxr.train.setup import Setup

CPU = torch.device("cpu")
OPTIONS = ("--num-sampled", "4", "--crop-size", "64", "--steps", "4", "--validate-every", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [make_folder(tmp_path_factory.mktemp("data") / "256", ROWS, side=256)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_task, "NUM_VALIDATION", 2)
    monkeypatch.setattr(decoder_task, "ADVERSARIAL_STEPS", (0, 1))


def folder_with_latents(out: Path) -> Path:
    """An --out folder in which sampling has been done before."""
    out.mkdir()
    generator = torch.Generator().manual_seed(0)
    for name, count in (("training", 4), ("held_out", 2)):
        latents = 0.5 * torch.randn(count, 16, 16, 16, generator=generator)
        save_file({"latents": latents.half()}, out / f"sampled_{name}.safetensors")
    return out


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_decoder_and_discriminator(
    data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, cut = (folder_with_latents(tmp_path / name) for name in ("straight", "cut"))
    assert run("decoder", data, straight, *OPTIONS) == 0
    loss = decoder_task.DecoderTask.loss

    def killed_at_the_fourth_step(task: decoder_task.DecoderTask, step: int) -> dict[str, torch.Tensor]:
        if step == 3:
            raise ZeroDivisionError
        return loss(task, step)

    with monkeypatch.context() as patch:
        patch.setattr(decoder_task.DecoderTask, "loss", killed_at_the_fourth_step)
        with pytest.raises(ZeroDivisionError):
            run("decoder", data, cut, *OPTIONS)
    assert json.loads((cut / "state.json").read_text())["step"] == 2
    assert run("decoder", data, cut, *OPTIONS) == 0
    expected, resumed = (load_file(folder / "checkpoint.safetensors") for folder in (straight, cut))
    assert any(name.startswith("buffer.") for name in expected)
    assert set(expected) == set(resumed)
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name


def test_the_run_writes_a_plain_autoencoder_a_sheet_and_the_power_of_each_band(
    data: list[Path], tmp_path: Path
) -> None:
    out = folder_with_latents(tmp_path / "out")
    assert run("decoder", data, out, *OPTIONS) == 0
    vae = AutoencoderKL.from_pretrained(out / "vae")
    before = read_vae("embedded")
    assert all(
        torch.equal(value, dict(vae.encoder.named_parameters())[name])
        for name, value in before.encoder.named_parameters()
    )
    assert not torch.equal(vae.decoder.conv_out.weight, before.decoder.conv_out.weight)
    assert (out / "sheet.png").is_file()
    figures = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert {f"validation_{name}_{band}" for name in ("films", "sampled") for band in BANDS} <= set(figures)


def test_the_gain_in_the_exported_weights_is_the_gain_of_the_latents() -> None:
    vae, latents = read_vae("embedded"), torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    gain = torch.linspace(0.9, 1.4, 16)[None, :, None, None]
    with torch.no_grad():
        torch.testing.assert_close(
            with_gain(vae, gain).decode(latents).sample, vae.decode(gain * latents).sample, rtol=0, atol=1e-5
        )
        assert not torch.allclose(vae.decode(latents).sample, vae.decode(gain * latents).sample, atol=1e-2)


def test_gained_latents_have_the_spread_of_real_ones() -> None:
    real, faint = torch.randn(2, 50, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    faint = faint * torch.linspace(0.5, 1, 16)[None, :, None, None]
    gained = faint * channel_gains(faint, real)
    torch.testing.assert_close(gained.std(dim=(0, 2, 3)), real.std(dim=(0, 2, 3)))


def test_the_discriminator_learns_to_tell_sharp_from_soft() -> None:
    torch.manual_seed(0)
    network, generator = Discriminator(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-4, betas=(0.5, 0.99))
    for _ in range(40):
        sharp = 0.05 * torch.randn(4, 1, 32, 32, generator=generator)
        soft = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
        loss = hinge_loss(network, sharp, soft)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 1
    with torch.no_grad():
        assert float(realism(network, sharp)) > float(realism(network, soft)) + 0.5


def test_neither_side_has_gradients_from_the_others_loss() -> None:
    network, images = Discriminator(), torch.rand(2, 1, 32, 32, requires_grad=True)
    torch.autograd.backward(realism(network, images))
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    images.grad = None
    torch.autograd.backward(hinge_loss(network, torch.rand(2, 1, 32, 32), images))
    assert images.grad is None
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_sampling_goes_on_where_it_was_cut(
    data: list[Path], tiny_model_dir: Path, tiny_lora_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_sampling, "BATCH", 1)
    records, model = read_folders(data), (str(tiny_model_dir), f"local:{tiny_lora_dir}")
    whole = latent_sampling.sampled_latents(tmp_path / "whole", *model, records, 3, purpose="training")
    latent_sampling.sampled_latents(tmp_path / "cut", *model, records, 1, purpose="training")
    continued = latent_sampling.sampled_latents(tmp_path / "cut", *model, records, 3, purpose="training")
    assert whole.shape == (3, 4, 4, 4)
    torch.testing.assert_close(continued, whole, rtol=0, atol=0)
    assert not torch.allclose(whole[0], whole[1])


def test_small_films_alone_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "128", ROWS, side=128)
    setup = Setup(read_folders([folder]), [], LoopSettings(steps=1, batch_size=2, learning_rate=1e-4), CPU)
    with pytest.raises(DataError, match="no training image has 256 pixels or more"):
        decoder_task.DecoderTask(setup, model="embedded", adapter="none", num_sampled=4, out=tmp_path)


def test_a_batch_of_one_is_refused(data: list[Path], tmp_path: Path) -> None:
    setup = Setup(read_folders(data), [], LoopSettings(steps=1, batch_size=1, learning_rate=1e-4), CPU)
    with pytest.raises(RequestError, match="a film and a sampled image at least"):
        decoder_task.DecoderTask(setup, model="embedded", adapter="none", num_sampled=4, out=tmp_path)


def test_latents_give_back_the_coarse_image() -> None:
    coarse = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(coarse_images(block_cosines(coarse)), coarse, rtol=0, atol=1e-5)


def test_the_power_of_a_wave_is_in_its_own_band() -> None:
    wave = np.sin(2 * np.pi * 20 * np.arange(256) / 256)
    weak, strong = (np.rint(127.5 + height * wave).astype(np.uint8) for height in (50, 100))
    powers = band_powers(np.stack([np.tile(row, (256, 1)) for row in (weak, strong)]))
    assert BANDS[int(powers[0].argmax())] == "16-24"
    assert powers[0].max() > 0.99 * powers[0].sum()
    assert powers[1].max() == pytest.approx(4 * powers[0].max(), rel=0.05)


@pytest.mark.parametrize(("slow", "faster"), [("bfloat16", torch.float32), ("float32", torch.bfloat16)])
def test_the_faster_format_is_measured(slow: str, faster: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def work(candidate: Precision) -> None:
        nonlocal now
        now += 2.0 if str(candidate.dtype).endswith(slow) else 1.0

    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: True)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    chosen, times = choose_precision(CPU, work)
    assert chosen.dtype == faster
    assert times[f"{slow}_s"] == 2


def test_a_run_goes_on_in_the_format_it_began_in(
    data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(device: torch.device, run_batch: Callable[[Precision], object]) -> tuple[Precision, dict[str, float]]:
        run_batch(Precision(device, torch.float32))
        return Precision(device, torch.bfloat16), {"float32_s": 2.0}

    monkeypatch.setattr(loop, "choose_precision", choose)
    run("judge", data, tmp_path, "--steps", "1")
    monkeypatch.setattr(loop, "choose_precision", lambda device, run: pytest.fail("timed again"))
    run("judge", data, tmp_path, "--steps", "2")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (rows[0]["step"], rows[0]["float32_s"], rows[0]["bfloat16"]) == (0, 2, 1)
