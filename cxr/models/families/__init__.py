"""One class per architecture: which pipeline class it is, which files it needs, and how its networks are called."""

from cxr.models.families.diffusion_transformer import PixArtSigma, Sana
from cxr.models.families.family import Family
from cxr.models.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from cxr.models.families.text_condition import TextCondition

FAMILIES: dict[str, Family] = {
    family.name: family for family in (StableDiffusion(), StableDiffusionXL(), PixArtSigma(), Sana())
}

__all__ = ["FAMILIES", "Family", "TextCondition"]
