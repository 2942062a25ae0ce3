"""Each stage of training, with few steps on images made here; the networks' classes are the real ones."""

import copy
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_data import make_folder
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from cxr.commands.main import main
from cxr.evaluate import copy_finalists, copy_grid, copy_search, copy_set, lora_copies
from cxr.evaluate.lora_copies import check_lora
from cxr.folders.radiographs import read_folders
from cxr.generate.model import load_model
from cxr.generate.preview import predicted_original
from cxr.labels.split import split_by_patient
from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.lora.find import WEIGHTS_NAME
from cxr.request.errors import AdapterError, DataError, RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.train import architecture, base_task, diffusion, guide_network, loop, lora_task, parallel, text_task
from cxr.train.autoguidance import low_rank_step
from cxr.train.checkpoint import read_facts
from cxr.train.guide_network import NAMES
from cxr.train.judge_task import JudgeTask
from cxr.train.latent_sampling import denoiser_for, prompts_of
from cxr.train.latents import LATENT_SCALE, block_cosines, latents_of
from cxr.train.loop_settings import LoopSettings
from cxr.train.pipeline_folder import MACHINE_SETTINGS, fit_preview
from cxr.train.precision import Precision
from cxr.train.reconstruction import LATENT_FADING, as_if_sampled, energy_loss, enlarge, shrink
from cxr.train.setup import Setup, batch_generator, learning_rate_at
from cxr.train.step_gain_fit import STEP_GAINS
from cxr.train.training_task import Run

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
    shared = ["--batch-size", "2", "--decay-share", "0.5", *options]
    shared += ["--validation-share", "0.5", "--judging-share", "0"] if data else []
    return main(["train", stage, *folders, "--out", str(out), *shared])


