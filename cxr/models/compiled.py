"""UNet and decoder compiled by torch for a GPU, where CXR_COMPILE=1 asks for it.

Each shape that is met is compiled once in a process, which takes a minute or more: worth it for data sets, not for a
few images. Other kernels give other last bits, so recipes name it as an engine of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cxr.request.errors import ModelError

if TYPE_CHECKING:
    from diffusers import ModelMixin

COMPILE_VARIABLE = "CXR_COMPILE"
BACKEND = "inductor"
# CUDA graphs: a small UNet otherwise waits for Python, which starts each of its hundreds of kernels.
MODE = "reduce-overhead"


def is_compiling_wanted() -> bool:
    """What CXR_COMPILE says.

    Raises:
        ModelError: it is neither 0 nor 1.
    """
    wanted = os.environ.get(COMPILE_VARIABLE, "")
    if wanted not in ("", "0", "1"):
        raise ModelError(f"{COMPILE_VARIABLE} is {wanted!r}; use 1 to compile for the GPU, 0, or leave it unset")
    return wanted == "1"


def compile_networks(network: ModelMixin, vae: ModelMixin) -> None:
    """Have both compiled at their next use; their weights may change afterwards, as LoRAs do.

    Args:
        network: that denoises.
        vae: of which the decoder is compiled.
    """
    # Memory of CUDA graphs is used again by the next call, and the results are kept: the copies of `predict` and
    # `decode`, which are float32, are what remains.
    mode = {"mode": MODE} if BACKEND == "inductor" else {}
    network.compile(backend=BACKEND, dynamic=False, **mode)
    vae.decoder.compile(backend=BACKEND, dynamic=False, **mode)
