"""What a user may set when a LoRA for a full-size model is trained; no torch, so that help comes at once."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.request.errors import RequestError

MAX_RANK = 256  # what this program reads back
PRECISIONS = ("auto", "no", "fp16", "bf16")
VALIDATION_PROMPTS = (
    "Chest X-ray, PA view, 55-year-old man, no findings",
    "Chest X-ray, PA view, 60-year-old woman, pleural effusion",
    "Chest X-ray, AP view, 70-year-old man, pneumonia",
)
# When to stop, what to look at and what to write: no weight depends on these, so that a resumed run may change them.
NOT_OF_THE_WEIGHTS = frozenset(
    {
        *("checkpoint_every", "license", "max_minutes", "training_data"),
        *("validate_every", "validation_images", "validation_prompts"),
    }
)


@dataclass(frozen=True)
class FullLoraSettings:
    """How a LoRA is trained; checked on creation.

    Args:
        steps: optimizer steps in all.
        batch_size: images at a time in each process.
        gradient_accumulation_steps: batches whose gradients make one step.
        learning_rate: peak of the schedule.
        warmup_steps: linear rise at the start.
        decay_share: last share of the steps in which the rate falls along a half cosine.
        ema_decay: averaging of the LoRA's weights; 0 keeps no average.
        rank: width of the LoRA.
        lora_alpha: strength of the LoRA is lora_alpha / rank; None for the rank.
        resolution: side of the images in pixels; None for what the model was made for.
        min_snr_gamma: weights of the noise levels (Hang et al., ICCV 2023); 0 for equal ones, None for 5 where the
            model's noise schedule allows it.
        caption_dropout: share of the captions left empty, which classifier-free guidance needs.
        captions_per_image: wordings of the labels of one image; 1 is used where the data have captions.
        gradient_checkpointing: less memory for more time; None for yes on CUDA.
        mixed_precision: "no", "fp16", "bf16", or "auto" for what the device computes well.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between looks at held-out patients and validation images.
        validation_prompts: what the validation images ask for.
        validation_images: images of each prompt; 0 for none.
        seed: of weights, batches, captions and noise.
        max_minutes: save and stop after this time; None for no limit.
        license: id of the LoRA's licence; "" for that of the base model.
        training_data: where the images come from, for the card.
    """

    steps: int = 2_000
    batch_size: int = 1
    gradient_accumulation_steps: int = 4
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    decay_share: float = 0.2
    ema_decay: float = 0.0
    rank: int = 16
    lora_alpha: float | None = None
    resolution: int | None = None
    min_snr_gamma: float | None = None
    caption_dropout: float = 0.1
    captions_per_image: int = 4
    gradient_checkpointing: bool | None = None
    mixed_precision: str = "auto"
    checkpoint_every: int = 250
    validate_every: int = 500
    validation_prompts: tuple[str, ...] = VALIDATION_PROMPTS
    validation_images: int = 2
    seed: int = 0
    max_minutes: float | None = None
    license: str = ""
    training_data: str = ""

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch_size", "gradient_accumulation_steps", "learning_rate", "captions_per_image")
        for name in (*above_zero, "checkpoint_every", "validate_every"):
            if not getattr(self, name) > 0:
                raise RequestError(f"{name} is {getattr(self, name)}; use a number above 0")
        for name in ("warmup_steps", "validation_images", "seed"):
            if getattr(self, name) < 0:
                raise RequestError(f"{name} is {getattr(self, name)}; use 0 or more")
        for name in ("decay_share", "ema_decay", "caption_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise RequestError(f"{name} is {getattr(self, name)}; use 0 to 1")
        if not 1 <= self.rank <= MAX_RANK:
            raise RequestError(f"rank is {self.rank}; use 1 to {MAX_RANK}")
        if self.lora_alpha is not None and not 0 < self.lora_alpha <= 10_000:
            raise RequestError(f"lora_alpha is {self.lora_alpha:g}; use a number above 0, at most 10000")
        if self.min_snr_gamma is not None and not self.min_snr_gamma >= 0:
            raise RequestError(f"min_snr_gamma is {self.min_snr_gamma:g}; use 0 (equal weights) or more")
        if self.mixed_precision not in PRECISIONS:
            raise RequestError(f"mixed_precision is {self.mixed_precision!r}; use {', '.join(PRECISIONS)}")

    @property
    def alpha(self) -> float:
        """lora_alpha as the LoRA has it."""
        return float(self.rank) if self.lora_alpha is None else float(self.lora_alpha)
