"""The ``train`` command: which stages and options there are and what they start."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cxr.commands import train_lora as full_lora
from cxr.commands.options import Commands, add_command, add_model_options, add_path
from cxr.commands.report import split_patients
from cxr.commands.train_judge import train_judge
from cxr.commands.train_stages import ACCUMULATION, DATA, GAINS, GAINS_TEXT, STAGES, Option, loop_options

if TYPE_CHECKING:
    from cxr.train.setup import Setup
    from cxr.train.training_task import Task


# What suits a game of two networks: little memory of the other's last moves, and a discriminator that is ahead.
LOOP_SETTINGS: dict[str, dict[str, Any]] = {
    "decoder": {"betas": (0.5, 0.99), "rates": {"discriminator": 4.0}},
    "guide": {"rates": {"answers": 0.5}},  # thousands of features move each answer together
    "judge": {"weight_decay": 0.05},
}


def add_train_parser(commands: Commands) -> None:
    summary = "train the autoencoder, the base model or a LoRA on a folder of images"
    parser = add_command(commands, "train", run_train, summary)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="|".join((*STAGES, "gains")))
    for name, stage in STAGES.items():
        description = full_lora.DESCRIPTION if name == "lora" else stage.text
        command = add_command(stages, name, run_train, stage.text, description)
        add_path(command, "--out", "DIR", "continues from a checkpoint found here", required=True)
        for option in (*loop_options(stage), *stage.options):
            _add(command, option, full_lora.DEFAULTS if name == "lora" else {})
        if name == "lora":
            full_lora.add_full_lora_options(command)
        if name == "decoder":
            add_model_options(command)  # whose decoder is trained, and what it samples with
    command = add_command(stages, "gains", run_gains, GAINS_TEXT)
    add_path(command, "--out", "DIR", "where step_gains.json is written", required=True)
    for option in (*DATA, *GAINS):
        _add(command, option, {})
    add_model_options(command)


def run_gains(arguments: argparse.Namespace) -> int:
    """Measure the gains of a model's steps; torch is imported only now."""
    from cxr.train.step_gain_fit import write_step_gains

    count, seed = arguments.num_sampled, arguments.seed
    training = split_patients(arguments).training
    write_step_gains(arguments.model, arguments.adapter, training, count, seed, arguments.out)
    return 0


def run_train(arguments: argparse.Namespace) -> int:
    """Run one stage; torch is imported only now."""
    from cxr.models.model_folder import no_progress_bars

    with no_progress_bars():  # of libraries, at every file that is read or written; the loop has its own
        return _run_stage(arguments)


def _run_stage(arguments: argparse.Namespace) -> int:
    import torch

    from cxr.labels.split import Split
    from cxr.models.devices import shared_state
    from cxr.train import loop
    from cxr.train.loop_settings import LoopSettings
    from cxr.train.parallel import training_device
    from cxr.train.setup import Setup

    torch.set_flush_denormal(True)  # tiny numbers make a CPU many times slower
    if arguments.stage == "lora" and full_lora.is_full_size(arguments):
        full_lora.run_full_lora(arguments)
        shared_state().destroy_process_group()
        return 0
    values = _values_of(arguments)
    loop_settings = {name: value for name, value in values.items() if name in LoopSettings.__dataclass_fields__}
    settings = LoopSettings(**loop_settings, **LOOP_SETTINGS.get(arguments.stage, {}))
    device = training_device()
    split = split_patients(arguments) if "data" in values else Split([], [], [])
    if arguments.stage == "judge":
        train_judge(values, split, settings, arguments.out, device)
    else:
        task = _build_task(arguments, values, Setup(split.training, split.held_out, settings, device))
        loop.train(task, settings, arguments.out, device)
    if arguments.stage == "lora" and shared_state().is_main_process:
        from cxr.evaluate.lora_copies import check_lora

        check_lora(arguments.out / "adapter", arguments.model / "model", split.training, split.held_out)
    shared_state().destroy_process_group()
    return 0


def _values_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was typed for the options of a stage, else their defaults."""
    stage = STAGES[arguments.stage]
    options = {option.name: option.default for option in (*loop_options(stage), *stage.options)}
    typed = {name: getattr(arguments, name) for name in options}
    return {name: options[name] if value is None else value for name, value in typed.items()}


def _build_task(arguments: argparse.Namespace, values: Mapping[str, Any], setup: Setup) -> Task:
    """The stage's task, which takes the options of the stage that are neither the loop's nor those of the data."""
    module, _, name = STAGES[arguments.stage].task.partition(".")
    task: Callable[..., Task] = getattr(importlib.import_module(f"cxr.train.{module}"), name)
    own = {option.name: values[option.name] for option in STAGES[arguments.stage].options}
    for option in (*DATA, ACCUMULATION):
        own.pop(option.name, None)
    if arguments.stage == "decoder":
        own |= {"model": arguments.model, "adapter": arguments.adapter, "out": arguments.out}
    return task(setup, **own)


def _add(command: argparse.ArgumentParser, option: Option, full_size: Mapping[str, object]) -> None:
    """Add an option; if its default or its range depends on the model, it is None when not given."""
    own, other = option.default, full_size.get(option.name)
    shown = f"{own}" if other in (None, own) else f"{own}, of a full-size model {other}"
    is_open = option.name in (*full_size, *full_lora.SMALL_ONLY)
    kind: dict[str, Any] = {} if own is None or "action" in option.more else {"type": type(own)}
    text = option.text.replace("{}", shown)
    command.add_argument(option.flag, default=None if is_open else own, help=text, **kind, **option.more)
