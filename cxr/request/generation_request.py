"""One user's wish: prompt, seed and settings, checked on creation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxr.request.settings import MAX_SEED, SETTINGS, ImageSettings, describe_settings


@dataclass(frozen=True)
class GenerationRequest(ImageSettings):
    """One user's wish, checked on creation.

    Image k (counted from 0) is made from ``seed + k`` and from nothing else of the batch.

    Args:
        {settings}

    Raises:
        RequestError: a value is outside its range or not of its kind, or the last image's seed is too large.
    """

    num_images: int = SETTINGS["num_images"].default

    def __post_init__(self) -> None:
        super().__post_init__()
        SETTINGS["seed"].check(self.seed, high=MAX_SEED - self.num_images + 1)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image, in order."""
        return tuple(range(self.seed, self.seed + self.num_images))

    def part(self, first: int, end: int) -> GenerationRequest:
        """The images from ``first`` up to, not including, ``end``: the same images, as each has its own seed."""
        return replace(self, seed=self.seed + first, num_images=end - first)


_LINES = ("\n" + " " * 8).join(describe_settings(SETTINGS))
GenerationRequest.__doc__ = (GenerationRequest.__doc__ or "").replace("{settings}", _LINES)
