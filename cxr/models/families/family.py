"""What all architectures have in common, and what each has to say for itself."""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from cxr.models.families.text_condition import TextCondition

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from diffusers.configuration_utils import FrozenDict

# Sampling with any of these is a change of settings; their classes are named here and nowhere looked up by a file.
SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
SCHEDULER_SETTINGS = "scheduler/scheduler_config.json"


class Family(ABC):
    """One architecture.

    Attributes:
        name: of the diffusers pipeline class, as model_index.json says it.
        components: of model_index.json: folder, and the classes that may be in it.
        network: which component denoises.
        left_out: arguments that keep parts out which are not needed.
        ignored: components of model_index.json that are such parts.
        is_plain_unet: whether its network is a UNet that is called with one text alone:
            ``devices.choose_unet_dtype`` can time it, and OpenVINO can run it.
        overflows_in_float16: whether the denoising network needs bfloat16 where others run in float16.
        cuda_text_dtype: number format of the text encoders on a GPU.
        max_tokens: of a text, where the tokenizer itself knows no limit or a wrong one.
    """

    name: ClassVar[str]
    components: ClassVar[Mapping[str, tuple[str, ...]]]
    network: ClassVar[str]
    left_out: ClassVar[Mapping[str, object]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()
    is_plain_unet: ClassVar[bool] = False
    overflows_in_float16: ClassVar[bool] = False
    cuda_text_dtype: ClassVar[torch.dtype] = torch.float32
    max_tokens: ClassVar[int | None] = None

    def pipeline_class(self) -> type[DiffusionPipeline]:
        """The diffusers class; imported only now, as each takes its time."""
        found: type[DiffusionPipeline] = getattr(importlib.import_module("diffusers"), self.name)
        # It would log the part of a prompt that is cut off, and prompts are private.
        logging.getLogger(found.__module__).setLevel(logging.ERROR)
        return found

    @property
    def weighted(self) -> tuple[str, ...]:
        """Components with a file of weights."""
        return tuple(name for name in self.components if not name.startswith(("tokenizer", "scheduler")))

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Components that read text."""
        return tuple(name for name in self.components if name.startswith("text_encoder"))

    @property
    def required_files(self) -> tuple[tuple[str, ...], ...]:
        """What must be in the folder besides weights; a row of several names needs one of them."""
        tokenizers = [name for name in self.components if name.startswith("tokenizer")]
        return (
            ("model_index.json",),
            (SCHEDULER_SETTINGS,),
            *((f"{name}/config.json",) for name in self.weighted),
            *(row for name in tokenizers for row in self.tokenizer_files(name)),
        )

    def tokenizer_files(self, folder: str) -> Iterable[tuple[str, ...]]:
        """As ``required_files``, for one tokenizer."""
        return (
            (f"{folder}/vocab.json", f"{folder}/tokenizer.json"),
            (f"{folder}/merges.txt", f"{folder}/tokenizer.json"),
        )

    @abstractmethod
    def embed(
        self, pipeline: DiffusionPipeline, text: str, device: torch.device, *, is_negative: bool
    ) -> TextCondition:
        """Read one text.

        Args:
            pipeline: of this family.
            text: cut at the limit of the tokenizer.
            is_negative: whether it is the negative prompt.
        Returns:
            With B = 1.
        """

    @abstractmethod
    def predict(self, pipeline: DiffusionPipeline, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Run the denoising network once.

        Args:
            pipeline: of this family.
            sample: [B, C, h, w] in the network's number format, as the scheduler scaled it.
            timestep: scalar, of the scheduler.
            text: in the network's number format, for each row of the sample.
        Returns:
            [B, C, h, w] float32, what the scheduler takes.
        """

    @torch.inference_mode()
    def run_empty_step(self, pipeline: DiffusionPipeline, num_images: int = 1) -> Tensor:
        """Run the denoising network once on zeros, in the shape of guided images.

        Args:
            pipeline: of this family.
            num_images: the batch is twice as large.
        Returns:
            [2 * num_images, C, h, w] float32.
        """
        network = getattr(pipeline, self.network)
        parameter, side = next(network.parameters()), network.config.sample_size
        text = self.embed(pipeline, "", parameter.device, is_negative=False)
        texts = TextCondition.joined([text] * (2 * num_images), torch.cat).to(parameter.dtype)
        sample = parameter.new_zeros(2 * num_images, network.config.in_channels, side, side)
        return self.predict(pipeline, sample, torch.tensor(500, device=parameter.device), texts)

    def unscale(self, latents: Tensor, config: FrozenDict) -> Tensor:
        """Latents as the autoencoder knows them.

        Args:
            latents: [B, C, h, w] float32, as the network knows them.
            config: of the autoencoder.
        """
        unscaled: Tensor = latents / config.scaling_factor
        return unscaled

    def scale(self, latents: Tensor, config: FrozenDict) -> Tensor:
        """Latents as the network knows them: the way back of `unscale`.

        Args:
            latents: [B, C, h, w] float32, as the autoencoder knows them.
            config: of the autoencoder.
        """
        scaled: Tensor = latents * config.scaling_factor
        return scaled
