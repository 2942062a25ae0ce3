"""The guide: a network that reads labels off noisy latents, and how its gradient moves a velocity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.labels.targets import LABELS, scaled_targets
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import DataError
from cxr.train.architecture import TEXT_TOKENS, TEXT_WIDTH, build_unet

SIDED = ("Consolidation", "Effusion", "Pneumothorax")  # findings of whose sides enough is known to learn them
SIDE_PAIRS = tuple((finding, side) for finding in SIDED for side in ("left", "right"))
YES_NO = (*LABELS, *(f"{side} {finding}" for finding, side in SIDE_PAIRS))
NAMES = (*YES_NO, "age")  # what a guide reads
LAST_TIMESTEP = 850  # later than this almost nothing is left to read, and the gradient is divided by almost nothing
MAX_SHIFT = 0.5  # root mean square; a velocity has about 1


class GuideNetwork(nn.Module):
    """Latents [B, 16, 16, 16] and timesteps [B] -> [B, 25]: logits of `YES_NO`, the scaled age, its log deviation.

    The encoder is a UNet's own: one that has learnt to denoise radiographs already holds what tells them apart
    (Xiang et al., "Denoising Diffusion Autoencoders are Unified Self-supervised Learners", ICCV 2023).

    Args:
        unet: whose encoder to begin with; None for random weights.
        text: what its cross-attention always reads, [1, P, 256]; None for zeros.
    """

    text: Tensor

    def __init__(self, unet: UNet2DConditionModel | None = None, text: Tensor | None = None) -> None:
        super().__init__()
        unet = build_unet() if unet is None else unet
        self.time_proj, self.time_embedding, self.conv_in = unet.time_proj, unet.time_embedding, unet.conv_in
        self.down_blocks, self.mid_block = unet.down_blocks, unet.mid_block
        self.register_buffer("text", torch.zeros(1, TEXT_TOKENS, TEXT_WIDTH) if text is None else text.detach())
        widths = unet.config.block_out_channels
        # Each feature in its own scale: what tells sexes apart varies little beside what tells views apart.
        norm = nn.BatchNorm1d(4 * sum(widths), momentum=0.02, affine=False)
        self.seen = nn.Sequential(norm, nn.Dropout(0.2))
        self.answers = nn.Linear(4 * sum(widths), len(YES_NO) + 2)

    @torch.no_grad()
    def begin_with_odds_of(self, targets: Tensor) -> None:
        """Let answers begin at how often each is yes in [N, 24], as `guide_targets` gives them, whatever is seen."""
        known = ~targets[:, :-1].isnan()
        shares = (targets[:, :-1].nan_to_num().sum(dim=0) + 1) / (known.sum(dim=0) + 2)
        nn.init.zeros_(self.answers.weight)
        self.answers.bias[:-2] = shares.logit()
        self.answers.bias[-2:] = 0.0

    def forward(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        time = self.time_embedding(self.time_proj(timesteps).to(latents.dtype))
        text = self.text.expand(len(latents), -1, -1)
        maps, seen = self.conv_in(latents), []
        for block in self.down_blocks:
            maps, residuals = block(maps, time, encoder_hidden_states=text)
            seen.append(residuals[0])  # before the block makes it smaller
        seen[-1] = self.mid_block(maps, time, encoder_hidden_states=text)
        read: Tensor = self.answers(self.seen(torch.cat([_pooled(kept) for kept in seen], dim=1)))
        return read


class GuideMean(nn.Module):
    """The mean of what several guides read; their errors are their own, what they agree on is in the image."""

    def __init__(self, guides: Sequence[GuideNetwork]) -> None:
        super().__init__()
        self.guides = nn.ModuleList(guides)

    def forward(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        return torch.stack([guide(latents, timesteps) for guide in self.guides]).mean(dim=0)


def guide_targets(records: Sequence[PromptLabels]) -> Tensor:
    """What is known of radiographs, or asked for by prompts, as a guide reads it.

    Returns:
        [N, 24] float32, by `NAMES`: 1 yes, 0 no, NaN unknown; last the scaled age.
    """
    labels = torch.from_numpy(scaled_targets(records))
    sides = torch.tensor([[_lies_on(record, *pair) for pair in SIDE_PAIRS] for record in records])
    return torch.cat([labels[:, :-1], sides.reshape(len(records), len(SIDE_PAIRS)), labels[:, -1:]], dim=1)


def log_likelihood(read: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Log-probability of what is known.

    Args:
        read: [B, 25], from `GuideNetwork`.
        targets: [B, 24], as `guide_targets` gives them; NaN is unknown.
        smoothing: how far yes and no are moved towards each other, for labels that are often wrong.
    Returns:
        [B] float32, a sum over the known labels and the age.
    """
    known = ~targets.isnan()
    wanted = targets.nan_to_num(0.0)
    flags = wanted[:, :-1] * (1 - smoothing) + smoothing / 2
    labels = -functional.binary_cross_entropy_with_logits(read[:, :-2], flags, reduction="none")
    age, log_deviation = read[:, -2], read[:, -1].clamp(-3, 2)
    ages = -0.5 * ((age - wanted[:, -1]) / log_deviation.exp()).square() - log_deviation
    return (torch.cat([labels, ages[:, None]], dim=1) * known).sum(dim=1)


