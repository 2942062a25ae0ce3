"""A UNet as OpenVINO knows it, without its weights: they are inputs, and become constants when it is compiled.

So one conversion serves all weights of an architecture: every LoRA at every strength, every trained copy.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from cxr.models.openvino.library import core, import_openvino
from cxr.request.errors import ModelError

if TYPE_CHECKING:
    from openvino import Model

EXAMPLE_ROWS, NUM_TOKENS = 2, 77  # of what is traced; a compiled network takes as many as it needs
INPUTS = ("sample", "timestep", "text")
STRUCTURE, CONSTANTS, WEIGHTS = "graph.xml", "graph.bin", "weights.json"


class UNetConfig(TypedDict):
    """What of diffusers' own config of a UNet this program reads; it holds more."""

    in_channels: int
    sample_size: int
    cross_attention_dim: int


@dataclass(frozen=True)
class Graph:
    """A converted network.

    Args:
        structure: OpenVINO's XML.
        constants: what belongs to it besides weights, a few kilobytes.
        weights: names of the network's weights, in the order of the inputs after `INPUTS`.
    """

    structure: bytes
    constants: bytes
    weights: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """As one file, a ZIP, whose checksums reveal damage."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(STRUCTURE, self.structure)
            archive.writestr(CONSTANTS, self.constants)
            archive.writestr(WEIGHTS, json.dumps(self.weights))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Read what ``to_bytes`` wrote.

        Raises:
            ValueError: it is damaged.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                structure, constants, weights = (archive.read(name) for name in (STRUCTURE, CONSTANTS, WEIGHTS))
            return cls(structure, constants, tuple(json.loads(weights)))
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, TypeError) as error:
            raise ValueError("the converted network is damaged") from error

    def read(self) -> Model:
        """OpenVINO's own model.

        Raises:
            ValueError: it is damaged, or another network's.
        """
        constants = np.frombuffer(self.constants, dtype=np.uint8)
        try:
            model = core().read_model(self.structure, import_openvino().Tensor(constants))
        except (RuntimeError, TypeError) as error:
            raise ValueError("the converted network is damaged") from error
        if len(model.inputs) != len(INPUTS) + len(self.weights):
            raise ValueError("the converted network has other weights than it says")
        return model


def convert_unet(config: UNetConfig) -> Graph:
    """Convert a UNet; takes seconds to a minute and no memory for weights.

    Args:
        config: diffusers' own, of a network that is called with latents, a timestep and one text alone.
    Raises:
        ModelError: OpenVINO cannot convert it, or is not installed.
    """
    openvino = import_openvino()
    try:
        # Each line of a traced network would give a warning: its shapes are fixed.
        with warnings.catch_warnings(action="ignore"):
            traced, shapes = _trace(config)
            model = openvino.convert_model(traced)
            sizes = (config["in_channels"], config["sample_size"], config["sample_size"])
            fixed = [[-1, *sizes], [], [-1, -1, config["cross_attention_dim"]], *map(list, shapes.values())]
            model.reshape(dict(zip(model.inputs, fixed, strict=True)))
            return _saved(openvino, model, tuple(shapes))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"OpenVINO cannot convert this model ({reason[:200]}); set CXR_ENGINE=pytorch") from error


def weights_of(unet: nn.Module) -> dict[str, Tensor]:
    """The weights of a UNet by name, with what is merged into them; LoRA layers beside them are not among them."""
    found = ((name.replace(".base_layer.", "."), weight) for name, weight in unet.named_parameters())
    return {name: weight.detach() for name, weight in found if ".lora_" not in name}


@torch.inference_mode(False)
@torch.no_grad()
def _trace(config: UNetConfig) -> tuple[object, dict[str, tuple[int, ...]]]:
    """What the network does, as TorchScript whose inputs are its weights, and their shapes by name."""
    with torch.device("meta"):
        unet: nn.Module = UNet2DConditionModel.from_config(config).eval()
    shapes = {name: tuple(weight.shape) for name, weight in unet.named_parameters()}
    places = [(unet.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in shapes]
    for module, attribute in places:
        delattr(module, attribute)

    def run(sample: Tensor, timestep: Tensor, text: Tensor, *weights: Tensor) -> object:
        for (module, attribute), weight in zip(places, weights, strict=True):
            setattr(module, attribute, weight)
        return unet(sample, timestep, text, return_dict=False)[0]

    sample = torch.zeros(EXAMPLE_ROWS, config["in_channels"], config["sample_size"], config["sample_size"])
    text = torch.zeros(EXAMPLE_ROWS, NUM_TOKENS, config["cross_attention_dim"])
    weights = [torch.zeros(()).expand(shape) for shape in shapes.values()]
    return torch.jit.trace(run, (sample, torch.tensor(500.0), text, *weights), check_trace=False), shapes


def _saved(openvino: ModuleType, model: Model, weights: tuple[str, ...]) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / STRUCTURE
        openvino.save_model(model, path, compress_to_fp16=False)
        return Graph(path.read_bytes(), path.with_suffix(".bin").read_bytes(), weights)
