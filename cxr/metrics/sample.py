"""Features of a set of images, with the patient of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.features import Features, check_features
from cxr.request.errors import DataError

NOBODY = ("", "nan", "none", "nat", "<na>")
Groups = Sequence[str] | NDArray[np.generic] | None  # the patient of each image; None: no two are of one patient


class Sample:
    """One set of images.

    Args:
        features: [N, D].
        groups: [N], the patient of each image; None where no two are of one patient.
    Raises:
        DataError: as `check_features`, or not every image has a patient.
    """

    def __init__(self, features: Features, groups: Groups = None) -> None:
        self.features = check_features(features)
        # As text, so that ids may be of several kinds; a list of texts and NaN is made text by NumPy, too.
        owners = np.arange(len(self.features)) if groups is None else np.atleast_1d(np.asarray(groups))
        owners = owners.astype(str) if owners.dtype == object else owners
        if owners.shape != (len(self.features),):
            raise DataError(f"{len(owners)} patients are named for {len(self.features)} images; name one for each")
        if owners.dtype.kind not in "iu" and any(str(one).strip().casefold() in NOBODY for one in owners):
            raise DataError("some patients are None, NaN or empty; name one for each image")
        self.codes: NDArray[np.intp] = np.unique(owners, return_inverse=True)[1]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.features)

    def take(self, rows: NDArray[np.intp]) -> Sample:
        """Some of the images."""
        return Sample(self.features[rows], self.codes[rows])

    def draw(self, count: int, seed: int = 0) -> Sample:
        """At most ``count`` images, at random, in their order."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False)))
