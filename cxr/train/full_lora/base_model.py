"""Which base model a LoRA is for: read off the settings in its folder, before any weight is loaded."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from cxr.models.families.family import SCHEDULER_SETTINGS
from cxr.models.families.folder_check import INDEX, ModelFolder, check_folders, read_model_settings
from cxr.models.model_folder import find_model_folder, folder_sha256
from cxr.models.presets import find_preset, image_size
from cxr.request.errors import ModelError

SD, SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"
PREDICTION_TYPES = ("epsilon", "v_prediction")
SMALL_LATENT_CHANNELS = 16  # of the small model that ships; full-size Stable Diffusion has 4


@dataclass(frozen=True)
class BaseModel:
    """What training has to know about a model folder.

    Args:
        name: what the LoRA's card calls the base.
        folder: the model in diffusers folder format.
        license: id of the licence of its weights, "unknown" where the table of presets has none.
        pipeline: class of its pipeline, `SD` or `SDXL`.
        prediction_type: what its UNet predicts, one of `PREDICTION_TYPES`.
        resolution: side in pixels of the images that it was made for.
        scale_factor: how many times smaller latents are than images.
    """

    name: str
    folder: Path
    license: str
    pipeline: str
    prediction_type: str
    resolution: int
    scale_factor: int

    @property
    def is_xl(self) -> bool:
        """Whether it has two text encoders."""
        return self.pipeline == SDXL

    @property
    def text_parts(self) -> tuple[str, ...]:
        """Subfolders of the text encoders and their tokenizers."""
        return ("text_encoder", "tokenizer", *(("text_encoder_2", "tokenizer_2") if self.is_xl else ()))

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """Fingerprint of each part's weights and settings; takes seconds for gigabytes, once."""
        parts = ("unet", "vae", "scheduler", *self.text_parts)
        return {part: folder_sha256(self.folder / part) for part in parts}


def read_base_model(model: str) -> BaseModel:
    """Read what kind of model it is, and refuse those that this package cannot train for.

    The files of a model of the Hub are downloaded first if need be.

    Args:
        model: as for `cxr.models.presets.find_preset`.
    Raises:
        ModelError: unknown, incomplete, of another architecture, or with a noise schedule of another kind;
            HubError where the Hub is the reason.
    """
    preset = find_preset(model)
    folder = find_model_folder(preset).path
    files = ModelFolder(preset.name, folder)
    pipeline = read_model_settings(files, INDEX).get("_class_name")
    if pipeline not in (SD, SDXL):
        raise ModelError(f"model {preset.name!r} is a {pipeline}; LoRAs can be trained for {SD} and {SDXL}")
    unet, vae = (read_model_settings(files, f"{part}/config.json") for part in ("unet", "vae"))
    scheduler = read_model_settings(files, SCHEDULER_SETTINGS)
    _check_kind(preset.name, unet, vae, scheduler)
    prediction_type = str(scheduler.get("prediction_type", "epsilon"))
    try:
        resolution, scale_factor = image_size(unet, vae)
    except (KeyError, TypeError) as error:
        raise ModelError(f"model {preset.name!r} does not give the size of its images in unet/ and vae/") from error
    name = preset.hub_id or preset.name
    base = BaseModel(name, folder, preset.license, pipeline, prediction_type, resolution, scale_factor)
    for part in ("unet", "vae", *base.text_parts):
        if not part.startswith("tokenizer") and not any((folder / part).glob("*.safetensors")):
            raise ModelError(f"model {preset.name!r} is incomplete: {part}/ holds no .safetensors file")
    check_folders(files, ("unet", "vae", "scheduler", *base.text_parts))
    return base


def _check_kind(name: str, unet: dict[str, object], vae: dict[str, object], scheduler: dict[str, object]) -> None:
    """Raise for what has the right pipeline class and still cannot be trained."""
    if vae.get("latent_channels") == SMALL_LATENT_CHANNELS:
        raise ModelError(
            f"model {name!r} has the small architecture; give --model the --out folder of train base, "
            "which holds it as model/"
        )
    if unet.get("in_channels", 4) != vae.get("latent_channels", 4):
        raise ModelError(f"model {name!r} is made for inpainting or another task; use one for text alone")
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if "beta_schedule" not in scheduler or prediction_type not in PREDICTION_TYPES or scheduler.get("use_flow_sigmas"):
        raise ModelError(
            f"model {name!r} has a {scheduler.get('_class_name')} with prediction_type {prediction_type!r}; "
            f"LoRAs can be trained for noise schedules with {' or '.join(PREDICTION_TYPES)}"
        )
