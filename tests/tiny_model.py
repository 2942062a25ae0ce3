"""The model and the LoRA of most tests: random components of the very classes that ship, of 32 x 32 pixels."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cxr.generate.images import generate
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.train.architecture import build_scheduler

if TYPE_CHECKING:
    from cxr.generate.loaded_model import LoadedModel

TINY_SIZE = 32  # pixels; latents are 4 x 4
TINY_WORDS = [
    *("a", "an", "the", "with", "of", "and", "no", "man", "woman", "year", "old", "view", "pa", "ap", "frontal"),
    *("lateral", "chest", "x", "ray", "xray", "normal", "pneumonia", "effusion", "cardiomegaly", "emphysema"),
    *("nodule", "mass", "infiltration", "atelectasis", "55", "60"),
]
TINY_RANK, TINY_ALPHA = 4, 12.0  # unequal on purpose: an alpha that gets lost then changes the picture


def _split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    while len(pieces) > 1:
        pairs = list(pairwise(pieces))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        pieces[at : at + 2] = ["".join(best)]
    return pieces


def save_tiny_tokenizer(folder: Path) -> None:
    """Write vocab.json and merges.txt of a CLIP tokenizer to which each of TINY_WORDS is one token."""
    # GPT-2's table of printable stand-ins for the 256 byte values.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + extra) for extra in range(256 - len(printable))]
    vocabulary = letters + [letter + "</w>" for letter in letters]
    ranks: dict[tuple[str, str], int] = {}
    for word in TINY_WORDS:
        pieces = _split(word, ranks)
        while len(pieces) > 1:
            ranks[(pieces[0], pieces[1])] = len(ranks)
            pieces[:2] = [pieces[0] + pieces[1]]
            vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    table = {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}
    (folder / "vocab.json").write_text(json.dumps(table))
    merges = "\n".join(" ".join(pair) for pair in ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def build_tiny_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Random weights, always the same ones; the classes and the scheduler settings of the shipped model."""
    save_tiny_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=TINY_SIZE // 8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            sample_size=TINY_SIZE,
            scaling_factor=0.5,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, build_scheduler(), None, None, requires_safety_checker=False
    )


LORA_TARGETS = {"unet": ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "v_proj"]}


def write_lora(
    pipeline: StableDiffusionPipeline,
    folder: Path,
    *,
    rank: int,
    alpha: float,
    metadata: bool = True,
    parts: tuple[str, ...] = ("unet", "text_encoder"),
) -> Path:
    """Write a LoRA with non-zero weights for parts of the pipeline, which is left without one; returns the file."""
    saved: dict[str, Any] = {}
    noise = torch.Generator().manual_seed(1)
    for part in parts:
        component = getattr(pipeline, part)
        targets = LORA_TARGETS[part]
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)  # type: ignore[arg-type]  # any number
        component.add_adapter(config, "default")
        state = get_peft_model_state_dict(component, adapter_name="default")
        # A fresh LoRA has B = 0 and changes nothing; trained ones do not.
        saved[f"{part}_lora_layers"] = {k: torch.randn(v.shape, generator=noise) * 0.2 for k, v in state.items()}
        saved[f"{part}_lora_adapter_metadata"] = config.to_dict() if metadata else None
    pipeline.unload_lora_weights()
    StableDiffusionPipeline.save_lora_weights(folder, **saved)
    return folder / "pytorch_lora_weights.safetensors"


def images_of(request: GenerationRequest, model: LoadedModel) -> list[GeneratedImage]:
    """The images of a request, without those that failed."""
    return [event for event in generate(request, model) if isinstance(event, GeneratedImage)]


@contextlib.contextmanager
def lora_layers(model: LoadedModel, weight: float, *scales: float) -> Iterator[None]:
    """The LoRAs as diffusers itself runs them, as layers beside the weights, and merged again afterwards.

    Args:
        weight: of all of them together.
        scales: each LoRA's own weight, in their order.
    """
    model.set_adapter_weight(0.0)
    model.pipeline.enable_lora()
    names = sorted({name for names in model.pipeline.get_list_adapters().values() for name in names})
    model.pipeline.set_adapters(names, adapter_weights=[weight * scale for scale in scales])
    try:
        yield
    finally:
        model.set_adapter_weight(weight)
