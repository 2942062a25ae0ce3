"""Read a safetensors file that may come from anywhere, within hard limits. No other format is opened.

``safetensors.safe_open`` does not serve here: it maps the file, so that one which is cut meanwhile ends the process,
sets no limits, and takes a header with a name twice. What was checked here is what safetensors reads for a model.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cxr.images import guarded
from cxr.request.errors import AdapterError
from cxr.request.strict_json import unique_names

SUFFIX = ".safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
MAX_FILE_BYTES = 512 * 2**20
CHUNK_BYTES = 4 * 2**20
MAX_HEADER_BYTES = 2 * 2**20
MAX_TENSORS = 20_000
MAX_MARKS = 8 * MAX_TENSORS  # a tensor needs 7 of "[", "{" and ":"; a million lists would take a second to build
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
INTEGER_BYTES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1}  # of an alpha alone


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: ``start`` and ``end`` count bytes from the beginning of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says about itself; the tensors fill the rest of the file without gaps, in file order."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    num_bytes: int


def damaged(path: Path, reason: str) -> AdapterError:
    """The refusal of one file, which is named without its folder."""
    return AdapterError(f"LoRA file {path.name!r} cannot be used: {reason}")


@contextmanager
def open_lora_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file of at most `MAX_FILE_BYTES`; anything but a regular file stays closed.

    Yields:
        The file, and its size in bytes.
    Raises:
        AdapterError: it is a device, a pipe or a folder, too large, or cannot be read.
    """
    label = f"LoRA file {path.name!r}"
    try:
        opened = guarded.open_regular(path)
    except ValueError as error:  # a NUL in the path
        raise AdapterError(f"{label} cannot be read: {error}") from error
    except OSError as error:
        problem = "is" if error.strerror == guarded.FOREIGN else "cannot be read:"
        raise AdapterError(f"{label} {problem} {guarded.reason_of(error)}") from error
    with opened as file:
        try:
            if (size := os.fstat(file.fileno()).st_size) > MAX_FILE_BYTES:
                raise AdapterError(f"{label} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed")
            yield file, size
        except OSError as error:
            raise AdapterError(f"{label} cannot be read: {guarded.reason_of(error)}") from error


def check_suffix(path: Path) -> None:
    """Refuse other formats by name.

    Raises:
        AdapterError: not .safetensors; for a pickle the message holds the command that converts it.
    """
    if path.suffix == SUFFIX:
        return
    reason = "is not .safetensors; other formats can run code when opened and are refused"
    if path.suffix in PICKLE_SUFFIXES:
        names = f"{shlex.quote(str(path))} --output {shlex.quote(str(path.with_suffix(SUFFIX)))}"
        reason += f". To convert it: python -m cxr adapter convert {names}"
    raise AdapterError(f"LoRA file {path.name!r} {reason}")


def read_tensor_header(path: Path, file: BinaryIO, size: int) -> Header:
    """Read 8 bytes of length and the JSON that they announce; check that the numbers follow without gaps.

    Args:
        path: for messages.
        file: open at its beginning.
        size: of the whole file in bytes.
    Raises:
        AdapterError: damaged, or beyond the limits.
    """
    start = file.read(8)
    header_bytes = int.from_bytes(start, "little")
    if len(start) < 8 or header_bytes > size - 8:
        raise damaged(path, "it is cut off or is not a safetensors file")
    if header_bytes > MAX_HEADER_BYTES:
        raise damaged(path, f"its header has {header_bytes:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed")
    text = file.read(header_bytes)
    if sum(map(text.count, (b"[", b"{", b":"))) > MAX_MARKS:
        raise damaged(path, "its header has more entries than a file of the allowed tensors")
    try:
        entries = json.loads(text, object_pairs_hook=unique_names)
        metadata = _check_metadata(entries.pop("__metadata__", {}))
        if len(entries) > MAX_TENSORS:
            raise damaged(path, f"it holds {len(entries):,} tensors; at most {MAX_TENSORS:,} are allowed")
        tensors = {name: _parse_tensor(entry, 8 + header_bytes) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, "its header is not that of a safetensors file with floating-point weights") from error
    return Header(_in_file_order(path, tensors, 8 + header_bytes, size), metadata, 8 + header_bytes)


def _check_metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata maps text to text")
    return metadata


def _parse_tensor(entry: dict[str, Any], data_start: int) -> TensorEntry:
    shape = tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if not all(type(number) is int and 0 <= number <= MAX_FILE_BYTES for number in (*shape, start, end)):
        raise ValueError("shape or offset is not a whole number of this file's size")
    if len(entry) != 3 or len(shape) > 8:
        raise ValueError("an entry has a dtype, a shape of few dimensions and offsets, nothing else")
    if end - start != math.prod(shape) * (DTYPE_BYTES | INTEGER_BYTES)[entry["dtype"]]:
        raise ValueError("length does not follow from the shape")
    return TensorEntry(entry["dtype"], shape, data_start + start, data_start + end)


def _in_file_order(path: Path, tensors: dict[str, TensorEntry], position: int, size: int) -> dict[str, TensorEntry]:
    if not tensors:
        raise damaged(path, "it holds no tensors")
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    for tensor in ordered.values():
        if tensor.start != position:
            raise damaged(path, "its tensors overlap or leave gaps")
        position = tensor.end
    if position != size:
        raise damaged(path, f"it has {size:,} bytes, but its header describes {position:,}; download it again")
    return ordered


def read_tensor_values(path: Path, file: BinaryIO, tensor: TensorEntry) -> Iterator[tuple[NDArray[np.floating], bytes]]:
    """The numbers of one tensor and their bytes, a few megabytes at a time.

    Args:
        path: for messages.
        file: at the tensor's start.
    Raises:
        AdapterError: the file has become shorter.
    """
    left = tensor.end - tensor.start
    while left:
        raw = file.read(min(left, CHUNK_BYTES))
        if not raw or len(raw) % (DTYPE_BYTES | INTEGER_BYTES)[tensor.dtype]:
            raise damaged(path, "it changed while it was being read; try again")
        left -= len(raw)
        yield _as_floats(raw, tensor.dtype), raw


def _as_floats(raw: bytes, dtype: str) -> NDArray[np.floating]:
    if dtype == "BF16":  # numpy has none: these are the upper halves of float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype in INTEGER_BYTES:
        return np.frombuffer(raw, f"<i{INTEGER_BYTES[dtype]}").astype(np.float64)
    values: NDArray[np.floating] = np.frombuffer(raw, f"<f{DTYPE_BYTES[dtype]}")
    if dtype == "F64":  # a network in float32 would turn what is beyond its range into infinity
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    return values
