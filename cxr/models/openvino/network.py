"""A UNet run by OpenVINO, with the weights that the pipeline's own UNet has at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cxr.models.openvino.graph import INPUTS, Graph, weights_of
from cxr.models.openvino.library import core, import_openvino

if TYPE_CHECKING:
    from openvino import InferRequest

DEVICE = "CPU"


class OpenVinoUnet:
    """Compiles a UNet for each shape of batch that is asked for, and again when its weights have changed.

    Whoever calls a method holds the model's lock.

    Args:
        unet: of the pipeline; its weights are read when a network is compiled.
    """

    def __init__(self, unet: nn.Module, graph: Graph) -> None:
        self.unet, self.graph = unet, graph
        self._compiled: dict[tuple[torch.Size, torch.Size, int], InferRequest] = {}

    def predict(self, sample: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        """Run the UNet once.

        Args:
            sample: [B, C, h, w], as the scheduler scaled it.
            timestep: scalar; some schedulers have fractions.
            embeddings: [B, tokens, width], of the texts.
        Returns:
            [B, C, h, w] float32.
        """
        # Another number of threads gives other last bits, as it does in PyTorch; recipes name it.
        key = (sample.shape, embeddings.shape, torch.get_num_threads())
        if key not in self._compiled:
            self._compiled[key] = self._compile(*key)
        inputs = [
            sample.float().contiguous().numpy(),
            np.float32(float(timestep)),
            embeddings.float().contiguous().numpy(),
        ]
        return torch.from_numpy(self._compiled[key].infer(inputs, share_inputs=True)[0])

    def forget(self) -> None:
        """Drop what is compiled, as the weights have changed."""
        self._compiled.clear()

    def _compile(self, sample: torch.Size, embeddings: torch.Size, num_threads: int) -> InferRequest:
        openvino, weights = import_openvino(), weights_of(self.unet)
        model = self.graph.read()
        for name, parameter in zip(self.graph.weights, model.get_parameters()[len(INPUTS) :], strict=True):
            array = weights[name].float().contiguous().numpy()
            constant = openvino.op.Constant(array, shared_memory=True)
            parameter.output(0).replace(constant.output(0))
            model.remove_parameter(parameter)
        # Fixed shapes run faster than those that are known only then.
        model.reshape({0: openvino.PartialShape([*sample]), 2: openvino.PartialShape([*embeddings])})
        return core().compile_model(model, DEVICE, self._settings(num_threads)).create_infer_request()

    def _settings(self, num_threads: int) -> dict[str, object]:
        dtype = next(self.unet.parameters()).dtype
        return {
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": 1,
            # Else the processes of a data set would all sit on the same cores.
            "ENABLE_CPU_PINNING": False,
            # Else it would choose bfloat16 by itself where that is native.
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 and has_bfloat16() else "f32",
        }


def has_bfloat16() -> bool:
    """Whether OpenVINO multiplies bfloat16 on this CPU."""
    return "BF16" in core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
