"""PyTorch checkpoint -> safetensors, in a limited process of its own, without running anything of it.

A checkpoint is a ZIP with a pickle and one file per storage of numbers; before PyTorch 1.6 the same followed one
another in one stream.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr.lora.pickle_program import SavedTensor, Storage, follow
from cxr.lora.safetensors_header import DTYPE_BYTES, MAX_FILE_BYTES, MAX_TENSORS, open_regular
from cxr.request.errors import AdapterError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_DIMENSIONS = 8
MAX_PROGRAM_BYTES = 32 * 2**20

ReadStorage = Callable[[Storage], bytes]


def main(arguments: Sequence[str]) -> bytes:
    """The safetensors file that holds the tensors of the checkpoint at ``arguments[0]``.

    Raises:
        AdapterError: it holds anything but tensors, or is damaged; the message lacks the file's name.
    """
    with open_regular(Path(arguments[0])) as (file, _):
        content = file.read()
    if content.startswith(b"PK"):
        tensors, read_storage = _read_zip(content)
    else:
        tensors, read_storage = _read_legacy(content)
    return _safetensors(tensors, read_storage)


def _read_zip(content: bytes) -> tuple[dict[str, SavedTensor], ReadStorage]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = _check_entries(archive, len(content))
        prefix, order = _prefix(entries), "byteorder"
        if prefix + order in entries and archive.read(entries[prefix + order]) != b"little":
            raise AdapterError("was written on a machine of another byte order")
        program = archive.read(entries[f"{prefix}data.pkl"])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error, EOFError) as error:
        raise AdapterError("is damaged: its ZIP cannot be read") from error

    def read_storage(storage: Storage) -> bytes:
        try:
            return archive.read(entries[f"{prefix}data/{storage.key}"])
        except (KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
            raise AdapterError("is damaged: it lacks numbers of its tensors") from error

    return _tensors(_follow_all(io.BytesIO(program))), read_storage


def _check_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name; torch stores them as they are, so that nothing can grow when it is read."""
    infos = archive.infolist()
    entries = {info.filename: info for info in infos}
    if len(infos) > MAX_TENSORS or len(entries) != len(infos):
        raise AdapterError("has too many files in its ZIP, or two of one name")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise AdapterError("has compressed or encrypted files in its ZIP, which PyTorch does not write")
    if sum(info.file_size for info in infos) > size:
        raise AdapterError("has overlapping files in its ZIP")
    return entries


def _prefix(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    programs = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise AdapterError("is a ZIP, but not one of PyTorch's with one data.pkl")
    if entries[programs[0]].file_size > MAX_PROGRAM_BYTES:
        raise AdapterError(f"describes its tensors in more than {MAX_PROGRAM_BYTES:,} bytes")
    return programs[0].removesuffix("data.pkl")


def _read_legacy(content: bytes) -> tuple[dict[str, SavedTensor], ReadStorage]:
    """Magic number, protocol, facts of the machine, the object, the storages' keys; then each storage's numbers."""
    stream = io.BytesIO(content)
    if follow(stream) != LEGACY_MAGIC or follow(stream) != LEGACY_PROTOCOL:
        raise AdapterError("is not a checkpoint of PyTorch")
    machine = follow(stream)
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise AdapterError("was written on a machine of another byte order")
    tensors = _tensors(follow(stream))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    keys, blocks = follow(stream), {}
    if type(keys) is not list or len(keys) > MAX_TENSORS:
        raise AdapterError("is damaged: it does not list its storages")
    for key in keys:
        storage = storages.get(key) if type(key) is str else None
        if storage is None:
            raise AdapterError("is damaged: it lists a storage of no tensor")
        count = int.from_bytes(stream.read(8), "little")
        if count != storage.num_elements:
            raise AdapterError("is damaged: a storage has another length than it says")
        blocks[key] = stream.read(count * DTYPE_BYTES[storage.dtype])

    def read_storage(storage: Storage) -> bytes:
        return blocks.get(storage.key, b"")

    return tensors, read_storage


def _follow_all(stream: io.BytesIO) -> Any:
    found = follow(stream)
    if stream.read(1):
        raise AdapterError("is damaged: something follows the description of its tensors")
    return found


def _tensors(found: Any) -> dict[str, SavedTensor]:
    """The tensors by name, which some programs put into a dictionary of one entry."""
    if type(found) is dict and type(found.get("state_dict")) is dict:
        found = found["state_dict"]
    if type(found) is not dict or not found:
        raise AdapterError("holds no dictionary of tensors")
    for name, tensor in found.items():
        if not isinstance(tensor, SavedTensor):
            raise AdapterError(f"holds something besides floating-point tensors: {name[:80]!r}")
    if len(found) > MAX_TENSORS:
        raise AdapterError(f"holds {len(found):,} tensors; at most {MAX_TENSORS:,} are allowed")
    return found


def _safetensors(tensors: Mapping[str, SavedTensor], read_storage: ReadStorage) -> bytes:
    header, position = {}, 0
    for name, tensor in tensors.items():
        _check_view(name, tensor)
        end = position + math.prod(tensor.shape) * DTYPE_BYTES[tensor.storage.dtype]
        header[name] = {"dtype": tensor.storage.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
        if position > MAX_FILE_BYTES:
            raise AdapterError(f"holds more than {MAX_FILE_BYTES:,} bytes of numbers")
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    parts, blocks = [len(text).to_bytes(8, "little"), text], {}
    for tensor in tensors.values():
        storage = tensor.storage
        if storage.key not in blocks:
            blocks[storage.key] = read_storage(storage)
        parts.append(_numbers(tensor, blocks[storage.key]))
    return b"".join(parts)


def _check_view(name: str, tensor: SavedTensor) -> None:
    """Raise unless the view stays inside its storage."""
    last = tensor.offset + sum(
        (length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    inside = last < tensor.storage.num_elements or 0 in tensor.shape
    if not inside or len(tensor.shape) > MAX_DIMENSIONS or max(tensor.shape, default=0) > MAX_FILE_BYTES:
        raise AdapterError(f"is damaged: tensor {name[:80]!r} reaches beyond its numbers")


def _numbers(tensor: SavedTensor, raw: bytes) -> bytes:
    """The tensor's elements in order, as little-endian bytes."""
    size = DTYPE_BYTES[tensor.storage.dtype]
    if len(raw) != tensor.storage.num_elements * size:
        raise AdapterError("is damaged: a storage has another length than it says")
    if 0 in tensor.shape:
        return b""
    elements = np.frombuffer(raw, f"V{size}")[tensor.offset :]
    strides = [stride * size for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements, tensor.shape, strides, writeable=False).tobytes()
