"""The parts of a full-size model, loaded one after the other so that they need not fit into memory together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, DDPMScheduler, SchedulerMixin, UNet2DConditionModel, UniPCMultistepScheduler
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cxr.models.families.weight_files import weight_file
from cxr.models.model_folder import no_progress_bars
from cxr.request.errors import ModelError
from cxr.train.full_lora.base_model import BaseModel

UNET_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")  # the attention layers, as diffusers' own scripts have it
NEVER_SHOWN = 1e-6  # share of signal below which an image cannot be seen in the noise

Part = TypeVar("Part")
Network = TypeVar("Network", bound=nn.Module)


def load_vae(base: BaseModel, device: torch.device) -> AutoencoderKL:
    """The autoencoder in float32, as that of SDXL overflows in float16."""
    return _load(AutoencoderKL, base, "vae", torch.float32).to(device)


def load_unet(base: BaseModel, dtype: torch.dtype, device: torch.device) -> UNet2DConditionModel:
    """The UNet with all weights frozen."""
    return _load(UNet2DConditionModel, base, "unet", dtype).to(device)


def training_schedule(base: BaseModel) -> DDPMScheduler:
    """The noise schedule that the model was trained with."""
    return DDPMScheduler.from_pretrained(base.folder, subfolder="scheduler")


def ends_in_pure_noise(schedule: DDPMScheduler) -> bool:
    """Whether nothing of the image is left at the last timestep (Lin et al., WACV 2024)."""
    return float(schedule.alphas_cumprod[-1]) < NEVER_SHOWN


def sampling_scheduler(base: BaseModel) -> SchedulerMixin:
    """UniPC on the model's own noise schedule, which needs few steps."""
    settings = json.loads((base.folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return UniPCMultistepScheduler.from_config(settings | {"steps_offset": 1})


class TextEncoders:
    """One text encoder, or the two of SDXL, as their pipeline uses them.

    Args:
        base: whose text encoders.
        device: where they run; in float32.
    """

    def __init__(self, base: BaseModel, device: torch.device) -> None:
        self.base, self.device = base, device
        kinds: dict[str, type[nn.Module]] = {"": CLIPTextModel} | (
            {"_2": CLIPTextModelWithProjection} if base.is_xl else {}
        )
        self.tokenizers = [_load_component(CLIPTokenizer, base, f"tokenizer{suffix}") for suffix in kinds]
        self.encoders = [
            _load(kind, base, f"text_encoder{suffix}", torch.float32).to(device).eval()
            for suffix, kind in kinds.items()
        ]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Embed texts, cut at the token limit; an empty text is what the pipeline takes when there is no prompt.

        Returns:
            "text" [B, tokens, width], and for SDXL "pooled" [B, width]; float32 on the CPU.
        """
        outputs = []
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            how = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
            tokens = tokenizer(list(texts), return_tensors="pt", **how).input_ids.to(self.device)
            outputs.append(encoder(tokens, output_hidden_states=self.base.is_xl))
        if not self.base.is_xl:
            return {"text": outputs[0][0].cpu()}
        text = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        pooled = outputs[1].text_embeds
        index = json.loads((self.base.folder / "model_index.json").read_text(encoding="utf-8"))
        if index.get("force_zeros_for_empty_prompt", True):
            filled = torch.tensor([bool(words) for words in texts], device=text.device)
            text, pooled = text * filled[:, None, None], pooled * filled[:, None]
        return {"text": text.cpu(), "pooled": pooled.cpu()}

    def count_cut(self, texts: Sequence[str]) -> int:
        """How many texts are longer than the token limit."""
        tokenizer = self.tokenizers[0]
        limit = tokenizer.model_max_length
        return sum(len(tokenizer(text, verbose=False).input_ids) > limit for text in texts)


def _load(kind: type[Network], base: BaseModel, part: str, dtype: torch.dtype) -> Network:
    """A network with its weights frozen."""
    # Many models on the Hub keep a float16 copy beside the full weights; some keep nothing else.
    names = {f"{part}/{path.name}" for path in (base.folder / part).iterdir()}
    halves_only = not weight_file(part, names, None) and weight_file(part, names, "fp16")
    options = {"variant": "fp16"} if halves_only else {}
    return _load_component(kind, base, part, dtype=dtype, use_safetensors=True, **options).requires_grad_(False)


def _load_component(kind: type[Part], base: BaseModel, part: str, **options: object) -> Part:
    reader: Any = kind
    try:
        with no_progress_bars():
            found: Part = reader.from_pretrained(base.folder / part, local_files_only=True, **options)
            return found
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"model {base.name!r} cannot be read: its {part} is missing or damaged") from error
