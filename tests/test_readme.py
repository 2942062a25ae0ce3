"""README, docs and model cards quote figures of the shipped weights' own report, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cxr.folders.metadata import file_sha256
from cxr.models.model_folder import folder_sha256
from cxr.models.preset_table import EMBEDDED_FOLDER

ROOT = Path(__file__).resolve().parent.parent
LORA = ROOT / "lora_weights" / "clinical"
REPORT = LORA / "report"
CARD = LORA / "README.md"
DOCS = sorted(path for path in (ROOT / "docs").glob("*.md") if not path.name.startswith("ci-"))
TEXTS = (ROOT / "README.md", *DOCS, CARD, EMBEDDED_FOLDER / "README.md")
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


def test_the_goals_stand_in_the_card_line_by_line() -> None:
    lines = goal_lines()
    assert len(lines) > 10
    assert "\n".join(lines) in CARD.read_text(encoding="utf-8")


def test_the_readme_tells_how_many_goals_are_met() -> None:
    verdicts = [line.rstrip("| ").rpartition("| ")[2] for line in goal_lines()[2:]]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"; {verdicts.count('yes')} of {len(verdicts)} goals fixed beforehand are met" in text


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_other_figures_of_the_images_are_in_the_report_too(path: Path) -> None:
    known = (REPORT / "report.md").read_text(encoding="utf-8")
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        if MEASURES.search(paragraph) and TRAINING not in paragraph and "```" not in paragraph:
            missing = [figure for figure in FIGURE.findall(paragraph) if figure not in known]
            assert not missing, f"{missing} in: {paragraph}"
