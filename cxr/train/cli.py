"""The ``train`` subcommand: which options there are and what they start."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_train_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``train autoencoder|base|lora|judge``; the parsed arguments carry ``run``, called with them."""
    parser = subparsers.add_parser(
        "train", help="train the autoencoder, the base model or a LoRA on a folder of images"
    )
    stages = parser.add_subparsers(dest="stage", required=True, metavar="autoencoder|base|lora|judge")
    for name, text, steps, batch_size, learning_rate in (
        ("autoencoder", "1. images <-> latents", 6_000, 16, 8e-4),
        ("base", "2. anatomy, view, sex and age, without findings", 8_000, 32, 5e-4),
        ("lora", "3. the findings, on top of a trained base", 2_000, 32, 5e-4),
        (
            "judge",
            "apart: a network that reads the labels off real images, to measure prompt fidelity",
            2_500,
            32,
            1e-3,
        ),
    ):
        stage = stages.add_parser(name, help=text, description=text)
        stage.add_argument("--data", type=Path, action="append", required=True, metavar="DIR", help="folder of images")
        stage.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="goes on from a checkpoint found here"
        )
        stage.add_argument("--steps", type=int, default=steps, help="optimizer steps in all (default %(default)s)")
        stage.add_argument("--batch-size", type=int, default=batch_size, help="samples a step (default %(default)s)")
        stage.add_argument("--learning-rate", type=float, default=learning_rate, help="peak rate (default %(default)s)")
        stage.add_argument("--decay-share", type=float, default=0.2, help="last share of the steps that slows down")
        stage.add_argument(
            "--ema-decay", type=float, default=0.999, help="averaging of the weights (default %(default)s)"
        )
        stage.add_argument(
            "--validate-every", type=int, default=1_000, metavar="STEPS", help="also saves (default 1000)"
        )
        stage.add_argument(
            "--validation-share", type=float, default=0.05, help="patients held out (default %(default)s)"
        )
        stage.add_argument("--max-minutes", type=float, help="save and stop after this time")
        stage.add_argument("--seed", type=int, default=0, help="of weights, batches and noise (default 0)")
        stage.set_defaults(run=run_train)
        if name == "autoencoder":
            stage.add_argument("--start-from", type=Path, metavar="VAE_DIR", help="exported weights to begin with")
            stage.add_argument(
                "--crop-size",
                type=int,
                default=96,
                metavar="PIXELS",
                help="side of the training crops (default 96); a last phase with whole images, 256, pays",
            )
            stage.add_argument(
                "--freeze-encoder", action="store_true", help="train the decoder alone: latents stay valid"
            )
        elif name != "judge":
            stage.add_argument("--model", type=Path, required=True, metavar="DIR", help="--out of the earlier stage")
        if name == "base":
            stage.add_argument("--start-from", type=Path, metavar="MODEL_DIR", help="exported weights to begin with")


def run_train(arguments: argparse.Namespace) -> int:
    """Run one stage; torch is imported only now."""
    import torch

    from cxr.data import read_folders, split_by_patient
    from cxr.train import loop

    torch.set_flush_denormal(True)  # tiny numbers make a CPU many times slower
    settings = loop.LoopSettings(
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        decay_share=arguments.decay_share,
        ema_decay=arguments.ema_decay,
        validate_every=arguments.validate_every,
        max_minutes=arguments.max_minutes,
        seed=arguments.seed,
    )
    training, validation = split_by_patient(read_folders(arguments.data), arguments.validation_share)
    device = loop.choose_device()
    task = _build_task(arguments, training, validation, settings, device)
    loop.train(task, settings, arguments.out, device)
    return 0


def _build_task(arguments, training, validation, settings, device):  # type: ignore[no-untyped-def]
    if arguments.stage == "autoencoder":
        from cxr.train.autoencoder import AutoencoderTask

        return AutoencoderTask(
            training,
            validation,
            settings,
            device,
            start_from=arguments.start_from,
            crop_size=arguments.crop_size,
        )
    if arguments.stage == "base":
        from cxr.train.base import BaseTask

        return BaseTask(
            training, validation, settings, device, model_dir=arguments.model, start_from=arguments.start_from
        )
    if arguments.stage == "judge":
        from cxr.train.judge import JudgeTask

        return JudgeTask(training, validation, settings, device)
    from cxr.train.lora import LoraTask

    return LoraTask(training, validation, settings, device, model_dir=arguments.model)
