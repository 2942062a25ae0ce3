"""Goals: what is asked of a report's figures, and how it is told whether they reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_report import NOTHING_MEASURED, full_report

from cxr.evaluate.goals import check_goals
from cxr.evaluate.report.write import write_report
from cxr.metrics.result import to_plain


def goals_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in check_goals(to_plain(report))}


def set_figure(report: dict[str, Any], attribute: str, name: str, value: float) -> None:
    (row,) = (row for row in report["fidelity"]["attributes"] if row["name"] == attribute)
    row["metrics"][name] = {"value": value}


@pytest.mark.parametrize(
    ("name", "value", "limit", "met"),
    [
        ("PF of the view", 0.97, 0.92, True),
        ("PF of the sex", 0.91, 0.92, False),
        ("Age: years of error beyond those on real images", 1.19, 5.0, True),
        ("AUROC, mean of the findings", 0.66, 0.72, False),
        ("The same, above the base without LoRA", 0.16, 0.15, True),
        ("AUROC of effusion", 0.79, 0.8, False),
        ("KD by “small”, times real against real", 20.0, 3.0, False),
        ("Coverage by “residual”, share of real against real", 0.71 / 0.95, 0.7, True),
        ("Flagged as copies by “pixels”", 0.0014, 0.0023, True),
        ("Known copies flagged by “small”", 0.98, 0.95, True),
    ],
)
def test_each_goal_has_its_figure_its_limit_and_a_verdict(name: str, value: float, limit: float, met: bool) -> None:
    row = goals_of(full_report())[name]
    assert row["value"] == pytest.approx(value, abs=1e-6)
    assert row["limit"] == pytest.approx(limit, abs=1e-6)
    assert row["met"] is met
    assert row["missed_by"] == pytest.approx(0.0 if met else abs(limit - value), abs=1e-6)


def test_where_the_judge_cannot_reach_the_limit_its_ceiling_is_the_limit() -> None:
    report = full_report()
    set_figure(report, "male", "C", 0.88)
    row = goals_of(report)["PF of the sex"]
    assert (row["limit"], row["met"]) == (0.88, True)
    assert "real images" in row["note"]


def test_what_is_missed_has_what_is_known_beside_it() -> None:
    report = full_report()
    set_figure(report, "male", "C", 0.88)
    set_figure(report, "male", "PF", 0.8)
    set_figure(report, "male", "PF_baseline", 0.84)
    report["copies"]["spaces"][0]["flagged_control"] = {"value": 0.4}
    rows = goals_of(report)
    assert rows["PF of the sex"]["note"].endswith("; without the LoRA 0.84")
    space = report["copies"]["spaces"][0]["name"]
    assert rows[f"Known copies flagged by “{space}”"]["note"] == "so few flags prove little in this space"
    set_figure(report, "male", "PF", 0.9)
    assert "without" not in goals_of(report)["PF of the sex"]["note"]


def test_without_a_distance_between_real_images_there_is_no_multiple() -> None:
    report = full_report()
    real = next(row for row in report["distances"][0]["rows"] if row["name"] == "real against real")
    real["metrics"][0] = {"name": "KD", "value": -0.001}
    row = goals_of(report)["KD by “small”, times real against real"]
    assert (row["met"], row["missed_by"]) == (None, None)
    assert "not above 0" in row["note"]


def test_what_was_not_measured_has_no_goal() -> None:
    report = full_report() | dict.fromkeys(NOTHING_MEASURED) | {"distances": []}
    assert check_goals(to_plain(report)) == []


@pytest.mark.parametrize("page", ["report.md", "report.html"])
def test_the_pages_tell_what_is_missed_and_by_how_much(page: str, tmp_path: Path) -> None:
    report = full_report()
    report["goals"] = check_goals(to_plain(report))
    write_report(report, tmp_path)
    text = (tmp_path / page).read_text(encoding="utf-8")
    part = text[text.index("asks of its own models") : text.index("generated images of the model")]
    met = sum(row["met"] is True for row in report["goals"])
    assert f"{met} of {len(report['goals'])} are met." in part
    assert "no, by 17.00" in part
    assert "the judge reaches 0.87 on real images" in part
    assert "≤ 0.0023" in part
