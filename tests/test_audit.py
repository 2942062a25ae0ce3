"""Judges that share patients with the model, against one that shares none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from test_evaluate import folders, quick, tools  # noqa: F401
from test_fidelity import THRESHOLDS, judge, reading
from test_report import full_report

from cxr.commands.main import main
from cxr.evaluate.audit import check_auditor, measure_audit, note_on_sharing, shared_patients
from cxr.evaluate.evaluation import Options, evaluate
from cxr.evaluate.image_set import ImageSet, read_set
from cxr.evaluate.report.write import write_report
from cxr.evaluate.sets import Sets
from cxr.evaluate.tools import Tools
from cxr.judges.judge import Judge, hash_patient
from cxr.judges.networks import NETWORKS
from cxr.metrics.result import to_plain
from cxr.request.errors import DataError
from cxr.train.judge_task import write_judge

CLEAN: dict[str, Any] = {
    "near_exact": 0,
    "spaces": [
        {"flagged": {"value": 0.001, "low": 0.0, "high": 0.003}, "flagged_real": {"value": 0.001, "high": 0.004}}
    ],
}


def knowing(patients: list[str], name: str = "audit") -> Judge:
    hashes = frozenset(hash_patient(one, "s") for one in patients)
    return Judge(name, NETWORKS["lean-dense"]().eval(), THRESHOLDS, name * 9, {}, "s", hashes)


def audit(mine: float, theirs: float, copies: dict[str, Any] | None = CLEAN, *, count: int = 2400) -> dict[str, Any]:
    """Both judges err in 1 % on real films, and in these shares on generated ones."""
    sides = {"real": reading(0.01, 1, count), "generated": reading(mine, 2, count)}
    audited = {"real": reading(0.01, 3, count), "generated": reading(theirs, 4, count)}
    part: dict[str, Any] = to_plain(
        measure_audit({"one": judge("one")}, knowing(["x"]), {"one": sides}, audited, copies)
    )
    return part


def test_judges_that_find_the_same_are_harmless_and_one_that_finds_more_is_told() -> None:
    same, flattered = audit(0.2, 0.2), audit(0.05, 0.2)
    assert (same["agrees"], same["copied"]) == (True, False)
    assert same["words"].startswith("It was checked that sharing patients does not flatter the model")
    assert {row["name"] for row in same["rows"]} >= {"male", "Effusion"}
    assert flattered["agrees"] is False
    assert flattered["words"].startswith("Sharing patients may flatter the model: a judge that shares no patient")
    (male,) = (row["metrics"]["excess"] for row in flattered["rows"] if row["name"] == "male")
    assert male["value"] == pytest.approx(0.15, abs=0.03)
    assert male["low"] > 0


def test_a_judge_that_is_better_on_all_films_alike_is_not_a_flattering_one() -> None:
    sides = {side: reading(0.0, seed) for side, seed in (("real", 1), ("generated", 2))}
    audited = {side: reading(0.03, seed) for side, seed in (("real", 3), ("generated", 4))}
    part = measure_audit({"one": judge("one")}, knowing(["x"]), {"one": sides}, audited, CLEAN)
    assert part["agrees"]


@pytest.mark.parametrize(
    ("copies", "copied", "words"),
    [
        (None, None, "copies were not looked for"),
        (CLEAN | {"near_exact": 1}, True, "copies of training films were found"),
        (
            CLEAN | {"spaces": [*CLEAN["spaces"], {"flagged": {"value": 0.02}, "flagged_real": {"high": 0.004}}]},
            True,
            "copies of training films were found",
        ),
    ],
)
def test_sharing_is_not_cleared_without_a_search_for_copies(copies: Any, copied: bool | None, words: str) -> None:
    part = audit(0.1, 0.1, copies)
    assert part["agrees"]
    assert part["copied"] is copied
    assert part["words"] == f"Sharing patients may flatter the model: {words}."


def test_judges_that_can_measure_nothing_clear_nothing() -> None:
    blind = {side: reading(0.5, seed) for side, seed in (("real", 1), ("generated", 2))}
    part = measure_audit({"one": judge("one")}, knowing(["x"]), {"one": blind}, blind, CLEAN)
    assert part["agrees"] is None
    assert not part["rows"]
    assert "could not be determined" in part["words"]


@pytest.fixture
def training(folders: dict[str, Path]) -> ImageSet:  # noqa: F811
    return read_set(folders["training"])


def test_only_an_auditor_of_other_patients_is_taken(training: ImageSet) -> None:
    check_auditor(knowing(["elsewhere"]), training)
    bare = dataclasses.replace(training, patients=training.hashes)
    for auditor, some, message in (
        (knowing([]), training, "names no patients"),
        (knowing(["100", "0101", "elsewhere"]), training, "learnt from 2 patients of the training images"),
        (knowing(["elsewhere"]), None, "needs the training images"),
        (knowing(["elsewhere"]), bare, "give each a patient_id"),
    ):
        with pytest.raises(DataError, match=message):
            check_auditor(auditor, some)
    assert shared_patients([knowing(["100"]), knowing(["100", "101"])], training) == 2
    assert shared_patients([knowing(["100"])], None) == 0


def test_a_report_without_an_audit_says_that_sharing_was_not_checked(training: ImageSet) -> None:
    sharing = [knowing(["100", "101"]), knowing(["101", "elsewhere"])]
    (note,) = note_on_sharing(sharing, training)
    assert "learnt from 2 patients of the training images, too; whether that flatters the model was not" in note
    assert note_on_sharing([knowing(["elsewhere"]), knowing([])], training) == note_on_sharing(sharing, None) == []


@pytest.mark.slow
def test_a_report_with_an_audit_says_what_it_found(
    folders: dict[str, Path],  # noqa: F811
    tools: Tools,  # noqa: F811
    training: ImageSet,
    tmp_path: Path,
) -> None:
    sharing = [knowing(["100", "101"]), knowing(["101", "elsewhere"])]
    sets = Sets(read_set(folders["generated"]), read_set(folders["reference"]), training=training)
    tools = dataclasses.replace(tools, judges=dict(zip(tools.judges, sharing, strict=True)))
    patients = sets.reference.patients
    known = patients[0]
    checked = evaluate(sets, tools, Options(auditor=knowing(["also elsewhere", known]))).report
    assert checked["audit"]["auditor"]["num_patients"] == 2
    left = len(patients) - patients.count(known)
    assert any(f"The audit is on {left} of {len(patients)} real films" in note for note in checked["notes"])
    with pytest.raises(DataError, match="too few; name other real films"):
        evaluate(sets, tools, Options(auditor=knowing(list(patients))))
    assert not any("--audit" in note for note in checked["notes"])
    write_report(checked, tmp_path, {})
    assert "could not be determined" in (tmp_path / "report.md").read_text()  # of networks that have learnt nothing


def test_the_table_of_an_audit_shows_both_judges(tmp_path: Path) -> None:
    part = audit(0.05, 0.2)
    write_report(full_report() | {"audit": part}, tmp_path, {})
    text = (tmp_path / "report.md").read_text()
    assert "Judges that share patients with the model" in text
    assert text.count("| one |") == len(part["rows"])


def test_an_auditor_from_the_command_line(
    folders: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, facts = tmp_path / "auditor.safetensors", {"network": "lean-dense"}
    options = [part for name in ("generated", "reference", "training") for part in (f"--{name}", str(folders[name]))]
    options += ["--output", str(tmp_path / "report"), "--no-cache", "--audit", str(path)]
    write_judge(path, NETWORKS["lean-dense"](), facts, [0.0] * len(THRESHOLDS), ["100"])
    assert main(["evaluate", *options]) == 2
    assert "has learnt from 1 patients of the training images; it must share none" in capsys.readouterr().err
