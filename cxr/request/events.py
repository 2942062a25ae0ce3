"""What generation gives, one after the other: progress, images, failures, and the files that exporters make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.request.recipe import Recipe

GreyLevels = NDArray[np.uint8] | NDArray[np.uint16]


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
        return self.recipe.seed


@dataclass(frozen=True)
class FailedImage:
    """An image that the model could not make; reported, never shown as a result."""

    index: int
    seed: int
    reason: str


@dataclass(frozen=True)
class ExportedFile:
    """One written file: its path, SHA-256 and metadata row, and pictures that go along with it, by what they show."""

    path: Path
    sha256: str
    metadata: dict[str, Any]
    beside: Mapping[str, ExportedFile] = field(default_factory=dict)