def rows_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def few_kinds() -> Iterator[None]:
    """Fewer kinds of planted copies, and of transforms, than are searched for after a LoRA is trained; small guides."""
    few = ("mirrored", "inverted", "black border over it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_set, "KINDS", {kind: copy_set.KINDS[kind] for kind in few})
        patch.setattr(copy_search, "FAMILIES", copy_grid.FAMILIES[4:])  # those that do not move the images
        patch.setattr(copy_finalists, "HALVINGS", range(1))
        patch.setattr(copy_finalists, "LAST_HALVINGS", range(0))
        patch.setattr(lora_copies, "NUM_IMAGES", 3)
        patch.setattr(guide_network, "build_unet", small_unet)
        yield


@pytest.fixture(scope="module")
def trained(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage up to the LoRA, two steps each, as a user would run them."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_task, "build_unet", small_unet)
        patch.setattr(base_task, "fit_preview", lambda vae, latents: fit_preview(vae, latents[:2]))
        assert run("autoencoder", data, out / "vae_run", "--steps", "2") == 0
        patch.setattr(text_task, "NUM_VALIDATION", 8)
        assert run("text", [], out / "text_run", "--steps", "2") == 0
        assert run("guide", data, out / "guide_run", "--steps", "2") == 0
        guides = ("--guide", str(out / "guide_run" / "guide.safetensors")) * 2  # their mean
        guided = ("--steps", "2", *guides)
        ends = ("--vae", str(out / "vae_run"), "--text", str(out / "text_run"))
        assert run("base", data, out / "base_run", *guided, *ends) == 0
        assert run("lora", data, out / "lora_run", *guided, "--model", str(out / "base_run")) == 0
    return out


def test_what_training_writes_is_what_generation_reads(trained: Path) -> None:
    model = load_model(str(trained / "base_run" / "model"), f"local:{trained / 'lora_run' / 'adapter'}")
    assert model.info.resolution == architecture.RESOLUTION
    assert model.adapter is not None
    assert model.adapter.lora_alpha == 32
    assert model.preview_projection is not None


def test_an_exported_model_does_not_tell_where_its_parts_came_from(trained: Path) -> None:
    settings = list((trained / "base_run" / "model").rglob("*config.json"))
    assert len(settings) >= 4
    assert not any(name in path.read_text(encoding="utf-8") for path in settings for name in MACHINE_SETTINGS)


def test_the_log_tells_samples_loss_speed_and_held_out_figures(trained: Path) -> None:
    validation = rows_of(trained / "vae_run")[-1]
    assert validation["samples"] == 4
    assert {"validation_psnr_128", "validation_psnr_256", "validation_detail_ratio"} <= set(validation)
    assert rows_of(trained / "base_run")[-1]["validation_loss"] > 0


def test_the_lora_tells_whether_it_copies(trained: Path) -> None:
    with safe_open(trained / "lora_run" / "adapter" / "pytorch_lora_weights.safetensors", "pt") as file:
        metadata = file.metadata()
    assert "lora_adapter_metadata" in metadata
    told = json.loads(metadata["copy_check"])
    assert set(told) in ({"not_checked"}, {"num_images", "num_training", "near_exact", "spaces"})


def test_the_search_for_copies_is_written_into_the_file(trained: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(trained / "lora_run" / "adapter", tmp_path / "adapter")
    rows = [("Effusion", "50", "M", "PA", str(number)) for number in range(12)]
    records = read_folders([make_folder(tmp_path / "some", rows, side=128)])
    outcome = check_lora(adapter, trained / "base_run" / "model", records[:3], records[3:])
    assert (outcome["num_images"], outcome["num_training"], outcome["near_exact"]) == (3, 3, 0)
    assert set(outcome["spaces"]) == {"small", *copy_grid.SPACES}
    assert outcome["spaces"]["aligned pixels"]["planted_copies_flagged"] == 1
    with safe_open(adapter / "pytorch_lora_weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["copy_check"]) == outcome
    before, after = (
        load_file(folder / "pytorch_lora_weights.safetensors") for folder in (trained / "lora_run" / "adapter", adapter)
    )
    assert all(torch.equal(before[name], after[name]) for name in before | after)
    assert load_model(str(trained / "base_run" / "model"), f"local:{adapter}").adapter is not None


def test_the_lora_leaves_the_base_alone_and_has_learnt_something(trained: Path) -> None:
    tensors = load_file(trained / "lora_run" / "adapter" / "pytorch_lora_weights.safetensors")
    ups = [value for name, value in tensors.items() if "lora_B" in name or ".up." in name or "lora.up" in name]
    assert ups
    assert any(float(value.abs().max()) > 0 for value in ups)
    assert all(name.startswith("unet") for name in tensors)
    told = json.loads((trained / "lora_run" / "adapter" / "config.json").read_text())["training_data"]
    assert re.fullmatch(r"\d+ images of \d+ patients?", told)


def test_a_killed_run_ends_with_the_same_weights(
    data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--steps", "4", "--validate-every", "2")
    run("judge", data, tmp_path / "straight", *options)
    loss = JudgeTask.loss
    with monkeypatch.context() as patch:
        patch.setattr(JudgeTask, "loss", lambda task, step: loss(task, step) if step < 3 else 1 / 0)
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


@pytest.mark.parametrize(
    ("stage", "options", "part"),
    [
        ("autoencoder", ("--start-from",), "nowhere in"),
        ("text", ("--start-from",), "text_encoder in"),
        ("base", ("--vae", "--text"), "vae in"),
        ("guide", ("--start-from",), "unet in"),
        ("decoder", ("--model",), "is unknown"),
    ],
)
def test_parts_that_are_not_there_are_one_sentence(
    stage: str,
    options: tuple[str, ...],
    part: str,
    data: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = [word for option in options for word in (option, str(tmp_path / "nowhere"))]
    assert run(stage, [] if stage == "text" else data, tmp_path / "out", "--steps", "1", *nowhere) == 2
    said = capsys.readouterr().err
    assert part in said
    assert not any(word in said for word in ("Traceback", "huggingface.co"))


def test_a_text_encoder_that_learns_more_words_says_the_same_in_the_earlier_ones(tmp_path: Path) -> None:
    words = ("chest", "x", "ray", "a", "man", "with", "pneumonia")
    small = architecture.build_tokenizer(words)
    earlier = architecture.build_text_encoder(small).eval()
    tokenizer = architecture.build_tokenizer((*words, "left"))
    encoder = architecture.build_text_encoder(tokenizer).eval()
    text_task.take_over(encoder, tokenizer, earlier, small)

    def encode(model: CLIPTextModel, tokens: CLIPTokenizer, prompt: str) -> Tensor:
        ids = tokens(prompt, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            encoded: Tensor = model(ids)[0]
        return encoded

    known = "chest x-ray, a man with pneumonia"
    torch.testing.assert_close(encode(encoder, tokenizer, known), encode(earlier, small, known))
    assert len(tokenizer.tokenize("left")) == 1 < len(small.tokenize("left"))


def test_the_text_stage_begins_with_an_earlier_encoder_and_tells_how_far_it_moved(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_task, "NUM_VALIDATION", 8)
        assert run("text", [], tmp_path, "--steps", "1", "--start-from", str(trained / "text_run")) == 0
    assert 0 < rows_of(tmp_path)[-1]["validation_moved"] < 0.1
    assert "shards" not in capsys.readouterr().err, "a bar of transformers"


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
    weights, bias = fit_preview(vae, latents)
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


@pytest.mark.slow
def test_two_processes_train_the_same_weights_on_different_batches(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "cxr", "train", "text"]
    options = ["--steps", "2", "--batch-size", "2", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, *options], check=True, env=environment, timeout=120, cwd=Path(__file__).parent.parent)
    assert rows_of(tmp_path)[-1]["samples"] == 8


def test_gradients_are_averaged_over_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two processes that have gradients 1 and 3, each goes on with 2."""
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    monkeypatch.setattr(parallel, "shared_state", lambda: SimpleNamespace(num_processes=2, device="cpu"))
    monkeypatch.setattr(parallel, "reduce", lambda tensor, how: (tensor + 3) / 2)
    parallel.average_gradients(parameters)
    for parameter in parameters:
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.full_like(parameter, 2.0))


class CountingTask:
    """One weight, whose gradient in batch k is k + 1."""

    def __init__(self) -> None:
        self.trained: torch.nn.Module = torch.nn.Linear(1, 1, bias=False)

    def loss(self, step: int) -> dict[str, Tensor]:
        return {"loss": self.trained(torch.full((1, 1), step + 1.0)).sum()}

    def validate(self) -> dict[str, float]:
        return {}

    def export(self, out_dir: Path) -> None:
        pass


# A CPU with bfloat16 is timed on batches before the first step, and before signals are looked after.
UNTIMED = Run(precision=Precision(torch.device("cpu"), torch.float32))


class SignallingTask(CountingTask):
    """Gets a signal twice in its first batch, as from somebody impatient or from torchrun, which passes it on."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def loss(self, step: int) -> dict[str, Tensor]:
        for _ in range(2):
            os.kill(os.getpid(), self.number)
        return super().loss(step)


def test_a_second_sigterm_does_not_end_the_saving(tmp_path: Path) -> None:
    before, settings = signal.getsignal(signal.SIGTERM), LoopSettings(steps=5, batch_size=1, learning_rate=1e-3)
    loop.train(SignallingTask(signal.SIGTERM), settings, tmp_path, torch.device("cpu"), UNTIMED)
    assert json.loads((tmp_path / "state.json").read_text())["step"] == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    settings = LoopSettings(steps=5, batch_size=1, learning_rate=1e-3)
    with pytest.raises(KeyboardInterrupt):
        loop.train(SignallingTask(signal.SIGINT), settings, tmp_path, torch.device("cpu"), UNTIMED)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    settings = LoopSettings(steps=1, batch_size=1, learning_rate=1e-3)
    loop.train(CountingTask(), settings, tmp_path, torch.device("cpu"), UNTIMED)
    file = tmp_path / "checkpoint.safetensors"
    tensors, facts = load_file(file), read_facts(tmp_path)
    moments = tensors.pop("optimizer.0.exp_avg")
    save_file(tensors | {"exp_avg.0": moments}, file, facts)
    with pytest.raises(DataError, match=r"of another version of this program \(it has exp_avg\)"):
        loop.train(CountingTask(), settings, tmp_path, torch.device("cpu"), UNTIMED)


def test_accumulated_batches_are_one_step_with_their_mean_gradient(tmp_path: Path) -> None:
    settings = LoopSettings(steps=2, batch_size=4, learning_rate=1e-9, gradient_accumulation_steps=3, log_every=1)
    loop.train(CountingTask(), settings, tmp_path, torch.device("cpu"), UNTIMED)
    first, second = (row for row in rows_of(tmp_path) if "gradient_norm" in row)
    assert (first["samples"], second["samples"]) == (12, 24)
    assert (first["gradient_norm"], second["gradient_norm"]) == (2, 5)  # means of 1, 2, 3 and of 4, 5, 6


def test_the_energy_of_detail_is_blind_to_its_place_and_sees_softness() -> None:
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    elsewhere = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.1
    assert float(energy_loss(noise, noise)) == 0
    assert float(energy_loss(noise, elsewhere)) < 0.5 * float(energy_loss(noise, elsewhere * 0.3))


def test_latents_are_faded_where_they_are_fine_and_never_in_the_mean() -> None:
    latents = torch.full((64, 16, 8, 8), 10.0)
    means = as_if_sampled(latents, torch.Generator().manual_seed(0)).mean(dim=(2, 3)) / 10
    assert torch.allclose(means[:, 0], torch.ones(64), atol=0.01)
    finest = means[:, -1]
    assert float(finest.min()) == pytest.approx(1 - LATENT_FADING, abs=0.03)
    assert float(finest.max()) == pytest.approx(1, abs=0.03)


def test_the_base_learns_from_the_guide_in_some_batches_as_much_as_in_all(
    trained: Path, data: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(read_folders(data), [], LoopSettings(steps=1, batch_size=2, learning_rate=1e-3), torch.device("cpu"))
    vae, text, guide_file = trained / "vae_run", trained / "text_run", trained / "guide_run" / "guide.safetensors"
    task = base_task.BaseTask(setup, vae=vae, text=text, guide=[guide_file], guide_weight=0.5)
    monkeypatch.setattr(task, "predict", lambda draw, captions: draw.velocity)
    monkeypatch.setattr(diffusion, "velocity_shift", lambda guide, noisy, *levels: torch.full_like(noisy, 0.2))
    moved = [float(task.loss(step)["loss"]) ** 0.5 for step in range(2 * diffusion.GUIDED_EVERY)]
    assert sum(moved) / len(moved) == pytest.approx(0.5 * 0.2, rel=1e-5)
    assert sum(size > 0 for size in moved) == 2


def test_autoguidance_is_learnt_from_frozen_unets(
    trained: Path, data: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(read_folders(data), [], LoopSettings(steps=1, batch_size=2, learning_rate=1e-3), torch.device("cpu"))
    model = trained / "base_run" / "model"
    make = partial(base_task.BaseTask, setup, vae=trained / "vae_run", text=trained / "text_run", autoguidance=model)
    task = make(start_from=model, autoguidance_weight=1.5, low_rank_weight=0.5)
    assert task.autoguidance is not None
    assert float(task.loss(0)["loss"].detach()) == pytest.approx(0, abs=1e-10)  # four times the same network
    teacher, weaker = task.autoguidance.teacher, [unet for _, unet in task.autoguidance.weaker]
    said = {id(teacher): 1.0, id(weaker[0]): 0.8, id(weaker[1]): 0.6, id(None): 0.0}
    monkeypatch.setattr(
        task, "predict", lambda draw, captions, unet=None: torch.full_like(draw.velocity, said[id(unet)])
    )
    assert float(task.loss(0)["loss"]) == pytest.approx((1 + 1.5 * 0.2 + 0.5 * 0.4) ** 2)
    assert not any(parameter.requires_grad for unet in (teacher, *weaker) for parameter in unet.parameters())
    taught = make(teacher=model, autoguidance_weight=1.5)  # begins with random weights
    assert taught.autoguidance is not None
    assert len(taught.autoguidance.weaker) == 1
    weights = next(taught.autoguidance.teacher.parameters())
    assert torch.equal(weights, next(teacher.parameters()))
    assert not torch.equal(weights, next(taught.unet.parameters()))
    guide_file = trained / "guide_run" / "guide.safetensors"
    with pytest.raises(RequestError, match="--teacher or --start-from"):
        make()
    with pytest.raises(RequestError, match="no --guide"):
        make(start_from=model, guide=[guide_file])
    with pytest.raises(RequestError, match="--autoguidance does: give that"):
        make(teacher=model, autoguidance=None)


def test_a_unet_of_another_architecture_is_refused(trained: Path, tiny_model_dir: Path) -> None:
    with pytest.raises(DataError, match="not 16 and 256; name a model that the base stage wrote"):
        architecture.read_unet(tiny_model_dir)
    unets = architecture.read_unet(trained / "base_run" / "model"), architecture.build_unet()
    with pytest.raises(RequestError, match="have other shapes"):
        low_rank_step(*unets, 4)


def test_a_low_rank_step_keeps_the_main_directions_of_what_separates_two_unets(trained: Path) -> None:
    here = architecture.read_unet(trained / "base_run" / "model")
    there = copy.deepcopy(here)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in there.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    step, before, after = (unet.state_dict() for unet in (low_rank_step(here, there, 4), here, there))
    ranks = set()
    for name, weight in step.items():
        whole, kept = (other - before[name] for other in (after[name], weight))
        if whole.ndim < 2:
            torch.testing.assert_close(kept, whole)
            continue
        sizes = torch.linalg.svdvals(whole.flatten(1))
        assert float((whole - kept).square().sum()) == pytest.approx(
            float(sizes[4:].square().sum()), rel=1e-3, abs=1e-6
        )
        ranks.add(int(torch.linalg.matrix_rank(kept.flatten(1), rtol=1e-4)))
    assert max(ranks) == 4


def test_the_lora_learns_from_the_base_and_the_guide(
    trained: Path, data: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base says 1, the LoRA 0, the guide 0.2 a named finding, 0.1 where some are absent, 0.3 for sex or age.

    The loss is the squared distance; several findings together have the weight of one times the root of their number,
    each its own strength; they and the age are exaggerated.
    """
    seen: dict[bool, list[str]] = {}

    def predict(draw: diffusion.Draw, captions: list[str], unet: object = None) -> Tensor:
        seen[unet is None] = captions
        return torch.full_like(draw.velocity, float(unet is not None))

    def brighten(guide: object, noisy: Tensor, *levels: Tensor) -> Tensor:
        found = levels[-1][:, [NAMES.index(name) for name in FINDINGS]]
        person = levels[-1][:, [NAMES.index(name) for name in lora_task.PERSON]]
        assert bool(levels[-1][:, NAMES.index(diffusion.VIEW)].isnan().all())
        grey = 0.2 * found.nan_to_num().clamp(min=0).sum(dim=1) + 0.1 * (found == 0).any(dim=1)
        grey = grey + 0.3 * (~person.isnan()).any(dim=1)
        return grey[:, None, None, None] * torch.ones_like(noisy)

    monkeypatch.setattr(diffusion, "velocity_shift", brighten)
    monkeypatch.setattr(lora_task, "DATA_SHARE", 0.0)
    settings = LoopSettings(steps=1, batch_size=32, learning_rate=1e-3)
    setup = Setup(read_folders(data), [], settings, torch.device("cpu"))
    guide_file = trained / "guide_run" / "guide.safetensors"
    task = lora_task.LoraTask(setup, model=trained / "base_run", guide=[guide_file], guide_weight=2.0)
    monkeypatch.setattr(task, "predict", predict)
    loss = float(task.loss(0)["loss"])
    named, plain = ([labels_of(text) for text in seen[with_lora]] for with_lora in (True, False))
    counts = [len(labels.findings or ()) for labels in named]
    assert {0, 1, 2} == set(counts)
    people = [0.3 * (labels.sex is not None) + 0.9 * (labels.age is not None) for labels in named]
    absent = [labels.findings is not None for labels in named]
    factors = [[lora_task.STRENGTHS[name] for name in labels.findings or ()] for labels in named]
    assert len({factor for row in factors for factor in row}) > 1
    asked = [0.4 * sum(row) / len(row) ** 0.5 if row else 0.0 for row in factors]
    shifts = [asked[k] + 0.1 * absent[k] + people[k] for k in range(32)]
    assert loss == pytest.approx(sum((1 + shift) ** 2 for shift in shifts) / 32, rel=1e-5)
    assert not any(labels.findings for labels in plain)
    assert [(labels.sex, labels.view) for labels in named] == [(labels.sex, labels.view) for labels in plain]


def test_a_lora_can_begin_as_an_earlier_one_of_its_kind(
    data: list[Path], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(read_folders(data), [], LoopSettings(steps=1, batch_size=1, learning_rate=1e-3), torch.device("cpu"))
    earlier = trained / "lora_run" / "adapter"
    begin = functools.partial(lora_task.LoraTask, setup, model=trained / "base_run", start_from=f"local:{earlier}")
    begin().export(tmp_path)
    written, before = (load_file(path / WEIGHTS_NAME) for path in (tmp_path / "adapter", earlier))
    assert any(bool(value.any()) for name, value in before.items() if "lora_B" in name or "up" in name), "not trained"
    assert written.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in written.items())
    for name, value in (("RANK", 8), ("LORA_ALPHA", 16), ("UNET_TARGETS", ("to_q",))):
        with monkeypatch.context() as patch:
            patch.setattr(lora_task, name, value)
            with pytest.raises(RequestError, match="other layers, or another rank"):
                begin()
    with pytest.raises(AdapterError, match="is unknown"):
        begin(start_from="nowhere")


def test_a_lora_is_fitted_to_another_base(trained: Path, data: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The new base says 1, the earlier one 0.5 and 0.8 with its LoRA: the LoRA, which says 0, is to say 1.3."""
    setup = Setup(read_folders(data), [], LoopSettings(steps=1, batch_size=4, learning_rate=1e-3), torch.device("cpu"))
    source = f"local:{trained / 'lora_run' / 'adapter'}"
    make = partial(lora_task.LoraTask, setup, model=trained / "base_run", earlier_model=trained / "base_run" / "model")
    task = make(start_from=source)
    assert float(task.loss(0)["loss"].detach()) == pytest.approx(0, abs=1e-10)  # it fits where it comes from
    assert task.earlier is not None
    assert not any(parameter.requires_grad for unet in (task.base, *task.earlier) for parameter in unet.parameters())
    before, after = task.earlier
    said = {id(task.base): 1.0, id(before): 0.5, id(after): 0.8, id(None): 0.0}
    asked = set()

    def predict(draw: diffusion.Draw, captions: list[str], unet: object = None) -> Tensor:
        asked.add(tuple(captions))
        return torch.full_like(draw.velocity, said[id(unet)])

    monkeypatch.setattr(task, "predict", predict)
    assert float(task.loss(0)["loss"]) == pytest.approx(1.3**2)
    assert len(asked) == 1
    with pytest.raises(RequestError, match="--start-from was trained on"):
        make()


def test_a_guide_exaggerates_sex_and_age_while_a_lora_is_fitted(
    trained: Path, data: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All networks say 1 and the guide 0.3 for each sex and age that a prompt names: findings are the LoRA's alone."""
    settings = LoopSettings(steps=1, batch_size=16, learning_rate=1e-3)
    setup = Setup(read_folders(data), [], settings, torch.device("cpu"))
    task = lora_task.LoraTask(
        setup,
        model=trained / "base_run",
        earlier_model=trained / "base_run" / "model",
        start_from=f"local:{trained / 'lora_run' / 'adapter'}",
        guide=[trained / "guide_run" / "guide.safetensors"],
        guide_weight=2.0,
    )
    asked: list[str] = []

    def predict(draw: diffusion.Draw, captions: list[str], unet: object = None) -> Tensor:
        asked[:] = captions
        return torch.ones_like(draw.velocity)

    def brighten(guide: object, noisy: Tensor, *levels: Tensor) -> Tensor:
        people = [NAMES.index(name) for name in lora_task.PERSON]
        others = [column for column in range(len(NAMES)) if column not in people]
        assert bool(levels[-1][:, others].isnan().all())
        return 0.3 * (~levels[-1][:, people].isnan()).sum(dim=1)[:, None, None, None] * torch.ones_like(noisy)

    monkeypatch.setattr(diffusion, "velocity_shift", brighten)
    monkeypatch.setattr(task, "predict", predict)
    loss = float(task.loss(0)["loss"])
    counts = [(labels.sex is not None) + (labels.age is not None) for labels in map(labels_of, asked)]
    assert len(set(counts)) > 1
    assert loss == pytest.approx(sum((0.6 * count) ** 2 for count in counts) / 16, rel=1e-5)


def test_gains_bring_what_is_expected_of_samples_to_the_spread_of_films(
    trained: Path, data: list[Path], tmp_path: Path
) -> None:
    model, adapter = trained / "base_run" / "model", f"local:{trained / 'lora_run' / 'adapter'}"
    folders = [word for folder in data for word in ("--data", str(folder))]
    options = ["--model", str(model), "--adapter", adapter, "--num-sampled", "4", "--judging-share", "0"]
    for out in (tmp_path / "once", tmp_path / "again"):
        assert main(["train", "gains", *folders, "--out", str(out), *options]) == 0
    written = (tmp_path / "once" / STEP_GAINS).read_text()
    assert written == (tmp_path / "again" / STEP_GAINS).read_text()

    copied = tmp_path / "model"
    shutil.copytree(model, copied)
    (copied / STEP_GAINS).write_text(written)
    loaded = load_model(str(copied), adapter)
    gains = loaded.step_gains
    assert gains is not None
    assert gains.num_inference_steps == len(gains.timesteps) == GenerationRequest("x").num_inference_steps
    assert any(abs(gain - 1) > 0.2 for row in gains.gains for gain in row)
    assert len(gains.final) == architecture.LATENT_CHANNELS
    # Sampled with the table, one by one: what is expected at the last step is as strong as it is of the noisy films.
    with loaded.lock:
        pairs = prompts_of(split_by_patient(read_folders(data), 0.15, 0).training, 4, "gains 0", str(copied))
        each = [denoiser_for(loaded, [request]) for _, request in pairs]
        for timestep in each[0].timesteps:
            for denoiser in each:
                denoiser.step(timestep)
        sampled = torch.cat([denoiser.predicted() for denoiser in each])
        films = latents_of([film for film, _ in pairs]).float()
        unguided = denoiser_for(loaded, [replace(request, guidance_scale=1.0) for _, request in pairs])
        noise = torch.randn(films.shape, generator=batch_generator(0, len(unguided.timesteps) - 1))
        unguided.latents = unguided.scheduler.add_noise(films, noise, timestep[None])
        signal = unguided.scheduler.alphas_cumprod[int(timestep)]
        expected = predicted_original(unguided.latents, unguided.predict(timestep).float(), signal, "v_prediction")
    torch.testing.assert_close(sampled.std(dim=(0, 2, 3)), expected.std(dim=(0, 2, 3)), rtol=0.05, atol=0.0)


def test_gains_are_measured_for_embedded_models_alone(
    tiny_model_dir: Path, data: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data[0]), "--model", str(tiny_model_dir), "--adapter", "none", "--num-sampled", "1"]
    assert main(["train", "gains", "--out", str(tmp_path), *options]) == 2
    assert "is not an embedded model" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
