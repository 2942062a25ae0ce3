"""PyTorch checkpoint -> safetensors, by PyTorch's own loader of plain tensors; only in a limited child process.

``torch.load(weights_only=True)`` knows a short list of harmless names and calls nothing else. That the ZIP is whole is
checked here, as PyTorch does not. The server and all other code read no pickle at all.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import save

from cxr.lora.safetensors_header import MAX_FILE_BYTES, MAX_TENSORS, open_lora_file
from cxr.lora.strength import CONVERTED_KEY, read_text_beside
from cxr.request.errors import AdapterError

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MAX_DIMENSIONS = 8
# What PyTorch's long messages say about the one thing that they refuse.
REFUSED_NAME = re.compile(r"[Uu]nsupported (?:global: )?(?:GLOBAL|class) ([\w.]+)")
REFUSED_INSTRUCTION = re.compile(r"Unsupported operand (\d+)")


def main(arguments: Sequence[str]) -> bytes:
    """The safetensors file that holds the tensors of the checkpoint at ``arguments[0]``.

    Raises:
        AdapterError: it holds anything but tensors, or is damaged; the message lacks the file's name.
    """
    with open_lora_file(Path(arguments[0])) as (file, size), warnings.catch_warnings(action="ignore"):
        try:
            if zipfile.is_zipfile(file):
                _check_archive(file, size)
            file.seek(0)
            found = torch.load(file, map_location="cpu", weights_only=True)
        except (AdapterError, MemoryError):
            raise
        except Exception as error:  # a damaged or hostile file can break a reader anywhere
            raise AdapterError(_reason(error)) from error
    if isinstance(found, dict) and type(found.get("state_dict")) in {dict, OrderedDict}:
        found = found["state_dict"]  # some programs put the tensors into a dictionary of one entry
    _check(found)
    tensors = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    settings = read_text_beside(Path(arguments[0]))  # without them a file elsewhere would be applied in another way
    return save(tensors, {CONVERTED_KEY: settings} if settings else None)


def _check_archive(file: BinaryIO, size: int) -> None:
    """PyTorch stores entries as they are, so that nothing can grow when it is read, and does not compare checksums."""
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if len(entries) > MAX_TENSORS or len(set(archive.namelist())) != len(entries):
        raise AdapterError("has too many files in its ZIP, or two of one name")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
        raise AdapterError("has compressed or encrypted files in its ZIP, which PyTorch does not write")
    if sum(entry.file_size for entry in entries) > size:
        raise AdapterError("has overlapping files in its ZIP")
    if archive.testzip() is not None:
        raise AdapterError("is damaged: numbers of its tensors differ from their checksum")


def _check(found: object) -> None:
    if not isinstance(found, dict) or not found:
        raise AdapterError("holds no dictionary of tensors")
    if len(found) > MAX_TENSORS:
        raise AdapterError(f"holds {len(found):,} tensors; at most {MAX_TENSORS:,} are allowed")
    num_bytes = 0
    for name, tensor in found.items():
        if not isinstance(name, str) or type(tensor) not in {torch.Tensor, torch.nn.Parameter}:
            raise AdapterError(f"holds something besides floating-point tensors: {str(name)[:80]!r}")
        if tensor.dtype not in DTYPES or tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise AdapterError(f"holds something besides floating-point tensors: {name[:80]!r}")
        if tensor.ndim > MAX_DIMENSIONS:
            raise AdapterError(f"holds tensor {name[:80]!r} of {tensor.ndim} dimensions; at most {MAX_DIMENSIONS}")
        num_bytes += tensor.numel() * tensor.element_size()  # a view of few numbers can stand for many
    if num_bytes > MAX_FILE_BYTES:
        raise AdapterError(f"holds more than {MAX_FILE_BYTES:,} bytes of numbers")


def _reason(error: Exception) -> str:
    if refused := REFUSED_NAME.search(str(error)):
        return f"uses {refused[1][:80]!r}, which saved tensors do not need"
    if refused := REFUSED_INSTRUCTION.search(str(error)):
        return f"uses the pickle instruction {refused[1]}, which saved tensors do not need"
    return f"is damaged or no checkpoint of PyTorch ({type(error).__name__})"
