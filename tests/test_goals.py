"""Goals: what is asked of a report's figures, and how it is told whether they reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_report import NOTHING_MEASURED, full_report

from cxr.evaluate.goals import Goal, check_goals
from cxr.evaluate.report.figure_cells import goal_cells
from cxr.evaluate.report.write import write_report
from cxr.metrics.result import to_plain


def goals_of(report: dict[str, Any]) -> dict[str, Goal]:
    return {row["name"]: row for row in check_goals(to_plain(report))}


def set_figure(report: dict[str, Any], attribute: str, name: str, value: float) -> None:
    (row,) = (row for row in report["fidelity"]["attributes"] if row["name"] == attribute)
    row["metrics"][name] = {"value": value}


@pytest.mark.parametrize(
    ("name", "value", "limit", "real", "met"),
    [
        ("PF of the view", 0.97, 0.92, 0.98, True),
        ("PF of the sex", 0.91, 0.92, 0.95, False),
        ("Age: years of error", 8.31, 12.12, 7.12, True),
        ("AUROC of findings, above the base without LoRA", 0.16, 0.15, 0.22, True),
        ("AUROC of effusion", 0.79, 0.8, 0.87, False),
        ("KD by “small”, above that of real to real", 0.076, 0.002, 0.0, False),
        ("Coverage by “residual”", 0.71, 0.665, 0.95, True),
        ("Properties at 256 pixels that differ from real films", 1, 0, 0, False),
        ("Near-duplicates", 0.02, 0.015, 0.01, False),
        ("Flagged as copies by “aligned pixels”", 0.0014, 0.0023, 0.0013, True),
    ],
)
def test_each_goal_has_its_figure_real_films_and_a_verdict(
    name: str, value: float, limit: float, real: float, met: bool
) -> None:
    row = goals_of(full_report())[name]
    assert row["value"] == pytest.approx(value, abs=1e-6)
    assert row["limit"] == pytest.approx(limit, abs=1e-6)
    assert row["real"] == pytest.approx(real, abs=1e-6)
    assert row["met"] is met
    assert row["missed_by"] == pytest.approx(0.0 if met else abs(limit - value), abs=1e-6)


def test_counts_are_whole_numbers() -> None:
    goal = {"value": 3.0, "real": 0.0, "limit": 0.0, "at_least": False, "met": False, "missed_by": 3.0}
    assert [cell[0] for cell in goal_cells(goal)] == ["3", "0", "≤ 0", "no, by 3"]


def test_no_goal_is_missed_by_nothing() -> None:
    goal = {"value": 0.8918, "real": 0.8956, "limit": 0.8956, "at_least": True, "met": False, "missed_by": 0.0038}
    assert [cell[0] for cell in goal_cells(goal)] == ["0.8918", "0.8956", "≥ 0.8956", "no, by 0.0038"]


def test_where_the_judge_cannot_reach_the_limit_its_ceiling_is_the_limit() -> None:
    report = full_report()
    set_figure(report, "male", "C", 0.88)
    row = goals_of(report)["PF of the sex"]
    assert (row["limit"], row["met"]) == (0.88, True)
    assert "real films" in row["note"]


def test_what_is_missed_has_what_is_known_beside_it() -> None:
    report = full_report()
    set_figure(report, "male", "C", 0.88)
    set_figure(report, "male", "PF", 0.8)
    set_figure(report, "male", "PF_baseline", 0.84)
    report["copies"]["control"][0]["found"] = {"value": 0.4}
    rows = goals_of(report)
    assert rows["PF of the sex"]["note"].endswith("; without the LoRA 0.84")
    assert "of that kind of copy" in rows["Planted copies found, the worst kind (mirrored)"]["note"]
    set_figure(report, "male", "PF", 0.9)
    assert "without" not in goals_of(report)["PF of the sex"]["note"]


def test_what_judges_cannot_measure_has_no_verdict() -> None:
    report = full_report()
    unknown = [row["name"] for row in report["fidelity"]["attributes"] if not row["judgeable"]]
    row = goals_of(report)[f"AUROC of {len(unknown)} other attributes"]
    assert (row["met"], row["note"]) == (None, "not measurable with these judges and films")
    assert not [name for name in goals_of(report) if "nodule" in name]


def test_properties_without_intervals_have_no_verdict() -> None:
    report = to_plain(full_report())
    for row in report["detail"]["rows"]:
        for metric in row["metrics"]:
            metric |= {"low": None, "high": None, "settings": {"differs": False}}
    assert goals_of(report)["Properties at 256 pixels that differ from real films"]["met"] is None


def test_real_films_posing_as_generated_meet_every_goal() -> None:
    report = full_report()
    for attribute in report["fidelity"]["attributes"]:
        metrics = attribute["metrics"]
        metrics |= {"PF": metrics["C"], "AUROC": metrics["C_AUROC"]}
    summary, age = report["fidelity"]["summary"]["metrics"], report["fidelity"]["age"]["metrics"]
    summary["macro_AUROC"], age["MAE"] = summary["macro_AUROC_real"], age["MAE_real"]
    for entry in report["distances"]:
        entry["rows"][0]["metrics"] = entry["rows"][-1]["metrics"]
    for rows in (report["detail"]["rows"], report["diversity"]["wholes"]):
        rows[0]["metrics"] = rows[1]["metrics"]
    for space in report["copies"]["spaces"]:
        space["flagged"] = space["flagged_real"]
    missed = [name for name, row in goals_of(report).items() if row["met"] is False]
    assert not missed


def test_what_was_not_measured_has_no_goal() -> None:
    report = full_report() | dict.fromkeys(NOTHING_MEASURED) | {"distances": []}
    assert check_goals(to_plain(report)) == []


def test_the_pages_tell_what_is_missed_and_by_how_much(tmp_path: Path) -> None:
    report = full_report()
    report["goals"] = check_goals(to_plain(report))
    write_report(report, tmp_path)
    met = sum(row["met"] is True for row in report["goals"])
    for page in ("report.md", "report.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        part = text[
            text.index("Real films posing as generated ones stand") : text.index("generated images of the model")
        ]
        assert f"{met} of {len(report['goals'])} are met." in part
        assert "no, by 0.01" in part
        assert "not measurable with these judges and films" in part
        assert "≤ 0.0023" in part
