"""Sana: a linear transformer that reads Gemma 2, and an autoencoder that shrinks 32 times."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family, TextCondition, without_learned_variance


class Sana(Family):
    """``SanaPipeline``."""

    name = "SanaPipeline"
    components: ClassVar = {
        "transformer": ("SanaTransformer2DModel",),
        "vae": ("AutoencoderDC",),
        "text_encoder": ("Gemma2Model",),
        "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    network = "transformer"
    overflows_in_float16 = True
    cuda_text_dtype = torch.bfloat16  # Gemma 2 overflows in float16
    max_tokens = 300  # of the pipeline's own call

    def tokenizer_files(self, folder: str) -> Iterable[tuple[str, ...]]:
        """See ``Family.tokenizer_files``."""
        return ((f"{folder}/tokenizer.json", f"{folder}/tokenizer.model"),)

    def embed(self, pipeline: Any, text: str, device: torch.device, *, is_negative: bool) -> TextCondition:
        """See ``Family.embed``; a text stands behind the instruction that the model was trained with."""
        instruction = None if is_negative else _instruction(pipeline)
        embeddings, mask, _, _ = pipeline.encode_prompt(
            text, do_classifier_free_guidance=False, device=device, complex_human_instruction=instruction
        )
        return TextCondition(embeddings, mask=mask)

    def predict(self, pipeline: Any, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """See ``Family.predict``."""
        transformer = pipeline.transformer
        output: Tensor = transformer(
            sample,
            encoder_hidden_states=text.embeddings,
            encoder_attention_mask=text.mask,
            timestep=timestep.expand(len(sample)) * transformer.config.timestep_scale,
            return_dict=False,
        )[0].float()
        return without_learned_variance(output, sample.shape[1])


def _instruction(pipeline: Any) -> list[str]:
    """The pipeline's own default, which is part of what the model was trained to read."""
    instruction: list[str] = inspect.signature(type(pipeline).__call__).parameters["complex_human_instruction"].default
    return instruction
