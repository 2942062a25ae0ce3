"""One user's wish: prompt, seed and settings, checked on creation."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

import numpy as np

from cxr.request.errors import RequestError

MAX_PROMPT_CHARACTERS = 2_000
MAX_NUM_IMAGES = 64
MAX_NUM_INFERENCE_STEPS = 100
MAX_GUIDANCE_SCALE = 20.0
MAX_ADAPTER_WEIGHT = 2.0
BIT_DEPTHS = (8, 16)
MAX_SEED = 2**53 - 1  # the largest integer that JSON and JavaScript keep exactly


@dataclass(frozen=True)
class GenerationRequest:
    """One user's wish, checked on creation.

    Image k (counted from 0) is made from ``seed + k`` and from nothing else of the batch.

    Args:
        prompt: what the images should show; 1 to 2,000 characters.
        negative_prompt: what they should not show; may be empty.
        seed: 0 to 2**53 - 1, the seed of the first image.
        num_inference_steps: denoising steps, 1 to 100.
        num_images: images to make, 1 to 64.
        guidance_scale: 1 (no guidance) to 20.
        adapter_weight: strength of the LoRA, 0 (the base model alone) to 2.
        guidance_stop: share of the steps after which guidance ends, 0 to 1; the steps after it take half the time.
        bit_depth: of the grey levels, 8 or 16; 16 keeps what the decoder says between two of the 256 levels.

    Raises:
        RequestError: a value is outside its range or not of its kind.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    num_inference_steps: int = 8
    num_images: int = 1
    guidance_scale: float = 1.5
    adapter_weight: float = 1.0
    guidance_stop: float = 0.7
    bit_depth: int = 8

    def __post_init__(self) -> None:
        _check_text("prompt", self.prompt, required=True)
        _check_text("negative_prompt", self.negative_prompt, required=False)
        object.__setattr__(self, "num_images", _whole("num_images", self.num_images, 1, MAX_NUM_IMAGES))
        # The last image's seed has to stay exact too.
        object.__setattr__(self, "seed", _whole("seed", self.seed, 0, MAX_SEED - self.num_images + 1))
        steps = _whole("num_inference_steps", self.num_inference_steps, 1, MAX_NUM_INFERENCE_STEPS)
        object.__setattr__(self, "num_inference_steps", steps)
        guidance = _real("guidance_scale", self.guidance_scale, 1.0, MAX_GUIDANCE_SCALE)
        object.__setattr__(self, "guidance_scale", guidance)
        weight = _real("adapter_weight", self.adapter_weight, 0.0, MAX_ADAPTER_WEIGHT)
        object.__setattr__(self, "adapter_weight", weight)
        object.__setattr__(self, "guidance_stop", _real("guidance_stop", self.guidance_stop, 0.0, 1.0))
        if isinstance(self.bit_depth, bool) or self.bit_depth not in BIT_DEPTHS:
            raise RequestError(f"bit_depth is {self.bit_depth!r}; use {' or '.join(map(str, BIT_DEPTHS))}")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image, in order."""
        return tuple(range(self.seed, self.seed + self.num_images))

    def part(self, first: int, end: int) -> GenerationRequest:
        """The images from ``first`` up to, not including, ``end``: the same images, as each has its own seed."""
        return replace(self, seed=self.seed + first, num_images=end - first)


def _check_text(name: str, value: object, *, required: bool) -> None:
    if not isinstance(value, str):
        raise RequestError(f"{name} is {type(value).__name__}; give text")
    if required and not value.strip():
        raise RequestError(f"{name} is empty; describe the image, for example “A 55-year-old man with pneumonia”")
    if len(value) > MAX_PROMPT_CHARACTERS:
        raise RequestError(f"{name} has {len(value):,} characters; use at most {MAX_PROMPT_CHARACTERS:,}")
    for character in value:
        # Category C is control, format, surrogate and unassigned; line breaks and tabs are ordinary in pasted text.
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\t\n\r":
            raise RequestError(f"{name} holds the control character U+{ord(character):04X}; remove it")


def _whole(name: str, value: object, low: int, high: int) -> int:
    real = _real(name, value, low, high, kind="whole number")
    if not real.is_integer():
        raise RequestError(f"{name} is {value}; use a whole number from {low:,} to {high:,}")
    return int(value)  # type: ignore[call-overload]  # _real has shown that it is a number


def _real(name: str, value: object, low: float, high: float, kind: str = "number") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise RequestError(f"{name} is {value!r}; use a {kind} from {low:,} to {high:,}")
    # `not (low <= x)` also refuses NaN; comparing the value itself keeps integers above 2**53 exact, and comes before
    # float(), which fails for integers of hundreds of digits.
    if not low <= value <= high:
        shown = "too large" if isinstance(value, int) and abs(value) > 10**30 else value
        raise RequestError(f"{name} is {shown}; use a {kind} from {low:,} to {high:,}")
    return float(value)
