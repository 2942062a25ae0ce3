"""What a trained LoRA says about itself: ``config.json`` for programs, and a model card that the Hub shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from huggingface_hub import ModelCardData

from cxr.request.notices import SYNTHETIC_NOTICE
from cxr.train.checkpoint import TrainingProgress
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.components import UNET_TARGETS
from cxr.train.full_lora.data import TrainingData
from cxr.train.full_lora.training_settings import FullLoraSettings
from cxr.train.training_log import LOG

CARD = "README.md"
LICENSE_ID = re.compile(r"[a-z0-9.+-]+", re.ASCII)
ERRORS = (
    "Mean squared error on held-out patients, at fixed noise and noise levels; step 0 is the base "
    "alone. It says whether the LoRA fits such images, not whether they are right."
)
LIMITS = (
    "## What it is not for\n\nNot for diagnosis, and not for data sets that are passed off as real. Whether its "
    "images show what a prompt asks for has not been measured, and it has not been searched for copies of its "
    "training images: do both before you publish it or train on its images. Fine-tuned on few patients, such "
    "models are known to reproduce them (arXiv 2402.01054)."
)
TAGS = ["text-to-image", "diffusers", "lora", "template:sd-lora", "chest-xray", "synthetic"]


def license_of(base: BaseModel, settings: FullLoraSettings) -> str:
    """The licence that the user named, else that of the base model where it is one id; "unknown" is the Hub's word."""
    named = (settings.license or base.license).lower()
    return named if LICENSE_ID.fullmatch(named) else "unknown"


def training_data_of(data: TrainingData, settings: FullLoraSettings) -> str:
    """How many images of how many patients, and where they come from if the user said it."""
    return data.summary + (f"; {settings.training_data}" if settings.training_data else "")


def config_facts(out_dir: Path, base: BaseModel, data: TrainingData, settings: FullLoraSettings) -> dict[str, object]:
    """The content of ``config.json``."""
    return {
        "name": out_dir.resolve().name,
        "base_model": base.name,
        "license": license_of(base, settings),
        "rank": settings.rank,
        "lora_alpha": settings.alpha,
        "unet_target_modules": list(UNET_TARGETS),
        "resolution": settings.resolution or base.resolution,
        "training_data": training_data_of(data, settings),
    }


def write_card(
    out_dir: Path, base: BaseModel, data: TrainingData, settings: FullLoraSettings, progress: TrainingProgress
) -> None:
    """Write ``adapter/README.md``.

    No caption of the training data is in it: captions may be patients' reports.

    Args:
        out_dir: of the run, with its log and ``adapter/``.
        base: what the LoRA is for.
        data: what it has learnt from.
        settings: of the run.
        progress: how far it has come.
    """
    images = settings.validation_prompts if settings.validation_images else ()
    front = ModelCardData(
        base_model=base.name,
        library_name="diffusers",
        license=license_of(base, settings),
        pipeline_tag="text-to-image",
        tags=TAGS,
        instance_prompt=next(iter(settings.validation_prompts), None),
        widget=[{"text": text, "output": {"url": f"images/{k}.png"}} for k, text in enumerate(images)] or None,
    )
    parts = [
        f"---\n{front.to_yaml()}\n---",
        f"# {out_dir.resolve().name}: a LoRA for {base.name}",
        f"Trained on chest radiographs with CXR Studio. {SYNTHETIC_NOTICE}",
        *(["<Gallery />"] if images else []),
        "## Training",
        _table(("", ""), _training(data, settings, base, progress)),
        "## Validation",
        *_figures(out_dir / LOG, progress.step),
        LIMITS,
    ]
    (out_dir / "adapter" / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _training(
    data: TrainingData, settings: FullLoraSettings, base: BaseModel, progress: TrainingProgress
) -> dict[str, str]:
    captions = "the data's own" if data.own_captions else "written from the labels"
    batch = progress.samples // max(1, progress.step)
    return {
        "training data": training_data_of(data, settings),
        "captions": f"{captions}; {settings.caption_dropout:.0%} of them left empty",
        "base model": f"{base.name}, {base.pipeline}, prediction of {base.prediction_type.removesuffix('_prediction')}",
        "rank and alpha": f"{settings.rank} and {settings.alpha:g} (stored in the file), attention layers of the UNet",
        "steps": f"{progress.step:,} of {settings.steps:,}, {batch} images each; {progress.elapsed_s / 3600:.2f} h",
        "resolution": f"{settings.resolution or base.resolution} pixels, black beside, never mirrored",
        "learning rate": f"{settings.learning_rate:g}, {settings.warmup_steps} steps of warm-up, AdamW",
        "seed": str(settings.seed),
    }


def _figures(log: Path, last_step: int) -> list[str]:
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else ()
    found = [row for row in map(json.loads, lines) if "validation_loss" in row and row["step"] <= last_step]
    if not found:
        return ["No patient was held out, so nothing was measured."]
    return [ERRORS, _table(("step", "error"), {f"{row['step']:,}": f"{row['validation_loss']:.4f}" for row in found})]


def _table(head: tuple[str, str], rows: dict[str, str]) -> str:
    lines = [head, ("---", "---"), *rows.items()]
    return "\n".join(f"| {left} | {right.replace('|', '/')} |" for left, right in lines)