def velocity_shift(
    guide: nn.Module, noisy: Tensor, timesteps: Tensor, alpha: Tensor, sigma: Tensor, targets: Tensor
) -> Tensor:
    """What the labels change in the best velocity: -(sigma / alpha) times the gradient of their log-likelihood.

    Args:
        guide: a trained guide.
        noisy: [B, 16, 16, 16] float32, alpha * latents + sigma * noise.
        timesteps: [B] int64.
        alpha: [B, 1, 1, 1], the square root of alphas_cumprod.
        sigma: [B, 1, 1, 1], the square root of 1 - alphas_cumprod.
        targets: [B, 24], as `guide_targets` gives them; NaN where the prompt says nothing.
    Returns:
        [B, 16, 16, 16] float32; zero beyond `LAST_TIMESTEP`, root mean square at most `MAX_SHIFT` a sample.
    """
    with torch.enable_grad():
        position = noisy.detach().requires_grad_(True)
        total = log_likelihood(guide(position, timesteps).float(), targets).sum()
        (gradient,) = torch.autograd.grad(total, position)
    shift = -(sigma / alpha.clamp(min=1e-6)) * gradient * (timesteps < LAST_TIMESTEP)[:, None, None, None]
    size = shift.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return shift * (MAX_SHIFT / size.clamp(min=MAX_SHIFT))


def load_guides(paths: Sequence[Path]) -> GuideMean:
    """Read guides that ``python -m cxr train guide`` wrote; they count as one.

    Raises:
        DataError: a file is missing or is not a guide.
    """
    guides = GuideMean([GuideNetwork() for _ in paths])
    for guide, path in zip(guides.guides, paths, strict=True):
        try:
            guide.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise DataError(f"{path} is not a guide that python -m cxr train guide wrote") from error
    return guides.eval().requires_grad_(False)


def signal_and_noise(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of signal and noise, [B, 1, 1, 1] each, at timesteps [B] of a schedule [T]."""
    share = alphas_cumprod[timesteps][:, None, None, None]
    return share.sqrt(), (1 - share).sqrt()


def _pooled(maps: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 4 C]: of each half, left and right, the mean and a soft maximum.

    The mean shows diffuse findings; the soft maximum the focal ones, with a gradient at every place.
    """
    halves = [half.flatten(2) for half in maps.chunk(2, dim=3)]
    return torch.cat([row for half in halves for row in (half.mean(dim=2), half.logsumexp(dim=2))], dim=1)


def _lies_on(record: PromptLabels, finding: str, side: str) -> float:
    """1 if the finding lies on this side, 0 if not, NaN if that is not known."""
    if record.findings is None or finding in record.unknown:
        return float("nan")
    if finding not in record.findings:
        return 0.0
    known = dict(record.sides).get(finding)
    return float("nan") if known is None else float(known in (side, "bilateral"))
