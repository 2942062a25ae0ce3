"""A LoRA in the frozen UNet of a full-size model, as the training loop takes it.

A batch depends on the seed and its number alone, and so does whatever dropout draws. A run that was killed therefore
goes on from its last checkpoint as if nothing had happened, without any state of random generators being kept.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from cxr.folders.sheet import contact_sheet
from cxr.request.errors import RequestError
from cxr.train.adapter_file import add_lora, save_unet_lora
from cxr.train.checkpoint import TrainingProgress
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.batches import Batches
from cxr.train.full_lora.components import UNET_TARGETS, load_unet, training_schedule
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.denoising import TrainedDenoiser, choose_gamma, loss_weights
from cxr.train.full_lora.model_card import config_facts, write_card
from cxr.train.full_lora.training_settings import FullLoraSettings
from cxr.train.full_lora.validation import validation_images, validation_loss
from cxr.train.parallel import training_device
from cxr.train.precision import Precision

ADAPTER, CACHE, IMAGES = "adapter", "cache", "validation"
FORMATS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class FullLoraTask:
    """Mean squared error of the UNet's prediction, by min-SNR weights.

    Args:
        base: what to load.
        data: images with captions, split by patient.
        settings: of the run.
        out_dir: where latents, embeddings, the LoRA and the sheets go.
        precision: where and in which format to compute.
    """

    def __init__(
        self, base: BaseModel, data: TrainingData, settings: FullLoraSettings, out_dir: Path, precision: Precision
    ) -> None:
        self.base, self.data, self.settings, self.out_dir = base, data, settings, out_dir
        self.batches = Batches(base, data, settings, out_dir / CACHE, precision.device)
        schedule, dtype, on_gpu = training_schedule(base), frozen_dtype(precision), precision.device.type == "cuda"
        self.gamma = choose_gamma(settings.min_snr_gamma, schedule)
        unet = load_unet(base, dtype, precision.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # of the LoRA's weights alone
            self.config = add_lora(unet, settings.rank, settings.alpha, UNET_TARGETS)
        if on_gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if precision.dtype != torch.float32:
            # Wherever it is called from, a pipeline too; what a pipeline does besides stays in float32.
            unet.forward = torch.autocast(precision.device.type, precision.dtype)(unet.forward)
        self.trained: nn.Module = unet.train()
        self.denoiser = TrainedDenoiser(unet, schedule, dtype)

    def loss(self, step: int) -> dict[str, Tensor]:
        """The loss of batch number ``step``."""
        batch = self.batches.draw(step, self.denoiser.num_timesteps)
        weights = loss_weights(batch.timesteps, self.denoiser.schedule, self.gamma)
        return {"loss": (weights * self.denoiser.errors(batch)).mean()}

    def validate(self) -> dict[str, float]:
        """The error on held-out patients."""
        return validation_loss(self.denoiser, self.batches)

    def export(self, out_dir: Path) -> None:
        """Write the LoRA in diffusers' format, with rank and alpha in its metadata, and ``config.json``."""
        kind = StableDiffusionXLPipeline if self.base.is_xl else StableDiffusionPipeline
        facts = config_facts(out_dir, self.base, self.data, self.settings)
        save_unet_lora(out_dir / ADAPTER, self.denoiser.unet, self.config, kind, facts)

    def report(self, progress: TrainingProgress) -> None:
        """Draw the validation prompts; the card last, as it says what was found."""
        if self.settings.validation_images:
            rows = validation_images(self.denoiser, self.base, self.batches)
            contact_sheet(rows, self.out_dir / IMAGES / f"step_{progress.step:06}.png")
            for number, row in enumerate(rows):
                contact_sheet([row], self.out_dir / ADAPTER / "images" / f"{number}.png")
        write_card(self.out_dir, self.base, self.data, self.settings, progress)


def choose_format(settings: FullLoraSettings) -> Precision:
    """CUDA where there is a GPU, else the CPU; in the number format that the device computes well.

    Raises:
        RequestError: the format is not one of this device's.
    """
    device, name = training_device(), settings.mixed_precision
    if name == "auto" and device.type == "cpu":
        name = "no"
    elif name == "auto":
        name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise RequestError("mixed_precision is 'fp16', which needs a GPU; use auto, no or bf16")
    return Precision(device, FORMATS[name])


def frozen_dtype(precision: Precision) -> torch.dtype:
    """The format of weights that are not trained: half of the memory on a GPU, exact on a CPU."""
    return precision.dtype if precision.device.type == "cuda" else torch.float32
