"""What networks make of sets of images, each computed once for all measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.copy_native import native_files
from cxr.evaluate.copy_set import CopySet
from cxr.evaluate.extractors.extractor import Extractor, FeatureCache, extract
from cxr.evaluate.extractors.registry import extractor_of
from cxr.evaluate.image_set import ImageSet
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, scores_of
from cxr.judges.networks import SIZE
from cxr.judges.readings import Reading, make_reading
from cxr.metrics.features import Features
from cxr.metrics.sample import Sample

Value = TypeVar("Value")
Sides = Mapping[str, tuple[ImageSet, tuple[str, ...]]]  # images by side, and what belongs together among them


class NetworkOutputs:
    """Pixels, features and scores of sets of images.

    Args:
        cache: folder of features; None computes everything again.
    """

    def __init__(self, cache: Path | None) -> None:
        self.cache = cache
        self._found: dict[tuple[object, ...], Any] = {}

    def pixels(self, images: ImageSet) -> NDArray[np.uint8]:
        """[N, SIZE, SIZE]."""
        return self._once(("pixels", images.hashes), lambda: read_squares(images.paths, SIZE))

    def features(self, images: ImageSet, extractor: Extractor) -> Features:
        """[N, D]."""
        cache = self._once(("cache", extractor.id), lambda: FeatureCache(self.cache, extractor.id))
        return self._once((images.hashes, extractor.id), lambda: extract(images.paths, images.hashes, extractor, cache))

    def sample(self, images: ImageSet, extractor: Extractor) -> Sample:
        """Features with the patient of each image."""
        return Sample(self.features(images, extractor), images.owners)

    def scores(self, judge: Judge, images: ImageSet) -> NDArray[np.float64]:
        """What a judge reads off images: [N, len(LABELS) + 1]."""
        return scores_of(judge.network, self.features(images, extractor_of(judge.name, judge)))

    def reading(self, judge: Judge, images: ImageSet, clusters: tuple[str, ...]) -> Reading:
        """What a judge reads off images beside what they should show."""
        return make_reading(self.scores(judge, images), images.targets, clusters)

    def readings(self, judge: Judge, sides: Sides) -> dict[str, Reading]:
        """`reading` of each side."""
        return {side: self.reading(judge, *images) for side, images in sides.items()}

    def copy_set(self, images: ImageSet, extractors: tuple[Extractor, ...]) -> CopySet:
        """Images as they are searched for copies."""
        features = {one.name: self.features(images, one) for one in extractors}
        native = self._once(("native", images.hashes), lambda: native_files(images.paths))
        return CopySet(self.pixels(images), features, images.names, images.hashes, native)

    def _once(self, key: tuple[object, ...], compute: Callable[[], Value]) -> Value:
        if key not in self._found:
            self._found[key] = compute()
        found: Value = self._found[key]
        return found
