"""The table of settings for a LoRA of a full-size model, with their limits; no torch, so that help comes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from cxr.request.errors import RequestError

MAX_RANK = 256  # what this program reads back
PRECISIONS = ("auto", "no", "fp16", "bf16")
VALIDATION_PROMPTS = (
    "Chest X-ray, PA view, 55-year-old man, no findings",
    "Chest X-ray, PA view, 60-year-old woman, pleural effusion",
    "Chest X-ray, AP view, 70-year-old man, pneumonia",
)


class Limit(NamedTuple):
    """What a setting may be, as a test and in words."""

    allows: Callable[[Any], bool]
    words: str


ABOVE_ZERO = Limit(lambda value: value > 0, "a number above 0")
ZERO_OR_MORE = Limit(lambda value: value >= 0, "0 or more")
SHARE = Limit(lambda value: 0 <= value <= 1, "0 to 1")
RANKS = Limit(lambda value: 1 <= value <= MAX_RANK, f"1 to {MAX_RANK}")
ALPHAS = Limit(lambda value: 0 < value <= 10_000, "a number above 0, at most 10000")
GAMMAS = Limit(lambda value: value >= 0, "0 (equal weights) or more")
FORMATS = Limit(lambda value: value in PRECISIONS, ", ".join(PRECISIONS))


def _setting(
    default: Any, words: str, limit: Limit | None = None, *, option: type | None = None, weights: bool = True
) -> Any:
    """One row of the table.

    Args:
        default: where the user says nothing; None where it depends on the model or the device.
        words: what it is; also the help of its option.
        limit: of what is allowed; None is always.
        option: type of the option that only full-size models have; all stages have the others.
        weights: whether the trained weights depend on it; a resumed run may change what they do not depend on.
    """
    return field(default=default, metadata={"words": words, "limit": limit, "option": option, "weights": weights})


@dataclass(frozen=True)
class FullLoraSettings:
    """How a LoRA is trained; checked on creation. What each setting means stands beside it."""

    steps: int = _setting(2_000, "optimizer steps in all", ABOVE_ZERO)
    batch_size: int = _setting(1, "images at a time in each process", ABOVE_ZERO)
    gradient_accumulation_steps: int = _setting(4, "batches of one optimizer step", ABOVE_ZERO, option=int)
    learning_rate: float = _setting(1e-4, "peak of the schedule", ABOVE_ZERO)
    warmup_steps: int = _setting(100, "steps in which the rate rises", ZERO_OR_MORE, option=int)
    decay_share: float = _setting(0.2, "last share of the steps, in which the rate falls along a half cosine", SHARE)
    ema_decay: float = _setting(0.0, "averaging of the LoRA's weights, 0 for no average", SHARE)
    rank: int = _setting(16, "width of the LoRA", RANKS, option=int)
    lora_alpha: float | None = _setting(
        None, "strength of the LoRA, times 1 / rank (default: the rank)", ALPHAS, option=float
    )
    resolution: int | None = _setting(
        None, "side of the images in pixels (default: what the model was made for)", option=int
    )
    # Hang et al., ICCV 2023.
    min_snr_gamma: float | None = _setting(
        None, "weights of the noise levels, 0 for none (default: 5 where the schedule allows it)", GAMMAS, option=float
    )
    # Classifier-free guidance needs empty captions.
    caption_dropout: float = _setting(0.1, "share of empty captions", SHARE, option=float)
    captions_per_image: int = _setting(4, "wordings of an image's labels", ABOVE_ZERO, option=int)
    gradient_checkpointing: bool | None = _setting(None, "less memory for more time (default: on a GPU)", option=bool)
    mixed_precision: str = _setting(
        "auto", f"{FORMATS.words}; the frozen weights take it too on a GPU", FORMATS, option=str
    )
    checkpoint_every: int = _setting(250, "steps between checkpoints", ABOVE_ZERO, option=int, weights=False)
    validate_every: int = _setting(
        500, "steps between looks at held-out patients and validation images", ABOVE_ZERO, weights=False
    )
    validation_prompts: tuple[str, ...] = _setting(
        VALIDATION_PROMPTS, "what validation images ask for; may be repeated", option=tuple, weights=False
    )
    validation_images: int = _setting(
        2, "images of each validation prompt, 0 for none", ZERO_OR_MORE, option=int, weights=False
    )
    seed: int = _setting(0, "of weights, batches, captions and noise", ZERO_OR_MORE)
    max_minutes: float | None = _setting(None, "save and stop after this time", weights=False)
    license: str = _setting(
        "", "id of the LoRA's licence for its card (default: that of the base model)", option=str, weights=False
    )
    training_data: str = _setting("", "where the images come from, for the card", option=str, weights=False)

    def __post_init__(self) -> None:
        for row in fields(self):
            value, limit = getattr(self, row.name), row.metadata["limit"]
            if limit is not None and value is not None and not limit.allows(value):
                shown = repr(value) if isinstance(value, str) else f"{value:g}"
                raise RequestError(f"{row.name} is {shown}; use {limit.words}")

    @property
    def alpha(self) -> float:
        """lora_alpha as the LoRA has it."""
        return float(self.rank) if self.lora_alpha is None else float(self.lora_alpha)


ROWS = {row.name: row for row in fields(FullLoraSettings)}
EXTRA = tuple(name for name, row in ROWS.items() if row.metadata["option"])  # options of full-size models alone
OF_THE_WEIGHTS = tuple(name for name, row in ROWS.items() if row.metadata["weights"])
