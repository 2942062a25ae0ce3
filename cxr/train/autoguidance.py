"""What a UNet predicts, moved away from what earlier weights predict that have learnt less; another one learns it.

Both err alike where data and capacity are short, the earlier one more, so that away from it there is more
detail (autoguidance, Karras et al., NeurIPS 2024). Learnt by a UNet, as guidance is in Meng et al., CVPR 2023, it
costs nothing when sampling.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from cxr.request.errors import RequestError

LOW_RANK = 16


class Autoguidance:
    """Frozen UNets and how far what the first predicts is moved away from the others.

    Args:
        teacher: the one that has learnt most.
        earlier: one of the same architecture that has learnt less.
        weight: a multiple of their difference.
        low_rank_weight: the same for the teacher with the main directions alone of what separates it from ``earlier``
            (`low_rank_step`), which exaggerates other things: fine detail and the spread of latents.

    Raises:
        RequestError: there is such a weight, and the two have other architectures.
    """

    def __init__(
        self, teacher: UNet2DConditionModel, earlier: UNet2DConditionModel, weight: float, low_rank_weight: float
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        weaker = [(weight, earlier)]
        if low_rank_weight:
            weaker.append((low_rank_weight, low_rank_step(teacher, earlier, LOW_RANK)))
        self.weaker = [(weight, unet.eval().requires_grad_(False)) for weight, unet in weaker]

    def target(self, predict: Callable[[UNet2DConditionModel], Tensor]) -> Tensor:
        """What the UNet that is trained should predict, of the shape of what ``predict`` returns for each of these."""
        with torch.no_grad():
            strong = predict(self.teacher)
            moves = [weight * (strong - predict(unet)) for weight, unet in self.weaker]
            return strong + torch.stack(moves).sum(dim=0)


def low_rank_step(unet: UNet2DConditionModel, other: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """A copy of ``unet`` that has gone towards ``other`` in the ``rank`` main directions of each weight matrix.

    Those of convolutions are [output, input x height x width]; vectors and smaller matrices become those of ``other``.

    Raises:
        RequestError: their architectures differ.
    """
    step = copy.deepcopy(unet)
    here, there = step.state_dict(), other.state_dict()
    if {name: weight.shape for name, weight in here.items()} != {name: weight.shape for name, weight in there.items()}:
        raise RequestError("--low-rank-weight compares the weights of two UNets, and these have other shapes")
    with torch.no_grad():
        for name, weight in here.items():
            weight += _main_part(there[name].to(weight) - weight, rank)
    return step


def _main_part(difference: Tensor, rank: int) -> Tensor:
    """The best approximation of this rank in the sense of least squares, same shape."""
    if difference.ndim < 2 or min(len(difference), difference[0].numel()) <= rank:
        return difference
    left, sizes, right = torch.linalg.svd(difference.flatten(1), full_matrices=False)
    main: Tensor = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    return main.reshape(difference.shape)
