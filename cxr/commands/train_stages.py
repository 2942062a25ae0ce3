"""The stages of the ``train`` command as a table: what each trains, how long, and with which options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

from cxr.commands.options import named_path
from cxr.labels.split import JUDGING_SHARE, VALIDATION_SHARE
from cxr.train.loop_settings import LoopSettings


class Option(NamedTuple):
    """One option of a stage.

    Args:
        default: None where it may be left out or must be given.
        text: its help; "{}" stands for the default.
        more: further arguments for argparse; the type is that of the default.
    """

    flag: str
    default: object
    text: str
    more: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """Its value among the arguments, and the argument of the task that takes it."""
        return self.flag.removeprefix("--").replace("-", "_")


class Stage(NamedTuple):
    """One thing to train: what it is, its class in ``cxr.train``, how long and how fast, and its own options."""

    text: str
    task: str
    steps: int
    batch_size: int
    learning_rate: float
    options: tuple[Option, ...] = ()


def _path(flag: str, text: str, metavar: str = "DIR", **more: Any) -> Option:
    return Option(flag, None, text, {"type": named_path, "metavar": metavar} | more)


def _crop_size(default: int, text: str) -> Option:
    return Option("--crop-size", default, f"side of the training crops (default {{}}); {text}", {"metavar": "PIXELS"})


def _guides(weight: float) -> tuple[Option, Option]:
    text = "how strongly labels are exaggerated (default {})"
    guides = "guide.safetensors of the guide stage; given more than once, their mean"
    return _path("--guide", guides, "FILE", action="append"), Option("--guide-weight", weight, text)


NETWORKS = ("residual", "dense", "lean-residual", "lean-dense")  # named here as well, so that help comes without torch
DATA = (
    _path("--data", "folder of images", action="append", required=True),
    Option("--validation-share", VALIDATION_SHARE, "patients held out (default {})"),
    Option(
        "--judging-share",
        JUDGING_SHARE,
        "patients that only judges learn from (default {}; at 0 judges learn from all that are not held out)",
    ),
)
ACCUMULATION = Option("--gradient-accumulation-steps", 1, "batches of one optimizer step (default {})")
MODEL_HELP = "the --out folder of the base stage, or a preset or folder of a full-size Stable Diffusion"
LORA_HELP = "LoRA of this stage to begin with: a name that “adapter list” prints, or local:FILE"
AUTOGUIDANCE_HELP = (
    "earlier, less trained weights: the UNet learns what --teacher predicts, moved away from these, not the velocity "
    "of films"
)
LOW_RANK_HELP = "the same for the main directions alone of what separates their weights (default {})"
TEACHER_HELP = "the weights whose prediction is moved (default: those of --start-from)"
EARLIER_MODEL_HELP = (
    "model that the LoRA of --start-from was trained on: it learns to change --model as it changes that"
)
EARLIER_HELP = "earlier text encoder to begin with, whose output for its own captions is kept"
MEMBERS_HELP = (
    "networks of different seeds whose mean it is; each leaves out another part of the patients, on whom it is checked "
    "(default {})"
)
READERS_HELP = "votes of human readers (column votes_of_5: Mass:2|Nodule:3), to measure with and never to learn from"
DEGRADED_HELP = "learn from degraded images too; --no-degraded for an extractor, which has to notice how images look"
STAGES = {
    "autoencoder": Stage(
        *("1. images <-> latents", "autoencoder_task.AutoencoderTask", 6_000, 16, 8e-4),
        (
            *DATA,
            _path("--start-from", "exported weights to begin with", "VAE_DIR"),
            _crop_size(96, "a last phase with whole images, 256, pays"),
        ),
    ),
    "text": Stage(
        *("2. the text encoder learns to read prompts; needs no images", "text_task.TextTask", 1_200, 32, 1e-3),
        (_path("--start-from", EARLIER_HELP),),
    ),
    "guide": Stage(
        *(
            "3. reads labels off noisy latents, to show the UNet what they change",
            "guide_task.GuideTask",
            2_000,
            32,
            2e-4,
        ),
        (*DATA, _path("--start-from", "exported model whose UNet's encoder to begin with", "MODEL_DIR")),
    ),
    # The weights of the guides are what the weights that come with the program were trained with last.
    "base": Stage(
        *("4. the UNet: anatomy, view, sex and age, without findings", "base_task.BaseTask", 8_000, 32, 5e-4),
        (
            *DATA,
            _path("--vae", "--out of the autoencoder stage", required=True),
            _path("--text", "--out of the text stage", required=True),
            _path("--start-from", "exported weights to begin with", "MODEL_DIR"),
            ACCUMULATION,
            *_guides(0.5),
            _path("--autoguidance", AUTOGUIDANCE_HELP, "MODEL_DIR"),
            Option("--autoguidance-weight", 1.0, "how far, as a multiple of their difference (default {})"),
            Option("--low-rank-weight", 0.0, LOW_RANK_HELP),
            _path("--teacher", TEACHER_HELP, "MODEL_DIR"),
        ),
    ),
    "lora": Stage(
        *("5. the findings, on top of a trained base", "lora_task.LoraTask", 2_000, 32, 5e-4),
        (
            *DATA,
            _path("--model", MODEL_HELP, required=True),
            Option("--start-from", None, LORA_HELP, {"metavar": "LORA"}),
            *_guides(3.5),
            _path("--earlier-model", EARLIER_MODEL_HELP, "MODEL_DIR"),
        ),
    ),
    "decoder": Stage(
        "6. sharper pictures: the decoder against a discriminator, on what the model samples",
        *("decoder_task.DecoderTask", 40_000, 2, 1e-4),
        (
            *DATA,
            Option(
                "--num-sampled",
                2_000,
                "latents to sample under prompts of training patients, kept in --out (default {})",
                {"metavar": "N"},
            ),
            _crop_size(256, "of crops it learns other amounts of detail, as its norms see less"),
        ),
    ),
    "judge": Stage(
        "apart: reads the labels off real images, to measure prompt fidelity",
        *("judge_task.JudgeTask", 3_000, 32, 1e-3),
        (
            *DATA,
            Option("--network", NETWORKS[0], "architecture (default {})", {"choices": NETWORKS}),
            Option("--members", 1, MEMBERS_HELP, {"metavar": "N"}),
            _path("--readers", READERS_HELP, "FILE.csv"),
            Option("--degraded", True, DEGRADED_HELP, {"action": argparse.BooleanOptionalAction}),
        ),
    ),
}

GAINS_TEXT = "7. gains of the sampling's steps, so that its latents stay as strong as real ones; nothing is trained"
GAINS = (
    Option("--num-sampled", 256, "images to sample, under prompts of training images (default {})", {"metavar": "N"}),
    Option("--seed", 0, "of prompts and noise (default {})"),
)


def loop_options(stage: Stage) -> tuple[Option, ...]:
    """What all stages have, as the table of settings describes it."""
    rows = LoopSettings.__dataclass_fields__
    own: dict[str, object] = {
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "learning_rate": stage.learning_rate,
    }
    own |= {name: rows[name].default for name in ("decay_share", "ema_decay", "validate_every", "seed")}
    options = [
        Option(flag_of(name), value, f"{rows[name].metadata['words']} (default {{}})") for name, value in own.items()
    ]
    return *options, Option("--max-minutes", None, rows["max_minutes"].metadata["words"], {"type": float})


def flag_of(name: str) -> str:
    """What is typed for a setting."""
    return "--" + name.replace("_", "-")
