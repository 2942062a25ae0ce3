"""PixArt-Sigma: a transformer that reads T5."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from cxr.models.families.family import SCHEDULERS, Family, TextCondition, without_learned_variance


class PixArtSigma(Family):
    """``PixArtSigmaPipeline``."""

    name = "PixArtSigmaPipeline"
    components: ClassVar = {
        "transformer": ("PixArtTransformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("T5EncoderModel",),
        "tokenizer": ("T5Tokenizer", "T5TokenizerFast"),
        "scheduler": SCHEDULERS,
    }
    network = "transformer"
    overflows_in_float16 = True
    cuda_text_dtype = torch.bfloat16  # T5-XXL would need 19 GB in float32, and overflows in float16
    max_tokens = 300  # of the pipeline's own call

    def tokenizer_files(self, folder: str) -> Iterable[tuple[str, ...]]:
        """See ``Family.tokenizer_files``."""
        return ((f"{folder}/tokenizer.json", f"{folder}/spiece.model"),)

    def embed(self, pipeline: Any, text: str, device: torch.device, *, is_negative: bool) -> TextCondition:
        """See ``Family.embed``; a negative text is read like any other."""
        embeddings, mask, _, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False, device=device)
        return TextCondition(embeddings, mask=mask)

    def predict(self, pipeline: Any, sample: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """See ``Family.predict``."""
        output: Tensor = pipeline.transformer(
            sample,
            encoder_hidden_states=text.embeddings,
            encoder_attention_mask=text.mask,
            timestep=timestep[None].expand(len(sample)),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0].float()
        return without_learned_variance(output, sample.shape[1])
