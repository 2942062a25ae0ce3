"""Table of base models: where they lie, what they make, what they may be used for, and which LoRA belongs to them.

To add one, add a row to PRESETS. A revision is the 40-hex commit of the Hub whose files are meant; None means that the
newest files are taken, which ``models`` and a note while loading point out. What was not looked up is NOT_VERIFIED.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cxr.models.hub.names import COMMIT

EMBEDDED_FOLDER = Path(__file__).parents[1] / "embedded"
NOT_VERIFIED = "not verified"
MIMIC_TERMS = "MIMIC-CXR: credentialed access, its data use agreement bars sharing with third parties"

PromptForm = Literal["caption", "key_value", "chexpert", "report", "plain"]
Gated = Literal["no", "yes", "not verified"]


@dataclass(frozen=True)
class Preset:
    """One base model.

    Args:
        name: what the user types and what the recipe says.
        folder: the model in diffusers folder format, or None for one of the Hub.
        hub_id: "owner/name" on the Hub, or "".
        revision: 40-hex commit, branch or tag; None for the newest.
        family: name of its pipeline class, or None for whichever of the known ones its model_index.json names.
        resolution: height and width of its images in pixels, or None when only the model itself knows.
        data_terms: of the data that it was trained with.
        gated: whether its page asks to accept terms first.
        scheduler: diffusers class to sample with in place of the model's own, or None.
        defaults: values of the settings `BY_MODEL`; what it does not say is the program's own.
        prompt_form: the kind of text that it was trained with.
        default_adapter: name of its LoRA in ``lora_weights/``, "hub:owner/name/file", or "none".
        notes: what else a user should know.
        unusable: why it cannot be loaded here, or "".
    """

    name: str
    folder: Path | None = None
    hub_id: str = ""
    revision: str | None = None
    family: str | None = None
    resolution: int | None = None
    license: str = "unknown"
    data_terms: str = "unknown"
    gated: Gated = "not verified"
    scheduler: str | None = None
    defaults: Mapping[str, float] = field(default_factory=dict)
    prompt_form: PromptForm = "plain"
    default_adapter: str = "none"
    notes: tuple[str, ...] = ()
    unusable: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether the same files are meant for ever: a commit of the Hub, or a folder, whose content is hashed."""
        return self.folder is not None or COMMIT.fullmatch(self.revision or "") is not None


def _defaults(num_inference_steps: int, guidance_scale: float) -> dict[str, float]:
    """What models of others are used with: their authors' steps and guidance, and guidance to the end."""
    return {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale, "guidance_stop": 1.0}


def _of_chexgenbench(name: str, source: str, family: str, note: str) -> Preset:
    """A model of that benchmark, whose ``source`` is the end of its name on the Hub and its commit."""
    model, _, revision = source.partition("@")
    return Preset(
        f"chexgenbench-{name}",
        hub_id=f"raman07/CheXGenBench-Models-{model}",
        revision=revision,
        family=family,
        resolution=512,
        license=NOT_VERIFIED,
        data_terms=MIMIC_TERMS,
        defaults=_defaults(20, 4.5),
        prompt_form="report",
        notes=(note, f"Revision as public code names it; whether the Hub still serves it is {NOT_VERIFIED}."),
    )


_SD1_DEFAULTS = _defaults(25, 7.5)
_NO_RADIOGRAPHS = "Draws no usable radiographs by itself: add a LoRA of yours with --adapter."

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "embedded",
            folder=EMBEDDED_FOLDER,
            family="StableDiffusionPipeline",
            resolution=256,
            license="Apache-2.0",
            data_terms="NIH ChestX-ray14: no restriction of use, cite the authors",
            gated="no",
            prompt_form="caption",
            default_adapter="clinical",
        ),
        Preset(
            "sd14-synthmed",
            hub_id="CompVis/stable-diffusion-v1-4",
            revision="133a221b8aa7292a167afc5127cb63fb5005638b",
            family="StableDiffusionPipeline",
            resolution=512,
            license="creativeml-openrail-m (base), cc-by-4.0 (LoRA)",
            data_terms=f"of the LoRA: {NOT_VERIFIED}",
            gated="no",
            scheduler="DPMSolverMultistepScheduler",
            defaults=_SD1_DEFAULTS,
            prompt_form="key_value",
            default_adapter="hub:doronys/synthmed-loras/cxr/lora_weights.safetensors",
            notes=(
                "Prompts look like “chest xray view=pa age=55 gender=female demonstrating no finding”; PA views only.",
                "The LoRA is unpinned: its newest file is taken.",
            ),
        ),
        Preset(
            "sd15",
            hub_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            family="StableDiffusionPipeline",
            resolution=512,
            license="creativeml-openrail-m",
            data_terms="LAION photographs, no radiographs",
            gated="no",
            scheduler="DPMSolverMultistepScheduler",
            defaults=_SD1_DEFAULTS,
            notes=(_NO_RADIOGRAPHS,),
        ),
        Preset(
            "sdxl",
            hub_id="stabilityai/stable-diffusion-xl-base-1.0",
            revision="462165984030d82259a11f4367a4eed129e94a7b",
            family="StableDiffusionXLPipeline",
            resolution=1024,
            license="openrail++",
            data_terms="photographs, no radiographs",
            gated="no",
            defaults=_defaults(30, 5.0),
            notes=(_NO_RADIOGRAPHS,),
        ),
        Preset(
            "roentgen-v2",
            hub_id="stanfordmimi/RoentGen-v2",
            family="StableDiffusionPipeline",
            resolution=512,
            license=f"code MIT, weights {NOT_VERIFIED}",
            data_terms=MIMIC_TERMS,
            defaults=_defaults(50, 7.5),
            prompt_form="report",
            notes=("Prompts look like “50 year old female. Normal chest radiograph.”; PA views only.",),
        ),
        _of_chexgenbench(
            "sana",
            "Sana-e20@6c8989d92e75fbcfc91a82c3570389293867ad6a",
            "SanaPipeline",
            "The model page was seen to name no licence: research only until that is settled.",
        ),
        _of_chexgenbench(
            "pixart",
            "Pixart-Sigma@ab837e1d3d7b5aeccb4dcbc4d3abcf1c2ed24727",
            "PixArtSigmaPipeline",
            "22 GB, most of it the text encoder T5-XXL.",
        ),
        Preset(
            "radedit",
            hub_id="microsoft/radedit",
            resolution=512,
            license="other (research only)",
            data_terms="MIMIC-CXR, NIH ChestX-ray14 and CheXpert, each with terms of its own",
            gated="yes",
            prompt_form="report",
            unusable="it is a UNet alone, and its text encoder CXR-BERT runs code from its repository, "
            "which this program refuses",
        ),
    )
}
