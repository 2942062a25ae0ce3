"""README and model cards quote figures of the shipped weights' own report, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cxr.folders.metadata import file_sha256
from cxr.models.model_folder import folder_sha256
from cxr.models.presets import EMBEDDED_FOLDER

ROOT = Path(__file__).resolve().parent.parent
LORA = ROOT / "lora_weights" / "clinical"
REPORT = LORA / "report"
TEXTS = (ROOT / "README.md", LORA / "README.md", EMBEDDED_FOLDER / "README.md")
# A paragraph that speaks of one of these quotes a measurement of the images.
MEASURES = re.compile(r"\b(AUROC|KD|FD|FID|CMMD|PF|NPF|MAE|SSIM|coverage|fidelity|agreement|flagged|TSTR)\b")
FIGURE = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)")
TRAINING = "| stage |"  # the table of training runs has figures of its own, from their logs


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REPORT / "report.json").read_text(encoding="utf-8"))
    return found


def goal_lines() -> list[str]:
    text = (REPORT / "report.md").read_text(encoding="utf-8")
    part = text[text.index("\n## Goals") : text.index("\n## What was measured")]
    return [line for line in part.splitlines() if line.startswith("|")]


def test_the_report_is_that_of_the_shipped_weights(report: dict[str, Any]) -> None:
    assert report["generated"]["model_revision"] == f"sha256:{folder_sha256(EMBEDDED_FOLDER)}"
    assert report["generated"]["adapter_sha256"] == file_sha256(LORA / "pytorch_lora_weights.safetensors")


@pytest.mark.parametrize("path", TEXTS[:2], ids=("README", "card"))
def test_the_goals_stand_in_it_line_by_line(path: Path) -> None:
    lines = goal_lines()
    assert len(lines) > 10
    assert "\n".join(lines) in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TEXTS, ids=("README", "LoRA's card", "base's card"))
def test_other_figures_of_the_images_are_in_the_report_too(path: Path) -> None:
    known = (REPORT / "report.md").read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8").partition("\n## Changes")[0]
    for paragraph in text.split("\n\n"):
        if MEASURES.search(paragraph) and TRAINING not in paragraph and "    python" not in paragraph:
            missing = [figure for figure in FIGURE.findall(paragraph) if figure not in known]
            assert not missing, f"{missing} in: {paragraph}"
