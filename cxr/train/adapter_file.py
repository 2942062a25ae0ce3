"""A LoRA to train in a UNet, and the file that diffusers and this program read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load

from cxr.lora.find import find_adapter
from cxr.lora.lora_file import read_lora_file
from cxr.request.errors import RequestError
from cxr.request.messages import plural


class OfPatient(Protocol):
    """An image that says whose it is."""

    @property
    def patient_id(self) -> str: ...


def add_lora(unet: UNet2DConditionModel, rank: int, alpha: float, targets: Sequence[str]) -> LoraConfig:
    """Add a LoRA that changes nothing yet, in float32, and freeze nothing; torch's random numbers decide its weights.

    Args:
        unet: without a LoRA.
        rank: its width.
        alpha: its strength, times 1 / rank.
        targets: ends of the names of the layers that get it.
    """
    # peft takes any number for lora_alpha, whatever its annotation says.
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=list(targets),
        init_lora_weights="gaussian",
    )
    unet.add_adapter(config)
    cast_training_params(unet, torch.float32)
    return config


def begin_with(unet: UNet2DConditionModel, config: LoraConfig, source: str) -> None:
    """Let a LoRA that `add_lora` has added begin as an earlier one.

    Args:
        unet: in which nothing but the LoRA is trained.
        config: what the LoRA was made with.
        source: the earlier one, as ``cxr.lora.find.find_adapter`` takes it.
    Raises:
        AdapterError: the earlier one is missing or damaged.
        RequestError: it has other layers, or another rank or alpha.
    """
    file = read_lora_file(find_adapter(source))
    stored = load(file.read_content())
    earlier = {
        f"{name.module}.{name.part.replace('weight', 'default.weight')}": stored[key]
        for key, name in file.names.items()
    }
    weights = {name: weight for name, weight in unet.named_parameters() if weight.requires_grad}
    alphas = {layer.scaled_alpha for layer in file.layers}
    if _shapes(earlier) != _shapes(weights) or alphas != {config.lora_alpha} or file.components != ("unet",):
        raise RequestError(
            f"training cannot begin with the LoRA {source}: it has other layers, or another rank than {config.r} or "
            f"alpha than {config.lora_alpha}; name one that this stage has written"
        )
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(earlier[name])


def save_unet_lora(
    folder: Path,
    unet: UNet2DConditionModel,
    config: LoraConfig,
    pipeline_class: type[DiffusionPipeline],
    facts: dict[str, object],
) -> None:
    """Write ``pytorch_lora_weights.safetensors`` (float16, rank and alpha in its metadata) and ``config.json``.

    Args:
        folder: made if it is missing.
        unet: with the LoRA, whose weights are written as they are now.
        config: what the LoRA was made with.
        pipeline_class: of the model that it is for.
        facts: the content of ``config.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    pipeline_class.save_lora_weights(
        folder,
        unet_lora_layers={name: value.half().cpu() for name, value in layers.items()},
        # Without this metadata a reader takes alpha = rank, which is another picture when it is not.
        unet_lora_adapter_metadata=_plain(config),
    )
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")


def summary_of(records: Sequence[OfPatient]) -> str:
    """How many images of how many patients, in words."""
    patients = len({record.patient_id for record in records})
    return f"{plural(len(records), 'image')} of {plural(patients, 'patient')}"


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _plain(config: LoraConfig) -> dict[str, object]:
    return {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
