"""A blind study: the page knows no answers, and what comes back is read with intervals."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_evaluate import generated_folder, real_folder

from cxr.commands.main import main
from cxr.evaluate.evaluation import Options, evaluate
from cxr.evaluate.image_set import ImageSet, read_set
from cxr.evaluate.measurements import Measurements
from cxr.evaluate.reader_answers import read_study
from cxr.evaluate.reader_study import FORMAT, code_of, make_study
from cxr.evaluate.sets import Sets
from cxr.evaluate.tools import Tools
from cxr.images.reading import read_grey
from cxr.request.errors import DataError


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, ImageSet]:
    root = tmp_path_factory.mktemp("study")
    return read_set(generated_folder(root / "generated", 24)), read_set(real_folder(root / "reference", 40))


def names_in(page: str) -> list[str]:
    return re.findall(r'data-image="([0-9a-f]{16})"', page)


def answers_of(page: str, sets: tuple[ImageSet, ImageSet], right: bool = True, quality: int = 4) -> dict[str, Any]:
    """What a reader would send who always or never is right."""
    generated, reference = (read_names(page, some) for some in sets)
    answers = {}
    for name in names_in(page):
        is_generated = name in generated
        findings = (generated | reference)[name].findings
        finding = findings[0] if findings else "none"
        origin = "generated" if is_generated == right else "real"
        answers[name] = {"origin": origin, "finding": finding, "quality": quality if is_generated else 5}
    return {"format": FORMAT, "salt": "pepper", "answers": answers}


def read_names(page: str, images: ImageSet) -> dict[str, Any]:
    from cxr.evaluate import reader_study

    return {reader_study.code_of("pepper", sha256): images.labels[k] for k, sha256 in enumerate(images.hashes)}


def test_the_page_is_blind_and_whole(sets: tuple[ImageSet, ImageSet]) -> None:
    page = make_study(*sets, count=6, salt="pepper")
    names = names_in(page)
    assert len(names) == len(set(names)) == 12
    assert page.count("data:image/png;base64,") == 12
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere
    for images in sets:
        assert not any(
            sha256 in page or path.name in page for sha256, path in zip(images.hashes, images.paths, strict=True)
        )
        assert not any(prompt in page for prompt in images.prompts if prompt)
    generated = [name in read_names(page, sets[0]) for name in names]
    assert sum(generated) == 6
    assert generated != sorted(generated) != generated[::-1]  # mixed
    assert make_study(*sets, count=6, salt="pepper") == page
    assert names_in(make_study(*sets, count=6)) != names


def test_what_readers_send_back_is_read(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    page = make_study(*sets, count=10, salt="pepper")
    for name, right in (("one", True), ("two", False)):
        (tmp_path / f"{name}.json").write_text(json.dumps(answers_of(page, sets, right)))
    one = read_study([tmp_path / "one.json"], *sets)
    assert one["told_apart"].value == 1
    assert (one["num_readers"], one["told_apart"].num_generated) == (1, 20)
    both = read_study([tmp_path / "one.json", tmp_path / "two.json"], *sets)
    rows = {row["name"]: {metric.name: metric for metric in row["metrics"]} for row in both["rows"]}
    assert both["told_apart"].value == 0.5
    assert rows["generated"]["called generated"].value == 0.5
    assert rows["generated"]["finding right"].value == rows["real"]["finding right"].value == 1
    assert (rows["generated"]["quality"].value, rows["real"]["quality"].value) == (4, 5)
    assert rows["generated"]["quality"].low == 4


def test_an_image_of_two_pages_is_one_image(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    content = json.dumps(study := answers_of(make_study(*sets, count=10, salt="pepper"), sets))
    hashes = {code_of("pepper", sha256): sha256 for images in sets for sha256 in images.hashes}
    other = {code_of("salt", hashes[name]): answer for name, answer in study["answers"].items()}
    (tmp_path / "one.json").write_text(content)
    (tmp_path / "two.json").write_text(json.dumps(study | {"salt": "salt", "answers": other}))
    found = read_study([tmp_path / "one.json", tmp_path / "two.json"], *sets)
    assert (found["num_readers"], found["told_apart"].num_generated) == (2, 20)


def test_lateral_films_are_not_shown(
    sets: tuple[ImageSet, ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated, reference = sets[0], read_set(real_folder(tmp_path / "films", 48, first=500))
    page = make_study(generated, reference, count=48, salt="pepper")
    mixed = dataclasses.replace(reference, lateral=frozenset(reference.paths[:8]))
    names = names_in(make_study(generated, mixed, count=48, salt="pepper"))
    assert len(names) == 24 + 40
    assert not {code_of("pepper", sha256) for sha256 in reference.hashes[:8]} & {*names}
    # What readers said of films that a report leaves out is not refused.
    (tmp_path / "back.json").write_text(json.dumps(answers_of(page, (generated, reference))))
    monkeypatch.setattr(Measurements, "measure", lambda *arguments, **settings: None)
    options = Options(readings=(tmp_path / "back.json",))
    found = evaluate(Sets(generated, mixed), Tools((), {}, None, print), options)
    assert found.figure("readers", "told_apart").num_generated == 24 + 48


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is not what the page of a reader study exports"),
        ({"answers": {}}, "holds no answers"),
        ({"answers": {"0" * 16: {"origin": "real", "finding": "none", "quality": 3}}}, "in neither set"),
        ({"answers": {"0" * 16: {"origin": "fake", "finding": "none", "quality": 3}}}, "origin 'fake' is not one of"),
        ({"answers": {"0" * 16: {"origin": "real", "finding": "flu", "quality": 3}}}, "finding 'flu' is not one of"),
        ({"answers": {"0" * 16: {"origin": "real", "finding": "none", "quality": 9}}}, "quality 9 is not one of 1, 2"),
        ({"answers": {"0" * 16: {"origin": "real"}}}, "is not what the page"),
        ({"answers": ["a"]}, "is not what the page"),
        ({"salt": None}, "is not what the page"),
    ],
)
def test_what_is_no_export_is_refused(
    change: dict[str, Any], message: str, sets: tuple[ImageSet, ImageSet], tmp_path: Path
) -> None:
    study = answers_of(make_study(*sets, count=2, salt="pepper"), sets) | change
    (tmp_path / "back.json").write_text(json.dumps(study))
    with pytest.raises(DataError, match=message):
        read_study([tmp_path / "back.json"], *sets)


@pytest.mark.parametrize("quality", [True, 4.0, "4", None])
def test_a_quality_is_a_whole_number(quality: object, sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    study = answers_of(make_study(*sets, count=2, salt="pepper"), sets)
    next(iter(study["answers"].values()))["quality"] = quality
    (tmp_path / "back.json").write_text(json.dumps(study))
    with pytest.raises(DataError, match=f"quality {quality!r} is not one of 1, 2"):
        read_study([tmp_path / "back.json"], *sets)


def test_one_reader_counts_once(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    content = json.dumps(answers_of(make_study(*sets, count=4, salt="pepper"), sets))
    for name in ("back.json", "back (1).json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"back \(1\)\.json says the same as .*back\.json"):
        read_study([tmp_path / "back.json", tmp_path / "back (1).json"], *sets)
    (tmp_path / "back.json").write_text(content.replace('"salt"', '"answers": {}, "salt"'))
    with pytest.raises(DataError, match="is not what the page of a reader study exports"):
        read_study([tmp_path / "back.json"], *sets)


def test_who_calls_everything_generated_tells_nothing_apart(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    study = answers_of(make_study(*sets, count=10, salt="pepper"), sets)
    generated = set(read_names("", sets[0]))
    real = [name for name in study["answers"] if name not in generated]
    for name in real[2:]:
        del study["answers"][name]  # most real ones not answered
    for answer in study["answers"].values():
        answer["origin"] = "generated"
    (tmp_path / "back.json").write_text(json.dumps(study))
    assert read_study([tmp_path / "back.json"], *sets)["told_apart"].value == pytest.approx(0.5)
    for name in real[:2]:
        del study["answers"][name]
    (tmp_path / "back.json").write_text(json.dumps(study))
    found = read_study([tmp_path / "back.json"], *sets)["told_apart"]
    assert found.value != found.value
    assert found.note == "only one of the two kinds was answered"


def test_a_perfect_reader_of_few_images_is_not_certain(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    (tmp_path / "back.json").write_text(json.dumps(answers_of(make_study(*sets, count=5, salt="pepper"), sets)))
    told = read_study([tmp_path / "back.json"], *sets)["told_apart"]
    assert told.value == 1
    assert 0.6 < told.low < 0.8


def test_films_do_not_pass_for_generated(sets: tuple[ImageSet, ImageSet]) -> None:
    with pytest.raises(DataError, match="40 of 40 generated images are in the reference too"):
        make_study(sets[1], sets[1], count=3)


def test_no_black_bars_give_films_away(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    paths = []
    for number, path in enumerate(sets[1].paths):
        size = ((160, 128), (128, 160))[number % 2]
        paths.append(tmp_path / path.name)
        Image.fromarray(np.clip(read_grey(path), 40, 255)).resize(size).save(paths[-1])
    films = dataclasses.replace(sets[1], paths=tuple(paths))
    page = make_study(sets[0], films, count=6, salt="pepper")
    shown = re.findall(r'data-image="(\w+)".*?base64,([^"]+)"', page, re.DOTALL)
    pictures = {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) for name, content in shown}
    real = [pictures[name] for name in names_in(page) if name in read_names(page, films)]
    assert len(real) == 6
    assert all(picture.shape[0] == picture.shape[1] and picture.min() > 0 for picture in real)


def test_a_file_that_comes_twice_is_shown_once(sets: tuple[ImageSet, ImageSet]) -> None:
    twice = sets[0].take([0, 0, 1, 1])
    names = names_in(make_study(twice, sets[1], count=4, salt="pepper"))
    assert len(names) == len(set(names)) == 6


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3"])
def test_a_file_that_cannot_be_read_is_refused(
    content: str | None, sets: tuple[ImageSet, ImageSet], tmp_path: Path
) -> None:
    path = tmp_path / "back.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="is not what the page of a reader study exports"):
        read_study([path], *sets)


def test_the_command_writes_the_page(
    sets: tuple[ImageSet, ImageSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(sets[0].folder), "--reference", str(sets[1].folder), "--output", str(tmp_path / "study.html")]
    assert main(["evaluate", "study", *folders, "--count", "3"]) == 0
    assert len(names_in((tmp_path / "study.html").read_text())) == 6
    assert main(["evaluate", "study", *folders, "--count", "0"]) == 2
    assert "--count is 0; use 1 to 1,000" in capsys.readouterr().err


def test_a_finding_of_which_nothing_is_known_is_not_wrong(sets: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    generated, reference = sets
    labels = tuple(dataclasses.replace(one, unknown=("Mass",)) for one in reference.labels)
    sets = generated, dataclasses.replace(reference, labels=labels)
    study = answers_of(make_study(*sets, count=6, salt="pepper"), sets)
    for answer in study["answers"].values():
        answer["finding"] = "Mass"
    (tmp_path / "a.json").write_text(json.dumps(study))
    figures = {one.name: one for one in read_study([tmp_path / "a.json"], *sets)["rows"][1]["metrics"]}
    assert np.isnan(figures["finding right"].value)
