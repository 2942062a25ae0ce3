"""PixArt-Sigma and Sana: a transformer that reads a large language model."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family
from cxr.models.families.text_condition import TextCondition

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin


class DiffusionTransformer(Family):
    """What the two have in common.

    Attributes:
        sentencepiece: file of the tokenizer, in place of tokenizer.json.
    """

    network = "transformer"
    overflows_in_float16 = True
    cuda_text_dtype = torch.bfloat16  # T5-XXL would need 19 GB in float32; it and Gemma 2 overflow in float16
    max_tokens = 300  # of the pipelines' own call
    sentencepiece: ClassVar[str]

    def tokenizer_files(self, folder: str) -> tuple[tuple[str, ...], ...]:
        """As ``Family.required_files``, for one tokenizer."""
        return ((f"{folder}/tokenizer.json", f"{folder}/{self.sentencepiece}"),)

    def embed(
        self, pipeline: DiffusionPipeline, text: str, device: torch.device, *, is_negative: bool
    ) -> TextCondition:
        """Read one text as ``Family.embed`` says."""
        options = self.text_options(pipeline, is_negative=is_negative)
        embeddings, mask, *_ = pipeline.encode_prompt(text, do_classifier_free_guidance=False, device=device, **options)
        return TextCondition(embeddings, mask=mask)

    def predict(self, pipeline: DiffusionPipeline, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """Run the transformer once, as ``Family.predict`` says; a variance that it predicts beside is not used."""
        output: Tensor = pipeline.transformer(
            sample,
            encoder_hidden_states=text.embeddings,
            encoder_attention_mask=text.mask,
            return_dict=False,
            **self.step_options(pipeline.transformer, timestep.expand(len(sample))),
        )[0].float()
        return output.chunk(2, dim=1)[0] if output.shape[1] == 2 * sample.shape[1] else output

    def text_options(self, pipeline: DiffusionPipeline, *, is_negative: bool) -> dict[str, object]:
        """What the pipeline wants to know beside a text."""
        return {}

    def step_options(self, transformer: ModelMixin, timesteps: Tensor) -> dict[str, object]:
        """The time of a step, [B], as the transformer takes it."""
        return {"timestep": timesteps}


class PixArtSigma(DiffusionTransformer):
    """``PixArtSigmaPipeline``: reads T5."""

    name = "PixArtSigmaPipeline"
    components: ClassVar = {
        "transformer": ("PixArtTransformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": ("T5Tokenizer", "T5TokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    sentencepiece = "spiece.model"

    def step_options(self, transformer: ModelMixin, timesteps: Tensor) -> dict[str, object]:
        """The time of a step, and no size of the image: models of one size take none."""
        return {"timestep": timesteps, "added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}


class Sana(DiffusionTransformer):
    """``SanaPipeline``: reads Gemma 2, with an autoencoder that shrinks 32 times."""

    name = "SanaPipeline"
    components: ClassVar = {
        "transformer": ("SanaTransformer2DModel",),
        "vae": ("AutoencoderDC",),
        "text_encoder": ("Gemma2Model",),
        "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    sentencepiece = "tokenizer.model"

    def text_options(self, pipeline: DiffusionPipeline, *, is_negative: bool) -> dict[str, object]:
        """The instruction before a text: the pipeline's own default, which the model was trained to read."""
        parameter = inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"]
        return {"complex_human_instruction": None if is_negative else parameter.default}

    def step_options(self, transformer: ModelMixin, timesteps: Tensor) -> dict[str, object]:
        """The time of a step, scaled as the model wants it."""
        return {"timestep": timesteps * transformer.config.timestep_scale}
