"""Read a LoRA file that may come from anywhere: checked completely, before anything of it reaches a model.

Only numbers are taken from its settings, because peft's can name modules to import.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cxr.lora.known_layers import dimensions_of, is_layer, made_for, other_kind
from cxr.lora.safetensors_header import (
    INTEGER_BYTES,
    Header,
    check_suffix,
    damaged,
    open_lora_file,
    read_tensor_header,
    read_tensor_values,
)
from cxr.lora.strength import check_alpha, read_lora_settings
from cxr.lora.tensor_names import ALPHA, COMPONENTS, LORA_A, LORA_B, MAX_RANK, LoraName, parse_name

Shape = tuple[int, ...]
LayerKey = tuple[str, str]  # component and module
Names = dict[str, LoraName]  # what each matrix is, by its name in the file


@dataclass(frozen=True)
class LoraLayer:
    """One adapted layer.

    Args:
        component: the network that it is in.
        module: its name there.
        shape_a: of lora_A, [rank, in, ...].
        shape_b: of lora_B, [out, rank, ...].
        alpha: None where nothing says it.
        use_rslora: whether alpha is divided by the square root of the rank.
    """

    component: str
    module: str
    shape_a: Shape
    shape_b: Shape
    alpha: float | None = None
    use_rslora: bool = False

    @property
    def rank(self) -> int:
        """Width of the bottleneck between the two matrices."""
        return self.shape_a[0]

    @property
    def scaled_alpha(self) -> float:
        """The alpha with which alpha / rank is the layer's strength; 1 is that strength where nothing says alpha."""
        if self.alpha is None:
            return self.rank
        return self.alpha * math.sqrt(self.rank) if self.use_rslora else self.alpha


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file that passed every check.

    Args:
        sha256: of its content.
        num_tensors: in the file, alphas included.
        layers: that it adapts; a layer without an alpha uses its rank.
        names: of the matrices in the file, and what each is.
        metadata: texts of the file about itself; for display only.
    """

    path: Path
    sha256: str
    num_bytes: int
    num_tensors: int
    layers: tuple[LoraLayer, ...]
    names: Names
    metadata: dict[str, str]

    @property
    def components(self) -> tuple[str, ...]:
        """The networks that it changes."""
        present = {layer.component for layer in self.layers}
        return tuple(name for name in COMPONENTS if name in present)

    @property
    def components_without_alpha(self) -> tuple[str, ...]:
        """Networks with layers whose strength nothing says."""
        silent = {layer.component for layer in self.layers if layer.alpha is None}
        return tuple(name for name in COMPONENTS if name in silent)

    def read_content(self) -> bytes:
        """The whole file once more, for a model.

        Raises:
            AdapterError: it cannot be read, or is not the file that was checked.
        """
        with open_lora_file(self.path) as (file, _):
            content = file.read(self.num_bytes + 1)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise damaged(self.path, "it changed while it was being read; try again")
        return content


def read_lora_file(path: Path) -> LoraFile:
    """Read and check one file; only its header and a few megabytes are in memory at a time.

    Args:
        path: a .safetensors file in a naming that ``cxr.lora.tensor_names`` knows.
    Raises:
        AdapterError: it is unreadable, damaged, too large, not a plain LoRA, or holds NaN.
    """
    check_suffix(path)
    with open_lora_file(path) as (file, size):
        header = read_tensor_header(path, file, size)
        names = _parse_names(path, header)
        pairs = _pair_layers(path, names, header)
        ranks = {layer: shape_a[0] for layer, (shape_a, _) in pairs.items()}
        settings = read_lora_settings(path, header.metadata, ranks)
        sha256, alphas = _read_numbers(path, file, header, names)
    layers = []
    for (component, module), shapes in pairs.items():
        usual = (settings[component].alpha(module), settings[component].use_rslora)
        strength = (alphas[component, module], False) if (component, module) in alphas else usual
        layers.append(LoraLayer(component, module, *shapes, *strength))
    matrices = {key: name for key, name in names.items() if name.part != ALPHA}
    return LoraFile(path, sha256, size, len(names), tuple(layers), matrices, header.metadata)


def _parse_names(path: Path, header: Header) -> Names:
    """What each tensor is, by its name in the file."""
    names = {}
    for key, tensor in header.tensors.items():
        if model := made_for(key):
            raise damaged(path, f"it is made for {model}, which this program does not run (it has {key[:80]!r})")
        name = parse_name(key)
        if name is None:
            if kind := other_kind(key) or next(filter(None, map(other_kind, header.tensors)), None):
                raise damaged(path, f"it holds {kind}, which this program cannot apply; use a plain LoRA")
            raise damaged(path, f"tensor {key[:80]!r} is not a LoRA matrix in a known naming")
        if name.part != ALPHA and tensor.dtype in INTEGER_BYTES:
            raise damaged(path, f"tensor {key[:80]!r} is of {tensor.dtype} in its header; weights are floating-point")
        names[key] = name
    # Versions of transformers differ in whether text encoders have the level text_model.
    if len({name._replace(module=name.module.removeprefix("text_model.")) for name in names.values()}) != len(names):
        raise damaged(path, "it names the same matrix in two ways")
    return names


def _pair_layers(path: Path, names: Names, header: Header) -> dict[LayerKey, tuple[Shape, Shape]]:
    """The shapes of lora_A and lora_B of each layer."""
    shapes: dict[LayerKey, dict[str, Shape]] = {}
    for key, name in names.items():
        shapes.setdefault((name.component, name.module), {})[name.part] = header.tensors[key].shape
    pairs = {}
    for layer, parts in shapes.items():
        module = layer[1]
        if not is_layer(*layer):
            raise damaged(path, f"no model of this program has a layer {'.'.join(layer)[:80]!r} that takes a LoRA")
        if LORA_A not in parts or LORA_B not in parts:
            raise damaged(path, f"layer {module!r} has only one of its two matrices")
        shape_a, shape_b = parts[LORA_A], parts[LORA_B]
        if len(shape_a) not in (2, 4) or len(shape_b) != len(shape_a):
            raise damaged(path, f"layer {module!r} has matrices of shape {shape_a} and {shape_b}")
        if len(shape_a) not in dimensions_of(module):
            raise damaged(
                path, f"it is for another model: layer {module!r} has matrices of {len(shape_a)} dimensions there"
            )
        if any(size != 1 for size in shape_b[2:]):
            raise damaged(
                path, f"layer {module!r} has a second matrix of shape {shape_b}, which is not a 1 x 1 convolution"
            )
        if shape_a[0] != shape_b[1] or not 1 <= shape_a[0] <= MAX_RANK or 0 in shape_a + shape_b:
            raise damaged(path, f"layer {module!r} has no rank from 1 to {MAX_RANK}")
        if parts.get(ALPHA, ()) not in ((), (1,)):
            raise damaged(path, f"layer {module!r} has an alpha of shape {parts[ALPHA]}; it is one number")
        pairs[layer] = (shape_a, shape_b)
    return pairs


def _read_numbers(path: Path, file: BinaryIO, header: Header, names: Names) -> tuple[str, dict[LayerKey, float]]:
    """Read the file to its end; gives its SHA-256 and the alphas of layers that have one of their own."""
    file.seek(0)
    digest, alphas = hashlib.sha256(file.read(header.num_bytes)), {}
    for key, tensor in header.tensors.items():
        for values, raw in read_tensor_values(path, file, tensor):
            digest.update(raw)
            if not np.isfinite(values).all():
                raise damaged(path, f"tensor {key[:80]!r} holds NaN or infinite values")
            name = names[key]
            if name.part == ALPHA:
                alphas[(name.component, name.module)] = check_alpha(path, float(values[0]))
    return digest.hexdigest(), alphas
