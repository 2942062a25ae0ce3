"""Train the clinical LoRA: the 14 findings, on top of a base that knows none of them.

A finding changes a radiograph so little that the noise of the diffusion loss hides it for very many samples. With a
guide the LoRA therefore learns from the frozen base instead: the velocity that the base predicts without findings, plus
what the guide says that the findings change. Both are known without noise, and the image need not show what is asked.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.request.errors import RequestError
from cxr.train.adapter_file import add_lora, begin_with, save_unet_lora, summary_of
from cxr.train.architecture import read_unet
from cxr.train.diffusion import VIEW, DiffusionTask, Draw, read_components, use_fast_attention
from cxr.train.film_draws import FindingDraws
from cxr.train.guide_network import NAMES, SIDED
from cxr.train.setup import Setup, batch_generator

RANK = 32
LORA_ALPHA = 32
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
SWAPPED_SHARE = 0.5  # of the captions that ask for another image's findings, as sampling does
PERSON = ("male", "age")
PLAIN_WEIGHT = 1.0  # of the guide for absent findings and sex: the base obeys the latter, but forgets some without
AGE_WEIGHT = 3.0  # of the guide for ages, which the base tells less surely than films do
# Under one weight some findings come out stronger than in films and others fainter: what each gets of the weight.
STRENGTHS = {
    "Atelectasis": 1.1,
    "Cardiomegaly": 2.4,
    "Consolidation": 1.7,
    "Edema": 1.0,
    "Effusion": 0.6,
    "Emphysema": 2.0,
    "Fibrosis": 1.6,
    "Hernia": 2.0,
    "Infiltration": 0.25,
    "Mass": 4.5,
    "Nodule": 0.15,
    "Pleural_Thickening": 0.4,
    "Pneumonia": 1.0,
    "Pneumothorax": 4.5,
}
SIDED_SHARE = 0.5  # of those findings of another image whose side is drawn: few films tell it, the guide knows it
DATA_SHARE = 0.5  # of what the images themselves say beyond the base, where they show what is asked


class LoraTask(DiffusionTask):
    """Low-rank updates of the UNet's attention; every weight of the base stays as it is.

    The text encoder has learnt to read the findings before (`cxr.train.text_task`), so it needs none.

    Args:
        setup: what to learn from.
        model: folder that the base stage wrote.
        start_from: a LoRA of this stage to begin with, as ``cxr.lora.find.find_adapter`` takes it; None for one that
            changes nothing yet.
        guide: files that the guide stage wrote; several count as one, their mean.
        guide_weight: how strongly it exaggerates labels.
        earlier_model: exported model that the LoRA of ``start_from`` was trained on, or None. With one, it learns to
            change ``model`` as it changes that; a guide is not needed then, and exaggerates sex and age alone.

    Raises:
        RequestError: there is an earlier model without a LoRA to begin with.
    """

    findings = True
    guided = tuple(name for name in NAMES if name not in (VIEW, *PERSON))

    def __init__(
        self,
        setup: Setup,
        *,
        model: Path,
        start_from: str | None = None,
        guide: Sequence[Path] | None = None,
        guide_weight: float = 0.0,
        earlier_model: Path | None = None,
    ) -> None:
        if earlier_model and start_from is None:
            raise RequestError("--earlier-model is what the LoRA of --start-from was trained on: give that as well")
        folder = model / "model"
        super().__init__(setup, read_components(folder, folder), guide, guide_weight)
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.base = self._frozen(folder)
        self.unet, self.unet_config = self._with_lora(self.base, start_from)
        self.trained: nn.Module = self.unet
        self.earlier: tuple[UNet2DConditionModel, UNet2DConditionModel] | None = None
        if earlier_model:
            base = self._frozen(earlier_model)
            self.earlier = base, self._with_lora(base, start_from)[0].requires_grad_(False)
        self.draws = FindingDraws(self.records)

    def _frozen(self, folder: Path) -> UNet2DConditionModel:
        unet = read_unet(folder).to(self.device).requires_grad_(False)
        use_fast_attention(unet, self.device)
        return unet

    def _with_lora(self, base: UNet2DConditionModel, start_from: str | None) -> tuple[UNet2DConditionModel, LoraConfig]:
        """A copy with a LoRA, which begins as an earlier one or changes nothing yet; and what it was made with."""
        unet = copy.deepcopy(base)
        config = add_lora(unet, RANK, LORA_ALPHA, UNET_TARGETS)
        if start_from is not None:
            begin_with(unet, config, start_from)
        return unet, config

    def loss(self, step: int) -> dict[str, Tensor]:
        """Mean squared distance from the base's velocity, moved as the guide says (Meng et al., CVPR 2023).

        With an earlier model, from the base's velocity and what the earlier LoRA changed there, moved as the guide says
        of sex and age; with neither, the plain diffusion loss.
        """
        if self.guide is None and self.earlier is None:
            return super().loss(step)
        count = self.settings.batch_size
        generator = batch_generator(self.settings.seed, step)
        indices, other_indices = self.draws.pick(generator, count), self.draws.pick(generator, count)
        shown, others = ([self.records[index] for index in rows] for rows in (indices, other_indices))
        swapped = torch.rand(count, generator=generator) < SWAPPED_SHARE
        rng = random.Random(f"{self.settings.seed} sides {step}")
        wanted = [
            _with_findings_of(record, other, rng) if swap else record
            for record, other, swap in zip(shown, others, swapped, strict=True)
        ]
        draw = self._draw(self.latents[indices], generator)
        captions = self._captions(wanted, step, findings=True)
        with torch.no_grad():
            if self.earlier is None:
                base = self.predict(draw, self._captions(shown, step, findings=False), self.base)
                share = DATA_SHARE * (~swapped).float()[:, None, None, None].to(self.device)
                target = base + share * (draw.velocity - base) + self._shift(draw, captions)
            else:
                before, after = (self.predict(draw, captions, unet) for unet in self.earlier)
                person = self.guide_weight * self._shift_to(draw, self._labels(captions, PERSON))
                target = self.predict(draw, captions, self.base) + after - before + person
        return {"loss": (self.predict(draw, captions) - target).square().mean()}

    def _shift(self, draw: Draw, captions: list[str]) -> Tensor:
        """Findings that are asked for by the guide's weight, ages and what is not there by their own.

        Several findings share the weight, by the root of their number: in full, each of them, they break the image.
        Were absence exaggerated as well, lungs without findings would be cleaner than any, and a finding would lose
        what comes with it in films.
        """
        strengths = [_strength(labels_of(text).findings or ()) for text in captions]
        shares = torch.tensor(strengths, device=self.device)[:, None, None, None]
        labels = self._labels(captions, (*self.guided, *PERSON))
        is_asked = (labels == 1) & torch.tensor([name in self.guided for name in NAMES], device=self.device)
        is_age = torch.tensor([name == "age" for name in NAMES], device=self.device).expand_as(is_asked)
        asked, ages = labels.masked_fill(~is_asked, torch.nan), labels.masked_fill(~is_age, torch.nan)
        others = labels.masked_fill(is_asked | is_age, torch.nan)
        exaggerated = self.guide_weight * shares * self._shift_to(draw, asked)
        return exaggerated + PLAIN_WEIGHT * self._shift_to(draw, others) + AGE_WEIGHT * self._shift_to(draw, ages)

    def _captions(self, records: Sequence[Radiograph], step: int, *, findings: bool) -> list[str]:
        """One prompt each; with findings and without, the same attributes are named."""
        seed = self.settings.seed
        sources = [random.Random(f"{seed} {step} {number}") for number in range(len(records))]
        return [caption(record, rng, findings=findings) for record, rng in zip(records, sources, strict=True)]

    def export(self, out_dir: Path) -> None:
        """Write the LoRA in diffusers' format, with rank and alpha in its metadata."""
        facts = {
            "name": "clinical",
            "base_model": "embedded",
            "license": "apache-2.0",
            "rank": RANK,
            "lora_alpha": LORA_ALPHA,
            "unet_target_modules": list(UNET_TARGETS),
            "findings": list(FINDINGS),
            "training_data": summary_of(self.records),
        }
        save_unet_lora(out_dir / "adapter", self.unet, self.unet_config, StableDiffusionPipeline, facts)


def _strength(findings: Sequence[str]) -> float:
    """What findings that are asked for together get of the guide's weight."""
    factors = [STRENGTHS[name] for name in findings]
    return sum(factors) * len(factors) ** -1.5 if factors else 0.0


def _with_findings_of(record: Radiograph, other: Radiograph, rng: random.Random) -> Radiograph:
    """What to ask for in place of what an image shows: the findings of another one, on sides that it may not tell."""
    sides = dict(other.sides)
    for name in SIDED:
        if name in (other.findings or ()) and rng.random() < SIDED_SHARE:
            sides[name] = rng.choice(("left", "right"))
    return replace(record, findings=other.findings, unknown=other.unknown, sides=tuple(sorted(sides.items())))
