"""A finished data set -> one DICOM object for each image, in the folders of its splits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.folders.dataset_reader import FinishedImage
from cxr.folders.dicom import BITS, SyntheticPatient, encode_dicom
from cxr.folders.unchanged import unchanged_content
from cxr.generate.planned_image import COUNTERFACTUAL
from cxr.images.atomic import write_whole
from cxr.images.pixels import to_bits
from cxr.request.errors import DataError, RequestError
from cxr.request.events import GreyLevels


def check_bits(images: Sequence[FinishedImage], bits: int | None) -> None:
    """Refuse Bits Stored that are unknown, or more than the images have; None stands for those of each image.

    Raises:
        RequestError: they are.
    """
    if bits is not None and bits not in BITS:
        raise RequestError(f"is {bits}; use {', '.join(map(str, BITS))}", field="bits")
    if bits is not None and bits > min(image.recipe.bit_depth for image in images):
        raise RequestError(
            f"DICOM of {bits} bits needs images of 16, and these have 8; make the data set with bit_depth: 16, "
            "or ask for 8 bits"
        )


def write_dicom(path: Path, image: FinishedImage, bits: int | None, origin: str = "") -> None:
    """Write one object; the same image gives the same bytes.

    Args:
        path: appears only once it is complete.
        image: of a finished data set.
        bits: Bits Stored; None for those of the image.
        origin: as in `SyntheticPatient`; empty for an image of no data set, whose own recipe then tells it apart.
    Raises:
        OutputError: the image has changed since it was written, or the disk refused the object.
        DataError: the image is not a PNG of the bit depth in its row.
    """
    bits = bits or image.recipe.bit_depth
    pixels = to_bits(read_pixels(image), bits)
    patient = SyntheticPatient(image.patient_id, image.labels, origin or image.recipe.sha256)
    if image.pair_role == COUNTERFACTUAL:  # another person: an archive holds one sex and one age for a patient ID
        patient = replace(patient, patient_id=f"{image.patient_id}C", counterfactual_of=image.patient_id)
    data = encode_dicom(pixels, image.recipe, patient, bits)
    write_whole(path, data)


def read_pixels(image: FinishedImage) -> GreyLevels:
    """Decode an image of a data set.

    Returns:
        [H, W] uint8 or, of bit depth 16, uint16, 0 = black.
    Raises:
        OutputError: the image has changed since it was written.
        DataError: it is not a PNG of the bit depth in its row.
    """
    content = unchanged_content(image.file)
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as png:
            mode, pixels = png.mode, np.asarray(png)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{image.path} cannot be read as a PNG: it is damaged or of another kind") from error
    if image.recipe.bit_depth == 16 and mode.startswith("I"):  # pillow says I;16, older ones I with the same values
        return pixels.astype(np.uint16)
    if image.recipe.bit_depth == 8 and mode == "L":
        return pixels.astype(np.uint8)
    raise DataError(f"{image.path} is not a grey PNG of {image.recipe.bit_depth} bits, as its row says")
