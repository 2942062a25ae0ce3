"""The ``train`` command: which stages and options there are and what they start."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cxr.commands import train_lora as full_lora
from cxr.commands.options import Commands, add_command, add_model_options
from cxr.labels.split import JUDGING_SHARE, VALIDATION_SHARE

if TYPE_CHECKING:
    from cxr.labels.radiograph import Radiograph
    from cxr.labels.split import Split
    from cxr.train.loop import Task
    from cxr.train.setup import Setup


class _Stage(NamedTuple):
    text: str
    steps: int
    batch_size: int
    learning_rate: float


STAGES = {
    "autoencoder": _Stage("1. images <-> latents", 6_000, 16, 8e-4),
    "text": _Stage("2. the text encoder learns to read prompts; needs no images", 1_200, 32, 1e-3),
    "guide": _Stage("3. reads labels off noisy latents, to show the UNet what they change", 1_200, 32, 1e-3),
    "base": _Stage("4. the UNet: anatomy, view, sex and age, without findings", 8_000, 32, 5e-4),
    "lora": _Stage("5. the findings, on top of a trained base", 2_000, 32, 5e-4),
    "decoder": _Stage(
        "6. sharper pictures: the decoder against a discriminator, on what the model samples", 40_000, 2, 1e-4
    ),
    "judge": _Stage("apart: reads the labels off real images, to measure prompt fidelity", 3_000, 32, 1e-3),
}

# What suits a game of two networks: little memory of the other's last moves, and a discriminator that is ahead.
LOOP_SETTINGS: dict[str, dict[str, Any]] = {"decoder": {"betas": (0.5, 0.99), "rates": {"discriminator": 4.0}}}
THRESHOLD_SHARE = 0.15  # of the judges' patients: what they do not learn from, but set their thresholds on
NETWORKS = ("residual", "dense")  # named here as well, so that help comes without torch
GUIDE_WEIGHTS = {"base": 0.5, "lora": 6.0}  # what the shipped weights were finished with


def add_train_parser(commands: Commands) -> None:
    """Add ``train STAGE`` to the other commands."""
    summary = "train the autoencoder, the base model or a LoRA on a folder of images"
    parser = add_command(commands, "train", run_train, summary)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="|".join(STAGES))
    for name, defaults in STAGES.items():
        description = full_lora.DESCRIPTION if name == "lora" else defaults.text
        stage = add_command(stages, name, run_train, defaults.text, description)
        _add_loop_options(stage, defaults, full_lora.DEFAULTS if name == "lora" else {})
        if name != "text":
            _add_data_options(stage)
        if name in ("base", "lora"):
            _add_diffusion_options(stage, name)
        if name == "lora":
            full_lora.add_full_lora_options(stage)
        if name == "judge":
            _add_judge_options(stage)
        if name == "text":
            help_text = "earlier text encoder to begin with, whose output for its own captions is kept"
            stage.add_argument("--start-from", type=Path, metavar="DIR", help=help_text)
        if name == "autoencoder":
            _add_autoencoder_options(stage)
        if name == "decoder":
            _add_decoder_options(stage)


def run_train(arguments: argparse.Namespace) -> int:
    """Run one stage; torch is imported only now."""
    import torch

    from cxr.folders.radiographs import read_folders
    from cxr.labels.split import Split, split_by_patient
    from cxr.models.devices import shared_state
    from cxr.train import loop
    from cxr.train.setup import Setup

    torch.set_flush_denormal(True)  # tiny numbers make a CPU many times slower
    if arguments.stage == "lora" and full_lora.is_full_size(arguments):
        full_lora.run_full_lora(arguments)
        shared_state().destroy_process_group()
        return 0
    _fill_defaults(arguments)
    settings = loop.LoopSettings(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        decay_share=arguments.decay_share,
        ema_decay=arguments.ema_decay,
        validate_every=arguments.validate_every,
        max_minutes=arguments.max_minutes,
        seed=arguments.seed,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps if arguments.stage == "base" else 1,
        **LOOP_SETTINGS.get(arguments.stage, {}),
    )
    device = loop.choose_device()
    split = Split([], [], [])
    if "data" in arguments:
        shares = (arguments.validation_share, arguments.judging_share)
        split = split_by_patient(read_folders(arguments.data), *shares)
    unseen = split.held_out
    if arguments.stage == "judge" and arguments.judging_share:
        # What is held out from everybody stays out: thresholds come from patients of the judges' own.
        split = split_by_patient(split.judging, THRESHOLD_SHARE, purpose="threshold")
    task = _build_task(arguments, Setup(split.training, split.held_out, settings, device))
    loop.train(task, settings, arguments.out, device)
    if shared_state().is_main_process:
        _measure_result(arguments, split, unseen)
    shared_state().destroy_process_group()
    return 0


def _measure_result(arguments: argparse.Namespace, split: Split, unseen: list[Radiograph]) -> None:
    """What is to be known of a trained network before anyone uses it."""
    if arguments.stage == "judge" and unseen is not split.held_out:
        from cxr.judges.judge import load_judge
        from cxr.judges.reliability import measure_reliability
        from cxr.metrics.result import to_json, write_file

        figures = measure_reliability(load_judge(arguments.out / "judge.safetensors"), unseen)
        write_file(arguments.out / "reliability.json", to_json(figures))
    if arguments.stage == "lora":
        from cxr.evaluate.lora_copies import check_lora

        check_lora(arguments.out / "adapter", arguments.model / "model", split.training, split.held_out)


def _loop_options(defaults: _Stage) -> tuple[tuple[str, int | float, str], ...]:
    """Option, default and meaning of what all stages have."""
    return (
        ("--steps", defaults.steps, "optimizer steps in all"),
        ("--batch-size", defaults.batch_size, "samples a batch"),
        ("--learning-rate", defaults.learning_rate, "peak rate"),
        ("--decay-share", 0.2, "last share of the steps that slows down"),
        ("--ema-decay", 0.999, "averaging of the weights"),
        ("--validate-every", 1_000, "steps between looks at held-out patients, which also save"),
        ("--seed", 0, "of weights, batches and noise"),
    )


def _fill_defaults(arguments: argparse.Namespace) -> None:
    """Give a stage whose defaults depend on the model those of the small one."""
    small = {option: default for option, default, _ in _loop_options(STAGES[arguments.stage])}
    if arguments.stage in GUIDE_WEIGHTS:
        small["--guide-weight"] = GUIDE_WEIGHTS[arguments.stage]
    for option, default in small.items():
        name = option.removeprefix("--").replace("-", "_")
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)


def _add_loop_options(stage: argparse.ArgumentParser, defaults: _Stage, full_size: dict[str, Any]) -> None:
    stage.add_argument("--out", type=Path, required=True, metavar="DIR", help="goes on from a checkpoint found here")
    for option, default, text in _loop_options(defaults):
        other = full_size.get(option.removeprefix("--").replace("-", "_"))
        told = f"{default}" if other in (None, default) else f"{default}, of a full-size model {other}"
        kept = default if not full_size else None  # which it is depends on the model
        stage.add_argument(option, type=type(default), default=kept, help=f"{text} (default {told})")
    stage.add_argument("--max-minutes", type=float, help="save and stop after this time")


def _add_data_options(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--data", type=Path, action="append", required=True, metavar="DIR", help="folder of images")
    stage.add_argument(
        "--validation-share", type=float, default=VALIDATION_SHARE, help="patients held out (default %(default)s)"
    )
    stage.add_argument(
        "--judging-share",
        type=float,
        default=JUDGING_SHARE,
        help="patients that only judges learn from (default %(default)s; at 0 they share the training ones)",
    )


def _add_judge_options(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--network", choices=NETWORKS, default=NETWORKS[0], help="architecture (default %(default)s)")
    stage.add_argument(
        "--degraded",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn from degraded images too; --no-degraded for an extractor, which has to notice how images look",
    )


def _add_autoencoder_options(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("--start-from", type=Path, metavar="VAE_DIR", help="exported weights to begin with")
    _add_crop_size(stage, 96, "a last phase with whole images, 256, pays")


def _add_decoder_options(stage: argparse.ArgumentParser) -> None:
    add_model_options(stage)  # whose decoder, and what it samples with
    stage.add_argument(
        "--num-sampled",
        type=int,
        default=2_000,
        metavar="N",
        help="latents to sample under prompts of training patients, kept in --out (default %(default)s)",
    )
    _add_crop_size(stage, 256, "of crops it learns other amounts of detail, as its norms see less")


def _add_crop_size(stage: argparse.ArgumentParser, default: int, text: str) -> None:
    stage.add_argument(
        "--crop-size",
        type=int,
        default=default,
        metavar="PIXELS",
        help=f"side of the training crops (default {default}); {text}",
    )


def _add_diffusion_options(stage: argparse.ArgumentParser, name: str) -> None:
    if name == "lora":
        stage.add_argument(
            "--model",
            type=Path,
            required=True,
            metavar="DIR",
            help="the --out folder of the base stage, or a preset or folder of a full-size Stable Diffusion",
        )
    else:
        stage.add_argument("--vae", type=Path, required=True, metavar="DIR", help="--out of the autoencoder stage")
        stage.add_argument("--text", type=Path, required=True, metavar="DIR", help="--out of the text stage")
        stage.add_argument("--start-from", type=Path, metavar="MODEL_DIR", help="exported weights to begin with")
        stage.add_argument(
            "--gradient-accumulation-steps", type=int, default=1, help="batches of one optimizer step (default 1)"
        )
    stage.add_argument("--guide", type=Path, metavar="FILE", help="guide.safetensors of the guide stage")
    stage.add_argument(
        "--guide-weight",
        type=float,
        help=f"how strongly labels are exaggerated (default {GUIDE_WEIGHTS[name]})",
    )


def _build_task(arguments: argparse.Namespace, setup: Setup) -> Task:
    if arguments.stage == "autoencoder":
        from cxr.train.autoencoder import AutoencoderTask

        return AutoencoderTask(setup, start_from=arguments.start_from, crop_size=arguments.crop_size)
    if arguments.stage == "decoder":
        from cxr.train.decoder import DecoderTask, Source

        source = Source(arguments.model, arguments.adapter, arguments.num_sampled, arguments.out)
        return DecoderTask(setup, source, crop_size=arguments.crop_size)
    if arguments.stage == "text":
        from cxr.train.text import TextTask

        return TextTask(setup, start_from=arguments.start_from)
    if arguments.stage == "guide":
        from cxr.train.guide import GuideTask

        return GuideTask(setup)
    if arguments.stage == "judge":
        from cxr.train.judge import JudgeTask

        return JudgeTask(setup, arguments.network, degraded=arguments.degraded)
    guidance = {"guide_path": arguments.guide, "guide_weight": arguments.guide_weight}
    if arguments.stage == "lora":
        from cxr.train.lora import LoraTask

        return LoraTask(setup, model_dir=arguments.model, **guidance)
    from cxr.train.base import BaseTask

    return BaseTask(setup, vae_dir=arguments.vae, text_dir=arguments.text, start_from=arguments.start_from, **guidance)
