"""Train the clinical LoRA: the 14 findings, on top of a base that knows none of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

from cxr.data import Radiograph
from cxr.train.base import DiffusionTask, use_fast_attention
from cxr.train.loop import LoopSettings
from cxr.vocabulary import FINDINGS

RANK = 32
LORA_ALPHA = 32
UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
TEXT_ENCODER_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
NORMAL_SHARE = 0.25  # of the training images that show no finding


class LoraTask(DiffusionTask):
    """Low-rank updates of attention and text encoder; every weight of the base stays as it is."""

    findings = True

    def __init__(
        self,
        training: Sequence[Radiograph],
        validation: Sequence[Radiograph],
        settings: LoopSettings,
        device: torch.device,
        *,
        model_dir: Path,
    ) -> None:
        pipeline = StableDiffusionPipeline.from_pretrained(
            model_dir / "model", safety_checker=None, local_files_only=True, dtype=torch.float32
        )
        super().__init__(training, validation, settings, device, pipeline.vae)
        torch.manual_seed(settings.seed)  # initial weights only
        self.tokenizer = pipeline.tokenizer
        unet = pipeline.unet.to(device).requires_grad_(False)
        text_encoder = pipeline.text_encoder.to(device).requires_grad_(False)
        use_fast_attention(unet, device)
        self.unet_config = _config(UNET_TARGETS)
        self.text_encoder_config = _config(TEXT_ENCODER_TARGETS)
        unet.add_adapter(self.unet_config)
        text_encoder.add_adapter(self.text_encoder_config)
        self.unet, self.text_encoder = unet, text_encoder
        self.trained = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})
        self.groups = _groups(self.records)

    def pick(self, generator: torch.Generator, count: int) -> list[int]:
        """A quarter normal; for the rest first a finding, by the square root of its count, then an image with it."""
        names = [name for name in FINDINGS if self.groups[name]]
        weights = torch.tensor([len(self.groups[name]) ** 0.5 for name in names])
        indices = []
        for _ in range(count):
            group = self.groups[""]
            if not group or float(torch.rand((), generator=generator)) >= NORMAL_SHARE:
                group = self.groups[names[int(torch.multinomial(weights, 1, generator=generator))]]
            indices.append(group[int(torch.randint(len(group), (), generator=generator))])
        return indices

    def export(self, out_dir: Path) -> None:
        """Write the LoRA in diffusers' format, with rank and alpha of both parts in its metadata."""
        folder = out_dir / "adapter"
        folder.mkdir(parents=True, exist_ok=True)
        unet_layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.unet))
        text_layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.text_encoder))
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers={name: value.half().cpu() for name, value in unet_layers.items()},
            text_encoder_lora_layers={name: value.half().cpu() for name, value in text_layers.items()},
            # Without this metadata a reader takes alpha = rank, which is another picture when it is not.
            unet_lora_adapter_metadata=_plain(self.unet_config),
            text_encoder_lora_adapter_metadata=_plain(self.text_encoder_config),
        )
        facts = {
            "name": "clinical",
            "base_model": "embedded",
            "license": "apache-2.0",
            "rank": RANK,
            "lora_alpha": LORA_ALPHA,
            "unet_target_modules": list(UNET_TARGETS),
            "text_encoder_target_modules": list(TEXT_ENCODER_TARGETS),
            "findings": list(FINDINGS),
        }
        (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")


def _config(targets: Sequence[str]) -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=LORA_ALPHA, target_modules=list(targets), init_lora_weights="gaussian")


def _plain(config: LoraConfig) -> dict[str, object]:
    return {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}


def _groups(records: Sequence[Radiograph]) -> dict[str, list[int]]:
    """Finding -> indices of the records that show it; "" -> those known to show none."""
    groups: dict[str, list[int]] = {name: [] for name in ("", *FINDINGS)}
    for index, record in enumerate(records):
        for name in record.findings or (("",) if record.findings == () else ()):
            groups[name].append(index)
    return groups
