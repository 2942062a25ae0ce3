"""The names that LoRA files give their tensors, brought to one scheme without looking at a model.

Schemes: peft and today's diffusers (``unet.….to_q.lora_A.weight``), older diffusers (``.lora_linear_layer.down.``,
``.lora.down.``, attention processors' ``….processor.to_q_lora.down.weight``), and kohya's
(``lora_unet_…_to_q.lora_down.weight``, for SDXL also with the block numbers of Stability's own code).

The converters of diffusers do not serve: they need the whole file as tensors and the model's settings, so that no LoRA
could be described without loading torch, and drop or misname what they do not expect without saying so.
"""

from __future__ import annotations

import re
from typing import NamedTuple

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "transformer")
LORA_A, LORA_B, ALPHA = "lora_A.weight", "lora_B.weight", "alpha"
MAX_NAME_CHARACTERS = 300
MAX_RANK = 256  # of a layer

# The end of a name -> which of a layer's tensors it is. Attention processors join module and matrix with "_".
_ENDS = {
    **dict.fromkeys((".lora_A.weight", ".lora_linear_layer.down.weight"), LORA_A),
    **dict.fromkeys((".lora.down.weight", ".lora_down.weight", "_lora.down.weight"), LORA_A),
    **dict.fromkeys((".lora_B.weight", ".lora_linear_layer.up.weight"), LORA_B),
    **dict.fromkeys((".lora.up.weight", ".lora_up.weight", "_lora.up.weight"), LORA_B),
    **dict.fromkeys(("_lora.alpha", ".alpha"), ALPHA),
}
_PEFT_NAME = re.compile(r"(\.lora_[AB])\.\w+(\.weight)$", re.ASCII)  # peft may write its name for the adapter, too
# What training wrapped around a network: peft, torch.compile, data parallelism, Stability's own class.
_WRAPPERS = re.compile(r"(base_model\.model|_orig_mod|module|(model\.)?diffusion_model)\.")
_KOHYA_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_transformer_": "transformer",
}
# Files of a single network name no component, and kohya calls every network that denoises a UNet.
_FIRST_WORDS = {
    **dict.fromkeys(("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding"), "unet"),
    **dict.fromkeys(("input_blocks", "middle_block", "output_blocks", "add_embedding", "label_emb"), "unet"),
    **dict.fromkeys(("text_model", "encoder"), "text_encoder"),
    **dict.fromkeys(("transformer_blocks", "patch_embed", "caption_projection"), "transformer"),
}
# kohya writes "_" for ".", so that only a list of the words that hold one tells the two apart.
_WORDS = (
    *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "patch_embed", "caption_projection"),
    *("to_q", "to_k", "to_v", "to_out", "to_add_out", "add_q_proj", "add_k_proj", "add_v_proj", "ff_context"),
    *("proj_in", "proj_out", "proj_mlp", "conv_inverted", "conv_depth", "conv_point", "timestep_embedder"),
    *("time_embedding", "add_embedding", "linear_1", "linear_2", "time_emb_proj", "time_embed", "label_emb"),
    *("conv_in", "conv_out", "conv_shortcut", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
    *("text_projection", "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers"),
    "skip_connection",
)
_KOHYA_WORD = re.compile("|".join([*sorted(_WORDS, key=len, reverse=True), "[a-z]+[0-9]*", "[0-9]+"]))
_PATH = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PROCESSOR_NAMES = {
    "unet": {"to_out": "to_out.0"},
    "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}
_RESNET_NAMES = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_STABILITY_ENDS = {
    "input_blocks.0.0": "conv_in",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
_STABILITY_BLOCK = re.compile(r"(input|output)_blocks\.(\d{1,2})\.(\d)\.(.+)")
_STABILITY_MIDDLE = re.compile(r"middle_block\.([012])\.(.+)")


class LoraName(NamedTuple):
    """What a tensor's name says: ``part`` is `LORA_A`, `LORA_B` or `ALPHA` of one module of one network."""

    component: str
    module: str
    part: str


def parse_name(name: str) -> LoraName | None:
    """Read a tensor's name in any of the schemes; None when it is in none of them.

    Args:
        name: as it stands in the file, of any length and any characters.
    """
    if len(name) > MAX_NAME_CHARACTERS or not _PATH.fullmatch(name):
        return None
    name = _PEFT_NAME.sub(r"\1\2", name)
    end = next((end for end in _ENDS if name.endswith(end)), None)
    if end is None:
        return None
    component, module = _split_component(name.removesuffix(end))
    if component is None or module is None:
        return None
    module = module.replace(".processor.", ".")
    if end.startswith("_"):
        *parents, last = module.split(".")
        last = _PROCESSOR_NAMES.get(component.removesuffix("_2"), {}).get(last, last)
        module = ".".join([*parents, last])
    return LoraName(component, module, _ENDS[end]) if _PATH.fullmatch(module) else None


def _split_component(path: str) -> tuple[str | None, str | None]:
    """The network that a path leads into, and the module's path inside."""
    component: str | None = None
    for prefix, kohya in _KOHYA_PREFIXES.items():
        if path.startswith(prefix):
            component, path = kohya, _kohya_module(path.removeprefix(prefix)) or ""
            if _FIRST_WORDS.get(path.partition(".")[0]) == "transformer":
                component = "transformer"
    path = _unwrapped(path)
    if component is None:
        first, _, rest = path.partition(".")
        component, path = (first, _unwrapped(rest)) if first in COMPONENTS else (_FIRST_WORDS.get(first), path)
    return component, (_diffusers_module(path) if component == "unet" else path) or None


def _unwrapped(path: str) -> str:
    while match := _WRAPPERS.match(path):
        path = path[match.end() :]
    return path.replace("._orig_mod.", ".")  # a part of a network may have been compiled, too


def _kohya_module(flat: str) -> str | None:
    """``mid_block_attentions_0`` -> ``mid_block.attentions.0``."""
    words, position = [], 0
    while match := _KOHYA_WORD.match(flat, position):
        words.append(match[0])
        position = match.end()
        if position == len(flat):
            return ".".join(words)
        if flat[position] != "_":
            return None
        position += 1
    return None


def _diffusers_module(module: str) -> str:
    """Stability's numbering of the SDXL UNet in diffusers' words; other names stay as they are.

    The UNet has three levels of two (down) and three (up) layers each. An input block is a layer or a downsampler, an
    output block a layer, the last one of a level with its upsampler.
    """
    if match := _STABILITY_MIDDLE.fullmatch(module):
        place = ("resnets.0", "attentions.0", "resnets.1")[int(match[1])]
        return f"mid_block.{place}.{_RESNET_NAMES.get(match[2], match[2])}"
    match = _STABILITY_BLOCK.fullmatch(module)
    if match is None or module in _STABILITY_ENDS:
        return _STABILITY_ENDS.get(module, module)
    side, number, part, rest = match[1], int(match[2]), match[3], match[4]
    down = side == "input"
    level, layer = divmod(number - 1 if down else number, 3)
    if down and rest == "op":
        return f"down_blocks.{level}.downsamplers.0.conv"
    if not down and rest == "conv":
        return f"up_blocks.{level}.upsamplers.0.conv"
    kind = "resnets" if part == "0" else "attentions"
    return f"{'down' if down else 'up'}_blocks.{level}.{kind}.{layer}.{_RESNET_NAMES.get(rest, rest)}"
