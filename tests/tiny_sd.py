"""Tiny full-size models: folders of the classes that Stable Diffusion 1.x, 2.x and XL have, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import TINY_SIZE, save_tiny_tokenizer
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cxr.cli import main

WIDTH = 16  # of each text encoder
# At a share of 0.4 one of these five patients is held out.
ROWS = [("Effusion", "54", "M", "PA", str(number)) for number in range(5)]
FAST = ("--rank", "4", "--lora-alpha", "12", "--warmup-steps", "1", "--validation-images", "0", "--judging-share", "0")


def save_tiny(folder: Path, *, prediction_type: str = "epsilon", xl: bool = False) -> Path:
    """Write a model with 32 x 32 images and always the same weights; returns the folder."""
    save_tiny_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts: dict[str, Any] = {
            "vae": _vae(),
            "unet": _unet(xl),
            "tokenizer": tokenizer,
            "scheduler": _scheduler(prediction_type),
            "text_encoder": CLIPTextModel(_text_config(tokenizer)),
        }
        if xl:
            parts["text_encoder_2"] = CLIPTextModelWithProjection(_text_config(tokenizer))
            pipeline: Any = StableDiffusionXLPipeline(**parts, tokenizer_2=tokenizer)
        else:
            left_out = {"safety_checker": None, "feature_extractor": None}
            pipeline = StableDiffusionPipeline(**parts, **left_out, requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    return folder


def train(model: Path, data: Path, out: Path, *options: str) -> int:
    """Run the command with few and quick settings; returns its exit code."""
    command = ["train", "lora", "--model", str(model), "--data", str(data), "--out", str(out)]
    return main([*command, *FAST, "--validation-share", "0.4", *options])


def _unet(xl: bool) -> UNet2DConditionModel:
    extra: dict[str, Any] = {}
    if xl:
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + WIDTH,
        }
    return UNet2DConditionModel(
        sample_size=TINY_SIZE // 8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH * (2 if xl else 1),
        attention_head_dim=4,
        norm_num_groups=4,
        **extra,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=TINY_SIZE,
        scaling_factor=2.0,
    )


def _scheduler(prediction_type: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
        rescale_betas_zero_snr=prediction_type == "v_prediction",
    )


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
