"""The table of settings for a LoRA of a full-size model, with their limits; no torch, so that help comes at once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from cxr.lora.tensor_names import MAX_RANK
from cxr.train.loop_settings import ABOVE_ZERO, SHARE, ZERO_OR_MORE, Limit, LoopSettings, setting

LOOP_ROWS = {row.name: row for row in fields(LoopSettings)}
PRECISIONS = ("auto", "no", "fp16", "bf16")
VALIDATION_PROMPTS = (
    "Chest X-ray, PA view, 55-year-old man, no findings",
    "Chest X-ray, PA view, 60-year-old woman, pleural effusion",
    "Chest X-ray, AP view, 70-year-old man, pneumonia",
)


RANKS = Limit(lambda value: 1 <= value <= MAX_RANK, f"1 to {MAX_RANK}")
ALPHAS = Limit(lambda value: 0 < value <= 10_000, "a number above 0, at most 10000")
GAMMAS = Limit(lambda value: value >= 0, "0 (equal weights) or more")
FORMATS = Limit(lambda value: value in PRECISIONS, ", ".join(PRECISIONS))


def _other(name: str, default: object, option: type | None = None) -> Any:
    """The row of `LoopSettings` with another default, and maybe an option that only full-size models have."""
    return field(default=default, metadata={**LOOP_ROWS[name].metadata, "option": option})


@dataclass(frozen=True)
class FullLoraSettings(LoopSettings):
    """How a LoRA is trained; checked on creation. What each setting means stands beside it."""

    steps: int = _other("steps", 2_000)
    batch_size: int = _other("batch_size", 1)
    gradient_accumulation_steps: int = _other("gradient_accumulation_steps", 4, int)
    learning_rate: float = _other("learning_rate", 1e-4)
    warmup_steps: int = _other("warmup_steps", 100, int)
    ema_decay: float = _other("ema_decay", 0.0)
    betas: tuple[float, float] = _other("betas", (0.9, 0.999))
    log_every: int = _other("log_every", 10)
    checkpoint_every: int | None = _other("checkpoint_every", 250, int)
    validate_every: int = _other("validate_every", 500)
    rank: int = setting(16, "width of the LoRA", RANKS, option=int)
    lora_alpha: float | None = setting(
        None, "strength of the LoRA, times 1 / rank (default: the rank)", ALPHAS, option=float
    )
    resolution: int | None = setting(
        None, "side of the images in pixels (default: what the model was made for)", option=int
    )
    # Hang et al., ICCV 2023.
    min_snr_gamma: float | None = setting(
        None, "weights of the noise levels, 0 for none (default: 5 where the schedule allows it)", GAMMAS, option=float
    )
    # Classifier-free guidance needs empty captions.
    caption_dropout: float = setting(0.1, "share of empty captions", SHARE, option=float)
    captions_per_image: int = setting(4, "wordings of an image's labels", ABOVE_ZERO, option=int)
    gradient_checkpointing: bool | None = setting(None, "less memory for more time (default: on a GPU)", option=bool)
    mixed_precision: str = setting(
        "auto", f"{FORMATS.words}; the frozen weights take it too on a GPU", FORMATS, option=str
    )
    validation_prompts: tuple[str, ...] = setting(
        VALIDATION_PROMPTS, "what validation images ask for; may be repeated", option=tuple, weights=False
    )
    validation_images: int = setting(
        2, "images of each validation prompt, 0 for none", ZERO_OR_MORE, option=int, weights=False
    )
    license: str = setting(
        "", "id of the LoRA's licence for its card (default: that of the base model)", option=str, weights=False
    )
    training_data: str = setting("", "where the images come from, for the card", option=str, weights=False)

    @property
    def alpha(self) -> float:
        """lora_alpha as the LoRA has it."""
        return float(self.rank) if self.lora_alpha is None else float(self.lora_alpha)


ROWS = {row.name: row for row in fields(FullLoraSettings)}
EXTRA = tuple(name for name, row in ROWS.items() if row.metadata["option"])  # options of full-size models alone
OF_THE_WEIGHTS = tuple(name for name, row in ROWS.items() if row.metadata["weights"])
