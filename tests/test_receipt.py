"""The receipt under the gallery: asked against seen, with an untrained judge or with hand-made readings."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cxr.judges import receipt as receipts
from cxr.judges.networks import NETWORKS, SIZE
from cxr.judges.receipt import (
    NEGATED,
    NOT_JUDGED,
    NOTHING_ASKED,
    Receipt,
    ReceiptRow,
    embedded_judge,
    read_receipt,
)
from cxr.judges.reliability import Reliability
from cxr.labels.targets import LABELS
from cxr.prompts.rewording import reword
from cxr.request.generation_request import GenerationRequest
from cxr.web.jobs.image_job import make_images
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.page.image_events import ImageEvents
from cxr.web.page.receipt_rows import receipt_rows
from cxr.web.server.limits import Limits

PROMPT = "A 55-year-old man with pleural effusion, PA view"
FACTS = {"label", "asked", "seen", "ceiling", "judgeable"}
IMAGES = np.random.default_rng(0).integers(0, 255, (2, 32, 32), np.uint8)


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_temp_folder: None) -> Path:
    """Where this test's judge is looked for; nothing is there yet."""
    monkeypatch.setattr(receipts, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def write_judge(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = NETWORKS["lean-dense"]()
    facts = {"network": "lean-dense", "thresholds": [0.0] * len(LABELS), "num_training": 1, "num_validation": 1}
    save_file(network.state_dict(), folder / "dense.safetensors", {"judge": json.dumps(facts)})
    return folder / "dense.safetensors"


def reliability_of(judge: Path) -> dict[str, Any]:
    """View and sex can be judged, findings cannot."""
    labels = {
        name: {"balanced_accuracy": 0.9 - index / 100, "auroc": 0.95, "judgeable": name in ("PA", "male")}
        for index, name in enumerate(LABELS)
    }
    age = {"mae": 9.1, "within_10": 0.66}
    sha256 = hashlib.sha256(judge.read_bytes()).hexdigest()
    return {"judge_sha256": sha256, "num_images": 1474, "num_patients": 406, "labels": labels, "age": age}


def install(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> None:
    content = reliability_of(write_judge(folder))
    change(content)
    (folder / "reliability.json").write_text(json.dumps(content))


# -- the judge that ships


def test_judge_and_reliability_are_read(weights: Path) -> None:
    install(weights, lambda content: content["labels"]["Hernia"].update(balanced_accuracy=None))
    judged = embedded_judge()
    assert judged is not None
    assert judged.reliability.num_images == 1474
    assert judged.reliability.balanced_accuracy["male"] == 0.89
    assert judged.reliability.judgeable == {"PA", "male"}
    assert math.isnan(judged.reliability.balanced_accuracy["Hernia"])
    assert embedded_judge() is judged  # read once


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(judge_sha256="0" * 64),
        lambda content: content.pop("labels"),
        lambda content: content.update(labels=[1]),
        lambda content: content["labels"]["male"].update(balanced_accuracy="high"),
    ],
    ids=["another judge", "no labels", "labels as a list", "text for a number"],
)
def test_files_that_do_not_belong_together_give_no_receipt(weights: Path, change: Callable[..., object]) -> None:
    install(weights, change)
    assert embedded_judge() is None


@pytest.mark.parametrize("name", ["dense.safetensors", "reliability.json"])
def test_a_missing_file_gives_no_receipt(weights: Path, name: str) -> None:
    install(weights)
    (weights / name).unlink()
    assert embedded_judge() is None


# -- asked against seen


def read(
    monkeypatch: pytest.MonkeyPatch,
    weights: Path,
    prompt: str,
    seen: dict[str, float],
    judgeable: tuple[str, ...],
    sent_prompt: str = "",
    within_10: float = 0.9,
) -> Receipt:
    """The receipt of an image on which the judge sees the given labels (logits; the others are -3) and 60 years."""
    install(weights)
    judged = embedded_judge()
    assert judged is not None
    row = [seen.get(name, -3.0) for name in LABELS]
    monkeypatch.setattr(receipts, "read_labels", lambda network, pixels: np.array([[*row, 60.0]] * len(pixels)))
    reliability = Reliability("", 10, dict.fromkeys(LABELS, 0.8), frozenset(judgeable), within_10)
    (one,) = read_receipt(IMAGES[:1], prompt, judged.judge, reliability, sent_prompt=sent_prompt)
    return one


def test_what_is_asked_stands_beside_what_is_seen(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    one = read(monkeypatch, weights, PROMPT, {"PA": 2.0, "Effusion": 0.0}, ("PA", "male", "Effusion"))
    effusion, view, sex, age = one.rows
    assert one.notes == ()
    assert (view.label, view.asked, view.seen, view.as_asked) == ("view", "PA", "PA", True)
    assert view.score == pytest.approx(1 / (1 + math.exp(-2)))
    assert view.ceiling == pytest.approx(80)
    assert (sex.label, sex.asked, sex.seen, sex.as_asked) == ("sex", "male", "female", False)
    assert (age.label, age.asked, age.seen, age.as_asked) == ("age", "55 years", "60 years", True)
    assert age.ceiling == pytest.approx(90)
    assert (effusion.label, effusion.asked, effusion.seen, effusion.score) == ("Effusion", "yes", "yes", 0.5)


@pytest.mark.parametrize(
    ("prompt", "seen", "expected"),
    [
        # Not asked for: told only if it is seen and can be judged.
        ("A man with pneumonia", {"Effusion": 1.0, "Mass": 1.0}, "Pneumonia sex view age Effusion"),
        ("normal chest x-ray", {}, "no findings, view sex age"),
        ("normal chest x-ray", {"abnormal": 1.0, "Effusion": 1.0}, "no findings, Effusion view sex age"),
        ("chest x-ray of a man, AP view", {}, "view sex age"),
        ("50-year-old woman with a mass and effusion", {}, "Effusion Mass sex age view"),
    ],
)
def test_findings_are_those_asked_for_and_those_that_surprise(
    monkeypatch: pytest.MonkeyPatch, weights: Path, prompt: str, seen: dict[str, float], expected: str
) -> None:
    one = read(monkeypatch, weights, prompt, seen, ("Effusion",))
    assert " ".join(row.label for row in one.rows).replace("findings", "findings,") == expected
    asked = [row.as_asked is not None for row in one.rows]
    assert asked == sorted(asked, reverse=True)  # what was asked comes first
    for row in one.rows:
        assert (row.asked == "not said") is (row.as_asked is None)


def test_what_cannot_be_judged_is_named_and_not_counted(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    prompt = "A 20-year-old man with pneumonia and pleural thickening, PA view"
    seen = {"PA": 1.0, "male": 1.0}
    one = read(monkeypatch, weights, prompt, seen, ("PA", "male"), within_10=0.68)
    assert one.notes == (NOT_JUDGED.format("Pleural Thickening, Pneumonia, age"),)
    assert one.as_asked is True
    assert one.verdicts == [True, True]
    sure = read(monkeypatch, weights, prompt, seen, ("PA", "male", "Pneumonia"), within_10=0.9)
    assert sure.notes == (NOT_JUDGED.format("Pleural Thickening"),)
    assert sure.as_asked is False
    assert sorted(sure.verdicts) == [False, False, True, True]
    # 60 years are seen where 20 are asked, and shown even where they are no verdict.
    assert [row["seen"] for row in receipt_rows(one)] == ["not judgeable"] * 2 + ["PA", "male", "60 years"]


def test_years_that_are_far_off_are_not_as_asked(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    (age,) = (row for row in read(monkeypatch, weights, "A 49-year-old man", {}, ()).rows if row.label == "age")
    assert age.as_asked is False


def test_a_prompt_of_unknown_words_gets_one_sentence(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    one = read(monkeypatch, weights, "a zebra on a beach", {"Effusion": 3.0}, ("Effusion",))
    assert one == Receipt((), (NOTHING_ASKED,))


@pytest.mark.parametrize(
    ("prompt", "denied"),
    [
        ("A man without pleural effusion", "Effusion"),
        ("male with mass, no pneumothorax", "Pneumothorax"),
        ("no effusion", "Effusion"),
    ],
)
def test_negations_are_not_taken_for_wishes(
    monkeypatch: pytest.MonkeyPatch, weights: Path, prompt: str, denied: str
) -> None:
    one = read(monkeypatch, weights, prompt, {}, ())
    assert one.notes[0] == NEGATED.format(denied)
    reworded = read(monkeypatch, weights, prompt, {}, (), reword(prompt, "caption"))
    assert NEGATED.format(denied) not in reworded.notes
    assert ("Mass" in prompt.title()) == any(row.label == "Mass" for row in one.rows)
    assert not {row.label for row in one.rows} & {"Effusion", "Pneumothorax"}
    assert read(monkeypatch, weights, "man with no findings", {}, ()).rows[0].label == "no findings"


def test_a_label_without_threshold_cannot_be_judged(weights: Path) -> None:
    install(weights)
    judged = embedded_judge()
    assert judged is not None
    judge = dataclasses.replace(judged.judge, thresholds=np.full(len(LABELS), np.nan))
    rows = read_receipt(IMAGES, PROMPT, judge, judged.reliability)[0].rows
    assert not any(row.judgeable for row in rows)


def test_images_of_any_size_are_read_one_by_one_as_together(weights: Path) -> None:
    install(weights)
    judged = embedded_judge()
    assert judged is not None
    together = read_receipt(IMAGES, PROMPT, *judged)
    alone = [read_receipt(image[None], PROMPT, *judged)[0] for image in IMAGES]
    for first, second in zip(together, alone, strict=True):
        assert first.facts() == second.facts()
        assert [row.score for row in first.rows[:2]] == pytest.approx([row.score for row in second.rows[:2]], abs=1e-5)
    assert IMAGES.shape[1] != SIZE


# -- on the page and in the API


def shown_by_page(choice: ModelChoice) -> tuple[Any, list[Any]]:
    """A job of the page, and all that it shows."""
    events = ImageEvents(choice, Limits(), JobTable())
    mine = events.start(None, None, PROMPT, "", 5, False, 2, 2, 2.0, 1.0, 0.7, True)[0]

    async def run() -> list[Any]:
        return [values async for values in events.run(mine)]

    shown = asyncio.run(run())
    return mine.jobs[0], shown


def test_without_a_judge_everything_is_as_before(choice: ModelChoice) -> None:
    job, shown = shown_by_page(choice)
    assert job.state.stage == "finished"
    assert len(job.state.images) == 2
    assert "receipt" not in job.state.facts
    assert [image["rows"] for image in shown[-1][2]["images"]] == [[], []]


def test_a_job_ends_with_a_receipt_for_each_image(choice: ModelChoice, weights: Path) -> None:
    request = GenerationRequest(PROMPT, seed=5, num_images=2, num_inference_steps=2)
    before = list(make_images(request, choice, Job(None)))[-1].facts
    receipts._load.cache_clear()
    install(weights)
    states = list(make_images(request, choice, Job(None)))
    assert not any(state.receipts for state in states[:-1])
    facts = states[-1].facts
    assert set(facts) - set(before) == {"receipt"}
    same = before.keys() - {"seconds", "as_asked"}
    assert {name: facts[name] for name in same} == {name: before[name] for name in same}
    assert before["as_asked"] == [None, None]
    assert facts["as_asked"] == [receipt.as_asked for receipt in states[-1].receipts]
    assert len(facts["receipt"]) == 2
    assert all(set(row) == FACTS for rows in facts["receipt"] for row in rows)
    json.dumps(facts, allow_nan=False)


def test_the_page_shows_it_when_the_job_is_over(choice: ModelChoice, weights: Path) -> None:
    install(weights)
    images = shown_by_page(choice)[1][-1][2]["images"]
    assert [image["seed"] for image in images] == [5, 6]
    for image in images:
        assert image["rows"][0]["label"] == "Effusion"  # what was asked of findings comes first
        assert image["rows"][0]["seen"] == "not judgeable"
        assert {row["ceiling"] for row in image["rows"]} >= {"90 %", "66 %"}
        assert "55 years" in {row["asked"] for row in image["rows"]}
        json.dumps(image, allow_nan=False)


def row_of(label: str, asked: str, as_asked: bool | None, **changes: Any) -> ReceiptRow:
    return dataclasses.replace(ReceiptRow(label, asked, "yes", 0.9, 90.0, True, as_asked), **changes)


def test_page_counts_only_what_can_be_judged() -> None:
    right, wrong = row_of("view", "PA", True), row_of("sex", "male", False)
    unsure = row_of("Mass", "yes", False, judgeable=False, ceiling=math.nan, score=math.nan)
    assert Receipt((right, wrong, unsure)).verdicts == [True, False]
    assert Receipt((unsure,)).verdicts == []
    (line,) = receipt_rows(Receipt((unsure,)))
    assert line == {
        "label": "Mass", "asked": "yes", "seen": "not judgeable", "verdict": None, "score": "", "ceiling": "unknown"
    }  # fmt: skip
