"""Tells real patches of radiographs from painted ones, so that a decoder learns what real detail looks like."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

DETAIL_GAIN, SOFT_GAIN = 20.0, 0.7  # bring both inputs to about unit size: fainter detail is never noticed
WIDTHS = (24, 48, 96, 192)


class Discriminator(nn.Module):
    """Images [B, 1, H, W] in [-1, 1] -> scores of patches [B, 1, H/8, W/8]: high where it looks real.

    It sees the detail beside the soft picture that the latents already hold (spectral normalisation: Miyato et al.,
    ICLR 2018; patches: Isola et al., CVPR 2017).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [spectral_norm(nn.Conv2d(2, WIDTHS[0], 3, 1, 1))]
        for before, after in pairwise(WIDTHS):
            layers += [nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(before, after, 4, 2, 1))]
        layers += [nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, 1, 1))]
        layers += [nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, 1, 1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        soft = functional.interpolate(functional.avg_pool2d(images, 4), scale_factor=4.0, mode="bilinear")
        scores: Tensor = self.layers(torch.cat([(images - soft) * DETAIL_GAIN, soft * SOFT_GAIN], dim=1))
        return scores


def hinge_loss(discriminator: nn.Module, real: Tensor, painted: Tensor) -> Tensor:
    """What the discriminator minimises: 2 where it knows nothing, 0 where it tells all apart. No gradient to images."""
    scores = discriminator(torch.cat([real, painted]).detach())
    return functional.relu(1 - scores[: len(real)]).mean() + functional.relu(1 + scores[len(real) :]).mean()


def realism(discriminator: nn.Module, painted: Tensor) -> Tensor:
    """The mean score of images, with gradients to them and none to the discriminator's weights."""
    parameters = list(discriminator.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    scores: Tensor = discriminator(painted).mean()
    for parameter in parameters:
        parameter.requires_grad_(True)
    return scores
