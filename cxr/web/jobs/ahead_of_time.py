"""A UNet compiled ahead of time on ZeroGPU, whose processes live too short to compile anything themselves.

Off unless CXR_COMPILE=1: no ZeroGPU was at hand to prove it.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.request.generation_request import GenerationRequest

COMPILE_S = 1500  # what `spaces` itself recommends to ask for


class AheadOfTimeUnet:
    """Runs steps of the one shape that was compiled; others, which are not guided, run uncompiled.

    Whoever calls a method holds the model's lock.

    Args:
        spaces: the package of that name.
        compiled: what ``spaces.aoti_compile`` gave: code without weights.
        num_rows: of the shape.
    """

    def __init__(self, spaces: ModuleType, unet: nn.Module, compiled: object, num_rows: int) -> None:
        self.spaces, self.unet, self.compiled, self.num_rows = spaces, unet, compiled, num_rows
        self.is_bound = False

    def predict(self, sample: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
        """Run the UNet once, as ``LoadedModel.predict`` says."""
        if len(sample) != self.num_rows:
            output: Tensor = type(self.unet).forward(self.unet, sample, timestep, embeddings, return_dict=False)[0]
            return output.float()
        if not self.is_bound:
            self.spaces.aoti_apply(self.compiled, self.unet)  # with the weights as they are now
            self.is_bound = True
        result: Tensor = self.unet(sample, timestep, embeddings, return_dict=False)[0]
        return result.float()

    def forget(self) -> None:
        """Forget the bound weights, which have changed."""
        self.is_bound = False


def compile_ahead(loaded: LoadedModel, spaces: ModuleType) -> None:
    """Compile the UNet of a model for its guided steps, while a Space on ZeroGPU starts.

    Args:
        loaded: whose network is called with one text; others stay as they are.
        spaces: the package of that name.
    """
    if not loaded.family.is_plain_unet:
        return
    unet = loaded.network

    @spaces.GPU(duration=COMPILE_S)  # type: ignore[untyped-decorator]
    def compile_unet() -> object:
        request = GenerationRequest("normal", num_inference_steps=1, guidance_scale=2.0, guidance_stop=1.0)
        with spaces.aoti_capture(unet) as call:
            for _ in generate(request, loaded):
                pass
        with torch.inference_mode():
            exported = torch.export.export(unet, args=call.args, kwargs=call.kwargs)
        return spaces.aoti_compile(exported)

    loaded.engine = AheadOfTimeUnet(spaces, unet, compile_unet(), 2 * loaded.micro_batch_size)
