"""Does the model copy its training patients? Nearest neighbours in pixel space, calibrated on real images.

Radiographs are all alike, so a distance means nothing by itself: it is compared with how near real images of other,
held-out patients come to the training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cxr.data import Radiograph, read_grey
from cxr.errors import DataError
from cxr.evaluate.judge import judged_pixels, reduced
from cxr.export import finished_images
from cxr.export.sheet import SheetRow, contact_sheet

DESCRIPTOR_SIZE = 48


@dataclass(frozen=True)
class CopyCheck:
    """Nearest-neighbour distances of generated images to the training set.

    Args:
        num_generated: images checked.
        num_training: images they were compared with.
        num_held_out: real images of other patients that set the scale.
        median_distance: of generated images to their nearest training image.
        real_median_distance: the same for the held-out real images.
        threshold: the smallest distance among the held-out real images (or their 0.1 % quantile, if there are many).
        flagged_share: generated images nearer than the threshold.
        ratio_share: generated images whose nearest distance is under a third of their second nearest
            (arXiv 2310.02664); this finds copies without a threshold.
        smallest_distance: of all generated images.
    """

    num_generated: int
    num_training: int
    num_held_out: int
    median_distance: float
    real_median_distance: float
    threshold: float
    flagged_share: float
    ratio_share: float
    smallest_distance: float


def describe(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Small, brightness-free versions of images.

    Args:
        pixels: [N, H, W] uint8.
    Returns:
        [N, 2304] float32; each row has mean 0 and length 1, so that squared distances are 2 - 2 * correlation.
    """
    rows = []
    for start in range(0, len(pixels), 256):
        images = torch.from_numpy(pixels[start : start + 256]).float()[:, None]
        small = functional.interpolate(images, size=DESCRIPTOR_SIZE, mode="area").flatten(1)
        small = small - small.mean(dim=1, keepdim=True)
        rows.append(functional.normalize(small, dim=1).numpy())
    return np.concatenate(rows)


def nearest(
    queries: NDArray[np.float32], references: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The two nearest references of each query.

    Args:
        queries: [N, D] rows of `describe`.
        references: [M, D] rows of `describe`, M at least 2.
    Returns:
        Distances [N, 2], nearest first, and indices into ``references`` [N, 2].
    """
    squared = np.clip(2 - 2 * queries @ references.T, 0, None)
    indices = np.argsort(squared, axis=1)[:, :2]
    return np.sqrt(np.take_along_axis(squared, indices, axis=1)), indices


def check_copies(
    generated: NDArray[np.uint8], training: NDArray[np.uint8], held_out: NDArray[np.uint8]
) -> tuple[CopyCheck, NDArray[np.float32], NDArray[np.intp]]:
    """Compare generated images with the images that the model was trained on.

    Args:
        generated: [N, H, W] uint8.
        training: [M, h, w] uint8, all training images.
        held_out: [K, h, w] uint8, real images of patients that were not trained on.
    Returns:
        The figures; for each generated image the distance to its nearest training image [N]; that image's index [N].
    """
    references = describe(training)
    distances, indices = nearest(describe(generated), references)
    real_distances, _ = nearest(describe(held_out), references)
    threshold = float(np.quantile(real_distances[:, 0], 0.001))
    figures = CopyCheck(
        num_generated=len(generated),
        num_training=len(training),
        num_held_out=len(held_out),
        median_distance=float(np.median(distances[:, 0])),
        real_median_distance=float(np.median(real_distances[:, 0])),
        threshold=threshold,
        flagged_share=float((distances[:, 0] < threshold).mean()),
        ratio_share=float((distances[:, 0] < distances[:, 1] / 3).mean()),
        smallest_distance=float(distances[:, 0].min()),
    )
    return figures, distances[:, 0], indices[:, 0]


def measure_copies(
    generated: Path, training: list[Radiograph], held_out: list[Radiograph]
) -> tuple[CopyCheck, list[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]]]:
    """`check_copies` for a folder that ``python -m cxr generate`` wrote.

    Returns:
        The figures, and (distance, generated, its nearest training image) of all pairs, closest first.
    Raises:
        DataError: the folder holds no images, or an image cannot be read.
    """
    images = [read_grey(file.path) for file in finished_images(generated)]
    if len(training) < 2 or not held_out:
        raise DataError("the data need two training images and one held out; change --validation-share")
    references = judged_pixels(training)
    figures, distances, indices = check_copies(np.stack(images), references, judged_pixels(held_out))
    order = np.argsort(distances)
    return figures, [(float(distances[k]), images[k], references[indices[k]]) for k in order]


def closest_pairs_sheet(pairs: list[tuple[float, NDArray[np.uint8], NDArray[np.uint8]]], path: Path) -> Path:
    """Draw the 20 closest pairs, each generated image left of its nearest training image."""
    rows = []
    for start in range(0, min(20, len(pairs)), 4):
        some = pairs[start : start + 4]
        label = "generated | nearest training image; distances " + ", ".join(f"{pair[0]:.3f}" for pair in some)
        rows.append(SheetRow(label, tuple(reduced(image) for pair in some for image in pair[1:])))
    return contact_sheet(rows, path, notice="Left of each pair: synthetic. Right: real (NIH ChestX-ray14).")
