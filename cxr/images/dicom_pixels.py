"""DICOM files from anywhere -> grey levels as a viewer shows them, and what their headers say about the patient.

Source: DICOM PS3.3, C.7.6.3.1.2 (Photometric Interpretation), C.11.1 (Modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr.images.guarded import open_regular, reason_of
from cxr.images.pixels import bits_of, from_window
from cxr.request.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

SUFFIXES = {".dcm", ".dic", ".dicom", ".ima"}
PREAMBLE_BYTES = 128
MAX_FILE_BYTES = 256_000_000
# pydicom raises what its formats happen to raise: here NotImplementedError and RecursionError, OverflowError, KeyError.
PYDICOM_ERRORS = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RuntimeError, TypeError),
    *(ValueError, struct.error),
)


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file by its name or, without a suffix, by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # many are called by their UIDs
        return False
    try:
        with open_regular(path) as file:
            return file.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] == b"DICM"
    except OSError:
        return False


@contextlib.contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Wraps everything that looks into a file's elements: pydicom reads each when it is first asked for.

    Args:
        path: for messages.
    Raises:
        DataError: for what pydicom and the system raise.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        yield
    except OSError as error:
        raise DataError(f"cannot be read as a DICOM image: {reason_of(error)}", path=path) from error
    except (BytesLengthException, InvalidDicomError, *PYDICOM_ERRORS) as error:
        raise DataError("cannot be read as a DICOM image: it is damaged or of another kind", path=path) from error


def open_dicom(path: Path, *, with_pixels: bool = True) -> FileDataset:
    """Read a DICOM file.

    Raises:
        DataError: it is none, is too large, or is deflated: a small one may hold gigabytes.
    """
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with refusing_damage(path), open_regular(path) as file:
        if file.seek(0, 2) > MAX_FILE_BYTES:
            raise DataError(f"is larger than {MAX_FILE_BYTES // 1_000_000} MB", path=path)
        file.seek(0)
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise DataError("is a deflated DICOM file; save it with another transfer syntax", path=path)
        return dcmread(file, stop_before_pixels=not with_pixels)


def read_dicom_grey(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """The picture as a viewer shows it: its first window applied, MONOCHROME1 inverted.

    Args:
        max_pixels: that it may have.
    Returns:
        [H, W] uint8, 0 = black.
    Raises:
        DataError: it is not one grey picture, or its compression needs a library that is not here.
    """
    with refusing_damage(path):
        dataset = open_dicom(path)
        values = _values(dataset, path, max_pixels)
        padding = _padding(dataset, values)
        values = np.where(padding, values[~padding].min(initial=values.max()), values)
        try:
            grey = _windowed(dataset, values)
        except PYDICOM_ERRORS as error:
            raise DataError(
                "cannot be read as a DICOM image: its window or table of values is damaged or unknown", path=path
            ) from error
        if grey.min() == grey.max() and values.min() != values.max():
            raise DataError(
                "cannot be read as a DICOM image: its window shows one grey level of all that it has", path=path
            )
        grey = 255 - grey if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else grey
        grey[padding] = 0
        return grey


def read_dicom_size(path: Path) -> tuple[int, int]:
    """Width and height as the header says.

    Raises:
        DataError: it cannot be read or says none.
    """
    with refusing_damage(path):
        return _size(open_dicom(path, with_pixels=False), path)


def _size(dataset: FileDataset, path: Path) -> tuple[int, int]:
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise DataError("holds no picture", path=path)
    return columns, rows


def _values(dataset: FileDataset, path: Path, max_pixels: int) -> NDArray[np.integer]:
    """Stored values [H, W], checked before anything is decoded."""
    columns, rows = _size(dataset, path)
    if rows * columns > max_pixels:
        raise DataError(f"is {columns:,} x {rows:,} pixels; use at most {max_pixels:,} in all", path=path)
    is_grey = str(dataset.get("PhotometricInterpretation") or "").startswith("MONOCHROME")
    if int(dataset.get("NumberOfFrames") or 1) > 1 or int(dataset.get("SamplesPerPixel") or 1) > 1 or not is_grey:
        raise DataError("is not one grey picture: it has several frames or colours", path=path)
    try:
        return np.asarray(dataset.pixel_array)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        kind = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "unknown")
        raise DataError(
            f"is compressed in a way that cannot be read here ({kind}); save it uncompressed", path=path
        ) from error
    except (OSError, *PYDICOM_ERRORS) as error:
        raise DataError("cannot be read as a DICOM image: its pixels are damaged", path=path) from error


def _padding(dataset: FileDataset, values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which pixels are no part of the picture (DICOM PS3.3, C.7.5.1.1.2): [H, W]."""
    first, last = (dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if first is None:
        return np.zeros(values.shape, bool)
    ends = sorted((int(first), int(first if last is None else last)))
    return (values >= ends[0]) & (values <= ends[1])


def _windowed(dataset: FileDataset, values: NDArray[np.integer]) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    shown = np.asarray(apply_modality_lut(values, dataset), np.float64)
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        looked_up = np.asarray(apply_voi_lut(shown.astype(np.int64), dataset, prefer_lut=True), np.float64)
        return from_window(looked_up, 2 ** (bits - 1), 2**bits)
    if dataset.get("VOILUTFunction", "LINEAR") == "SIGMOID":
        raise ValueError("a window that is not a straight line")
    if centre is not None and width is not None:
        first = [float(value if isinstance(value, (int, float)) else value[0]) for value in (centre, width)]
        if first[1] < 1:
            raise ValueError("a window of no width")
        return from_window(shown, *first)
    bits, low = int(dataset.BitsStored), -dataset.PixelRepresentation * 2 ** (int(dataset.BitsStored) - 1)
    if dataset.get("ModalityLUTSequence"):
        bits, low = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]), 0
    elif bits == 16 and values.dtype == np.uint16 and "SyntheticData" not in dataset:
        # What a scanner gave, where the header only says what it is kept in.
        bits = bits_of(values.astype(np.uint16, copy=False))
    ends = np.array([low, low + 2**bits - 1])
    if not dataset.get("ModalityLUTSequence"):
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        ends = np.sort(ends * float(1 if slope is None else slope) + float(intercept or 0))
    return from_window(shown, ends.mean() + 0.5, ends[1] - ends[0] + 1)
