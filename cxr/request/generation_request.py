"""One user's wish: prompt, seed and settings, checked on creation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cxr.request.errors import RequestError
from cxr.request.init_image import InitImage
from cxr.request.setting import MAX_SEED
from cxr.request.settings import SETTINGS, SHARED, ImageSettings, describe_settings, unused_settings


@dataclass(frozen=True)
class GenerationRequest(ImageSettings):
    """One user's wish, checked on creation.

    Image k (counted from 0) is made from ``seed + k`` and from nothing else of the batch.

    Args:
        {settings}

    Raises:
        RequestError: a value is outside its range or not of its kind, the last image's seed is too large, or something
            is said of a picture to begin from where there is none.
    """

    num_images: int = SETTINGS["num_images"].default
    init_image: InitImage | None = SETTINGS["init_image"].default

    def __post_init__(self) -> None:
        super().__post_init__()
        SETTINGS["seed"].check(self.seed, high=MAX_SEED - self.num_images + 1)
        if self.init_image is None:
            self._check_without_picture()
        elif self.surrounding_prompt:
            raise RequestError(
                "and init_image both say what lies around the region; give one of them", field="surrounding_prompt"
            )
        elif self.num_steps_taken < 1:
            least = math.ceil(1_000 / self.num_inference_steps) / 1_000
            raise RequestError(
                f"is {self.strength:g}, which leaves none of {self.num_inference_steps} steps; use {least:g} or "
                "more, or more steps",
                field="strength",
            )

    @property
    def is_derived(self) -> bool:
        """Whether the images begin from a picture."""
        return self.init_image is not None

    @property
    def num_steps_taken(self) -> int:
        """Denoising steps of one image: of one that begins from a picture, only the last ones are taken."""
        # As diffusers' image-to-image pipelines count them.
        return int(self.num_inference_steps * self.strength) if self.is_derived else self.num_inference_steps

    @property
    def num_steps_in_all(self) -> int:
        """Steps of the denoising network that the images may take: a picture around a region takes as many again."""
        return self.num_images * self.num_inference_steps * (2 if self.surrounding_prompt else 1)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image, in order."""
        return tuple(range(self.seed, self.seed + self.num_images))

    @property
    def shared_settings(self) -> tuple[float, ...]:
        """What images of one micro-batch have in common; requests of other settings are made by another call."""
        parts = (self.is_derived, bool(self.mask_cells), bool(self.surrounding_prompt))
        return (*(getattr(self, name) for name in SHARED), self.strength, *parts)

    def part(self, first: int, end: int) -> GenerationRequest:
        """The images from ``first`` up to, not including, ``end``: the same images, as each has its own seed."""
        return replace(self, seed=self.seed + first, num_images=end - first)

    def _check_without_picture(self) -> None:
        for name in unused_settings(begins_from_picture=False, is_surrounded=bool(self.surrounding_prompt)):
            if getattr(self, name) != SETTINGS[name].default:
                raise RequestError(
                    "only applies where images begin from a picture; give init_image as well, or leave it out",
                    field=name,
                )


_LINES = ("\n" + " " * 8).join(describe_settings(SETTINGS))
GenerationRequest.__doc__ = (GenerationRequest.__doc__ or "").replace("{settings}", _LINES)
