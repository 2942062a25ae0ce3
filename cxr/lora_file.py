"""Read a LoRA file that may come from anywhere: checked completely, before anything of it reaches a model.

The safetensors header is parsed here, within hard limits, and no other format is opened at all. Only numbers are taken
from the metadata, because peft's settings can name modules to import.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr.errors import AdapterError

MAX_FILE_BYTES = 512 * 2**20
MAX_HEADER_BYTES = 2 * 2**20
MAX_TENSORS = 20_000
MAX_RANK = 256
MAX_ALPHA = 10_000
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
COMPONENTS = ("unet", "text_encoder")

# Settings of peft that change what the two matrices mean; this program applies plain LoRA only.
UNSUPPORTED_SETTINGS = ("use_dora", "use_rslora", "alpha_pattern", "lora_bias", "modules_to_save", "layer_replication")
# Older diffusers names of the two matrices.
OLD_NAMES = {".lora_linear_layer.down.": ".lora_A.", ".lora_linear_layer.up.": ".lora_B."}
OLD_NAMES |= {".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}
TENSOR_NAME = re.compile(r"(unet|text_encoder)\.([\w.]+)\.(lora_[AB])\.weight", re.ASCII)


@dataclass(frozen=True)
class LoraLayer:
    """One adapted layer: lora_A is [rank, in, ...], lora_B is [out, rank, ...]."""

    component: str
    module: str
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Width of the bottleneck between the two matrices."""
        return self.shape_a[0]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file that passed every check.

    ``alphas`` maps component to lora_alpha; a component without an entry uses each layer's rank.
    """

    layers: tuple[LoraLayer, ...]
    alphas: dict[str, float]
    num_tensors: int
    content: bytes

    @property
    def components_without_alpha(self) -> tuple[str, ...]:
        """Components whose strength the file does not say."""
        present = {layer.component for layer in self.layers}
        return tuple(name for name in COMPONENTS if name in present and name not in self.alphas)


def read_lora_file(path: Path) -> LoraFile:
    """Read and check one file.

    Args:
        path: a .safetensors file in diffusers' or peft's naming.
    Raises:
        AdapterError: it is unreadable, damaged, too large, not a plain LoRA, or holds NaN.
    """
    content = _read_regular_file(path)
    tensors, metadata = _parse_header(path, content)
    layers = _pair_layers(path, tensors)
    _check_finite(path, content, tensors)
    alphas = _read_alphas(path, metadata, {layer.component for layer in layers})
    return LoraFile(layers, alphas, len(tensors), content)


def peft_key(name: str) -> str:
    """Today's name of a LoRA tensor whose file may use an older diffusers name."""
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _read_regular_file(path: Path) -> bytes:
    label = f"LoRA file {path.name!r}"
    if path.suffix != ".safetensors":
        raise AdapterError(f"{label} is not .safetensors; other formats can run code when opened and are refused")
    try:
        # stat follows links: opening a device or a pipe could hang or act.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AdapterError(f"{label} is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise AdapterError(f"{label} has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed")
        return path.read_bytes()
    except OSError as error:
        raise AdapterError(f"{label} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the beginning of the file
    end: int


def _parse_header(path: Path, content: bytes) -> tuple[dict[str, _Tensor], dict[str, str]]:
    """Read a safetensors header: 8 bytes of length, JSON, then the numbers without gaps."""
    header_bytes = int.from_bytes(content[:8], "little")
    if len(content) < 8 or header_bytes > len(content) - 8:
        raise _damaged(path, "it is cut off or is not a safetensors file")
    if header_bytes > MAX_HEADER_BYTES:
        raise _damaged(path, f"its header has {header_bytes:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed")
    try:
        header = json.loads(content[8 : 8 + header_bytes])
        metadata = header.pop("__metadata__", {})
        if len(header) > MAX_TENSORS:
            raise _damaged(path, f"it holds {len(header):,} tensors; at most {MAX_TENSORS:,} are allowed")
        tensors = {peft_key(name): _parse_tensor(entry, 8 + header_bytes) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, "its header is not that of a safetensors file with floating-point weights") from error
    _check_layout(path, list(tensors.values()), 8 + header_bytes, len(content))
    return tensors, metadata if isinstance(metadata, dict) else {}


def _parse_tensor(entry: dict[str, Any], data_start: int) -> _Tensor:
    shape = tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError("shape or offset is not a whole number")
    if end - start != DTYPE_BYTES[entry["dtype"]] * int(np.prod(shape, dtype=object)):
        raise ValueError("length does not follow from the shape")
    return _Tensor(entry["dtype"], shape, data_start + start, data_start + end)


def _check_layout(path: Path, tensors: list[_Tensor], position: int, size: int) -> None:
    if not tensors:
        raise _damaged(path, "it holds no tensors")
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != position:
            raise _damaged(path, "its tensors overlap or leave gaps")
        position = tensor.end
    if position != size:
        raise _damaged(path, f"it has {size:,} bytes, but its header describes {position:,}; download it again")


def _pair_layers(path: Path, tensors: dict[str, _Tensor]) -> tuple[LoraLayer, ...]:
    shapes: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        match = TENSOR_NAME.fullmatch(name)
        if match is None:
            raise _damaged(path, f"tensor {name[:80]!r} is not a LoRA matrix in diffusers' naming")
        shapes.setdefault((match[1], match[2]), {})[match[3]] = tensor.shape
    layers = []
    for (component, module), pair in shapes.items():
        if len(pair) != 2:
            raise _damaged(path, f"layer {module!r} has only one of its two matrices")
        layer = LoraLayer(component, module, pair["lora_A"], pair["lora_B"])
        if len(layer.shape_a) not in (2, 4) or len(layer.shape_b) != len(layer.shape_a):
            raise _damaged(path, f"layer {module!r} has matrices of shape {layer.shape_a} and {layer.shape_b}")
        if layer.rank != layer.shape_b[1] or not 1 <= layer.rank <= MAX_RANK or 0 in layer.shape_a + layer.shape_b:
            raise _damaged(path, f"layer {module!r} has no rank from 1 to {MAX_RANK}")
        layers.append(layer)
    return tuple(layers)


def _check_finite(path: Path, content: bytes, tensors: dict[str, _Tensor]) -> None:
    for name, tensor in tensors.items():
        raw = content[tensor.start : tensor.end]
        if tensor.dtype == "BF16":  # numpy has no bfloat16: an exponent of all ones means infinite or NaN
            finite = bool(np.all(np.frombuffer(raw, "<u2") & 0x7F80 != 0x7F80))
        else:
            finite = bool(np.isfinite(np.frombuffer(raw, f"<f{DTYPE_BYTES[tensor.dtype]}")).all())
        if not finite:
            raise _damaged(path, f"tensor {name[:80]!r} holds NaN or infinite values")


def _read_alphas(path: Path, metadata: dict[str, str], components: set[str]) -> dict[str, float]:
    """lora_alpha of each component, from the metadata that diffusers writes."""
    alphas = {}
    try:
        settings = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        for component in components:
            for setting in UNSUPPORTED_SETTINGS:
                if settings.get(f"{component}.{setting}"):
                    raise AdapterError(f"LoRA file {path.name!r} uses {setting}, which this program cannot apply")
            if f"{component}.lora_alpha" in settings:
                alphas[component] = float(settings[f"{component}.lora_alpha"])
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _damaged(path, "its LoRA settings cannot be read") from error
    if not all(0 < alpha <= MAX_ALPHA for alpha in alphas.values()):
        raise _damaged(path, f"its lora_alpha is {list(alphas.values())}; above 0 and at most {MAX_ALPHA:,} is allowed")
    return alphas


def _damaged(path: Path, reason: str) -> AdapterError:
    return AdapterError(f"LoRA file {path.name!r} cannot be used: {reason}")
