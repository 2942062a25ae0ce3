"""Training in several processes, one for each GPU or CPU core, as ``torchrun`` or ``accelerate launch`` starts them.

Every process computes its own batch; gradients are averaged, so the weights stay equal everywhere. Alone, nothing here
does anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate.utils import reduce
from torch import Tensor, nn

from cxr.models.devices import shared_state


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes."""
    if shared_state().num_processes == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat: Tensor = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    parts = flat.split([gradient.numel() for gradient in gradients])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in some process, so that all stop at the same step."""
    state = shared_state()
    if state.num_processes == 1:
        return flag
    return bool(reduce(torch.tensor(float(flag), device=state.device), "sum") > 0)


def training_device() -> torch.device:
    """CUDA where there is one (this process's own), else the CPU."""
    return shared_state().device if torch.cuda.is_available() else torch.device("cpu")
