"""The small networks of the embedded model, each in one readable list.

Sizes are for a laptop: 256x256 grey images, latents 16x16x16, about 30 M parameters in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UniPCMultistepScheduler
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cxr.labels.captions import known_words
from cxr.request.errors import DataError

RESOLUTION = 256
LATENT_CHANNELS = 16
LATENT_SIZE = 16  # the autoencoder shrinks each side by 16
TEXT_TOKENS = 77
TEXT_WIDTH = 256

Part = TypeVar("Part")


def build_autoencoder() -> AutoencoderKL:
    """[B, 1, 256, 256] in [-1, 1] <-> latents [B, 16, 16, 16].

    No attention in the middle: it is trained on crops and used on whole images. The norms have two wide
    groups: with groups of two channels the last one would take the brightness out of the image.
    """
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        block_out_channels=(16, 32, 64, 128, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        mid_block_add_attention=False,
        sample_size=RESOLUTION,
        force_upcast=False,
    )
    _begin_linear(vae)
    return vae


@torch.no_grad()
def _begin_linear(vae: AutoencoderKL) -> None:
    """Let the decoder begin as a chain of plain convolutions, which learns twice as fast as the usual beginning.

    The latents hold a small image already, so that most of the way to the large one is linear.
    """
    decoder = vae.decoder
    for name, module in decoder.named_modules():
        if name.endswith("conv2"):  # the end of each residual branch: silent at first
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif name.endswith(("upsamplers.0.conv", "conv_shortcut")) or name == "conv_in":
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    # A few constant channels in each group of the last norm, against which brightness can be measured.
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    for channel, value in ((6, 3.0), (7, -3.0), (14, 3.0), (15, -3.0)):
        nn.init.zeros_(last.weight[channel])
        nn.init.constant_(last.bias[channel], value)


def build_unet() -> UNet2DConditionModel:
    """Noise and text -> velocity, on latents [B, 16, 16, 16]; attention at every size."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(128, 192, 256),
        layers_per_block=1,
        attention_head_dim=(2, 3, 4),  # diffusers reads this as the number of heads: 64 channels a head
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=32,
    )


def build_tokenizer(words: Sequence[str] | None = None) -> CLIPTokenizer:
    """A CLIP tokenizer in which each given word is one token, and any other text falls apart into letters.

    So a word is known to the model exactly when it is a single token.

    Args:
        words: lower-case words; by default those of the captions.
    """
    # CLIP's vocabulary: each byte as a letter, each byte as the last letter of a word, merges, special tokens.
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in known_words() if words is None else words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            # Joining from the right makes pieces ("ray</w>") that are whole words only by chance.
            pair = (parts[-2], parts[-1])
            joined = "".join(pair)
            if joined not in tokens:
                tokens.append(joined)
            if pair not in merges:
                merges.append(pair)
            parts[-2:] = [joined]
    vocabulary = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    # Its annotation of merges is that of a file; it hands the pairs on to the tokenizer as they are.
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_TOKENS)  # type: ignore[arg-type]


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Token ids [B, 77] -> embeddings [B, 77, 256]."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_TOKENS,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> UniPCMultistepScheduler:
    """v-prediction down to zero signal at the last timestep (Lin et al., WACV 2024), 8 trailing steps by default."""
    return UniPCMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        solver_order=2,
        steps_offset=1,  # unused by trailing spacing; StableDiffusionPipeline warns about any other value
    )


def read_component(kind: type[Part], folder: Path) -> Part:
    """A trained network, in float32, or a tokenizer.

    Args:
        kind: its class.
        folder: its own, in the folder of what an earlier stage wrote.
    Raises:
        DataError: it is missing or unreadable.
    """
    if not folder.is_dir():  # libraries would take its path for a name on the Hub, and ask there
        raise DataError(f"the {folder.name} in {folder.parent} is missing; name a folder that an earlier stage wrote")
    reader: Any = kind
    options = {"dtype": torch.float32} if issubclass(kind, nn.Module) else {}
    try:
        part: Part = reader.from_pretrained(folder, **options)
    except (OSError, ValueError) as error:
        raise DataError(f"the {folder.name} in {folder.parent} cannot be read: {error}") from error
    return part


def read_unet(model: Path) -> UNet2DConditionModel:
    """A trained UNet of this architecture, of any width and depth.

    Args:
        model: the folder of an exported model.
    Raises:
        DataError: it is missing or unreadable, or is for other latents or another text encoder.
    """
    unet = read_component(UNet2DConditionModel, model / "unet")
    found, wanted = (unet.config.in_channels, unet.config.cross_attention_dim), (LATENT_CHANNELS, TEXT_WIDTH)
    if found != wanted:
        raise DataError(
            f"the unet in {model} takes {found[0]} channels and texts of width {found[1]}, not {wanted[0]} and "
            f"{wanted[1]}; name a model that the base stage wrote"
        )
    return unet
