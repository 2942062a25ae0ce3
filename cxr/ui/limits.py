"""What one visitor may ask of this server; set when it is started."""

from __future__ import annotations

import os
from dataclasses import dataclass

MAX_QUEUE = 32
MAX_DATASET_IMAGES = 1_000
SPACE_DATASET_IMAGES = 100  # on a machine that is shared with everyone


@dataclass(frozen=True)
class Limits:
    """What the server allows.

    Args:
        dataset_images: of one data set; 0 leaves data sets out of the page.
        queue: requests that may wait; more are told that the model is busy.
    """

    dataset_images: int = MAX_DATASET_IMAGES
    queue: int = MAX_QUEUE


def default_dataset_images() -> int:
    """The images of one data set where nothing else is said."""
    if os.environ.get("SPACES_ZERO_GPU"):
        return 0  # there a GPU is lent for seconds, and to another process
    return SPACE_DATASET_IMAGES if os.environ.get("SPACE_ID") else MAX_DATASET_IMAGES
