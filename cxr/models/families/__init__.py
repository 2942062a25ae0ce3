"""One module per architecture: which pipeline class it is, which files it needs, and how its networks are called."""

from cxr.models.families.family import Family, TextCondition
from cxr.models.families.pixart_sigma import PixArtSigma
from cxr.models.families.sana import Sana
from cxr.models.families.stable_diffusion import StableDiffusion
from cxr.models.families.stable_diffusion_xl import StableDiffusionXL

FAMILIES: dict[str, Family] = {
    family.name: family for family in (StableDiffusion(), StableDiffusionXL(), PixArtSigma(), Sana())
}

__all__ = ["FAMILIES", "Family", "TextCondition"]
