"""Results that are kept: found again for the same question only, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.evaluate import result_cache
from cxr.evaluate.result_cache import ResultCache


class Counting:
    """A measurement that tells how often it was made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, float]:
        self.calls += 1
        return {"value": 0.1 + self.calls, "missing": float("nan")}


def test_the_same_question_is_answered_from_disk(tmp_path: Path) -> None:
    compute = Counting()
    first = ResultCache(tmp_path, ["torch 1"]).get("KD", ["a", "b"], compute)
    assert ResultCache(tmp_path, ["torch 1"]).get("KD", ["a", "b"], compute) == first == {"value": 1.1, "missing": None}
    assert compute.calls == 1


@pytest.mark.parametrize(
    ("circumstances", "part", "inputs"),
    [(["torch 2"], "KD", ["a"]), (["torch 1"], "FD", ["a"]), (["torch 1"], "KD", ["b"]), (["torch 1"], "KD", [])],
)
def test_another_question_is_measured(circumstances: list[str], part: str, inputs: list[str], tmp_path: Path) -> None:
    compute = Counting()
    ResultCache(tmp_path, ["torch 1"]).get("KD", ["a"], compute)
    ResultCache(tmp_path, circumstances).get(part, inputs, compute)
    assert compute.calls == 2


def test_other_code_measures_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Counting()
    ResultCache(tmp_path, []).get("KD", [], compute)
    monkeypatch.setattr(result_cache, "code_sha256", lambda: "other")
    ResultCache(tmp_path, []).get("KD", [], compute)
    assert compute.calls == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_result_is_measured_again(tmp_path: Path, content: bytes) -> None:
    compute = Counting()
    ResultCache(tmp_path, []).get("KD", [], compute)
    (file,) = (tmp_path / "results").glob("*.json")
    file.write_bytes(content)
    assert ResultCache(tmp_path, []).get("KD", [], compute)["value"] == 2.1


def test_without_a_folder_or_where_none_can_be_made_everything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (None, tmp_path / "file"):
        compute = Counting()
        for _ in range(2):
            ResultCache(folder, []).get("KD", [], compute)
        assert compute.calls == 2
