"""The frozen records that flow through the program: request -> progress and images -> files.

Nothing here imports torch, gradio or pillow, so that every layer can speak in these words.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.errors import RequestError

MAX_PROMPT_CHARACTERS = 2_000
MAX_NUM_IMAGES = 64
MAX_NUM_INFERENCE_STEPS = 100
MAX_GUIDANCE_SCALE = 20.0
MAX_ADAPTER_WEIGHT = 2.0
BIT_DEPTHS = (8, 16)
MAX_SEED = 2**53 - 1  # the largest integer that JSON and JavaScript keep exactly

SYNTHETIC_NOTICE = "Synthetic images, made by a generative model. Not for diagnosis."
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

GreyLevels = NDArray[np.uint8] | NDArray[np.uint16]


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


@dataclass(frozen=True)
class Recipe:
    """Everything needed to make one image again, and to tell whether it is the same one.

    ``library_versions`` maps package name to version. ``weight_dtype`` is torch's name without the prefix ("float32").
    ``micro_batch_size`` and ``num_threads`` (of the CPU; 0 on other devices or where it is not known) are part of the
    recipe because the last bits of a result depend on them.
    """

    prompt: str
    negative_prompt: str
    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    adapter_weight: float
    width: int
    height: int
    weight_dtype: str
    device: str
    micro_batch_size: int
    library_versions: dict[str, str] = field(default_factory=dict)
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    guidance_stop: float = 1.0  # these have defaults: images made before they existed had no others
    bit_depth: int = 8
    num_threads: int = 0

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal recipes give equal text."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what ``to_json`` wrote.

        Raises:
            RequestError: the text is not a recipe.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise RequestError("the recipe text is not the JSON that this program writes into its images") from error

    @property
    def model_source(self) -> str:
        """What finds the model again: its name, or of a Hub model without a name of ours the commit that was used."""
        return self.model_revision if self.model_revision.startswith(f"hub:{self.model}@") else self.model

    @property
    def sha256(self) -> str:
        """Fingerprint of the recipe text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class StepProgress:
    """How far a request has come; sent after every denoising step.

    ``preview`` is a cheap picture of the current state, [h, w] uint8, smaller than the result, or None on steps that
    make none. ``remaining_s`` is None until one step has been timed.
    """

    image_index: int
    num_images: int
    step: int
    num_inference_steps: int
    elapsed_s: float
    remaining_s: float | None = None
    preview: NDArray[np.uint8] | None = None

    @property
    def fraction(self) -> float:
        """Share of the request's denoising steps that are done, 0 to 1."""
        done = self.image_index * self.num_inference_steps + self.step
        return done / (self.num_images * self.num_inference_steps)


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image: pixels [H, W], uint8 or, of bit depth 16, uint16, 0 = black, and its whole recipe."""

    index: int
    pixels: GreyLevels
    recipe: Recipe

    @property
    def seed(self) -> int:
        """The seed that makes this image."""
        return self.recipe.seed


@dataclass(frozen=True)
class FailedImage:
    """An image that the model could not make; reported, never shown as a result."""

    index: int
    seed: int
    reason: str


@dataclass(frozen=True)
class ModelInfo:
    """Which base model and which LoRA answer, for the page, the API and the recipes.

    ``model_revision`` is "hub:owner/name@commit" of the Hub or "sha256:<hex>" of a local model's weights.
    ``adapter`` is "none" and ``adapter_sha256`` is "" when no LoRA is loaded.
    """

    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    resolution: int
    scheduler: str
    weight_dtype: str
    device: str


@dataclass(frozen=True)
class AdapterInfo:
    """One LoRA file, described without loading it into a model.

    ``rank`` is the largest and ``min_rank`` the smallest of its layers. Without an alpha in the file ``has_alpha`` is
    False and ``lora_alpha`` is the rank. What the card says (base, licence, data) is plain text of somebody else's.
    """

    name: str
    path: Path
    sha256: str
    rank: int
    lora_alpha: float
    num_tensors: int
    size_bytes: int
    base_model: str = "unknown"
    license: str = "unknown"
    notes: tuple[str, ...] = ()
    training_data: str = "unknown"
    components: tuple[str, ...] = ()
    num_layers: int = 0
    min_rank: int = 0
    has_alpha: bool = True


@dataclass(frozen=True)
class PromptReport:
    """What the model makes of a prompt: words it never saw, what is cut off, denied findings that it may show."""

    num_tokens: int
    max_tokens: int
    unknown_words: tuple[str, ...] = ()
    cut_text: str = ""
    denied: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user; empty when there is nothing to say."""
        notes = []
        if self.unknown_words:
            listed = ", ".join(f"“{word}”" for word in self.unknown_words)
            notes.append(f"This model was not trained with: {listed}. It may ignore them.")
        if self.denied:
            names = ", ".join(self.denied)
            notes.append(f"This model reads no denials: it may show {names}. Leave out what should not be there.")
        if self.cut_text:
            limit = self.max_tokens
            notes.append(f"The prompt is longer than {limit} tokens; this part was left out: “{self.cut_text}”")
        return tuple(notes)


@dataclass(frozen=True)
class ExportedFile:
    """One written file: its path, SHA-256 and metadata row."""

    path: Path
    sha256: str
    metadata: dict[str, Any]


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
