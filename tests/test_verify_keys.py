"""Every key of a manifest, of a row and of a table of a finished set, removed and changed in turn: each is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import build_plan
from cxr.dataset.set_faults import find_faults
from cxr.request.errors import CxrError
from cxr.request.recipe import BEFORE

pytestmark = pytest.mark.usefixtures("dataset_model")

QUICK = {"num_inference_steps": 1}
COHORT = [{"findings": ["Effusion", "No Finding"], "age": "0-120", "count": 2}]
PLANS: dict[str, dict[str, Any]] = {
    "cohort and prompts": {
        "cohort": COHORT,
        "prompts": ["A 55-year-old man with pneumonia and effusion", "no findings", "xyz", "mass, edema, hernia; 30F"],
        "split": {"train": 0.5, "my_Site2": 0.5},
    },
    "no rewording": {"settings": QUICK | {"reword": False}, "cohort": COHORT, "prompts": ["normal chest x-ray"] * 2},
    "16 bits": {"settings": QUICK | {"bit_depth": 16, "guidance_scale": 2}, "prompts": ["Übung, “PA”\nsecond line"]},
    "pairs": {
        "cohort": [{"findings": "No Finding", "count": 1}],
        "pairs": [{"findings": "Mass", "count": 1}, {"findings": "Edema", "counterfactual": {"age": 80}}],
        "split": {"train": 0.5, "holdout": 0.5},
    },
    "grid": {"grid": {"prompt": ["normal", "x"], "num_inference_steps": [1], "seed": [1, 2]}},
    "same twice": {"prompts": [{"prompt": "normal", "seed": 3}] * 3},
}


OLDER = {**BEFORE, "pair_role": ""}


@pytest.fixture(scope="module")
def sets(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory, dataset_model: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    for name, plan in PLANS.items():
        content = plan if "grid" in plan else {"settings": QUICK} | plan
        assert run_dataset(build_plan(content, name), folder / name, Options(str(tiny_model_dir), "none")) == 0
    return {name: folder / name for name in PLANS}


@pytest.fixture(params=["cohort and prompts", "pairs"])
def data(request: pytest.FixtureRequest, sets: dict[str, Path], tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(sets[request.param], tmp_path / "set"))


def faults(folder: Path) -> list[str]:
    try:
        found = find_faults(folder)[1]
    except CxrError as error:
        found = [str(error)]
    assert not any("\n" in fault for fault in found)
    return found


def sign(folder: Path) -> None:
    """Write the hashes and sizes of all files into the manifest, so that they do not tell of a change."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for row in manifest["files"]:
        content = (folder / row["file_name"]).read_bytes()
        row |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    path.write_text(json.dumps(manifest))


def others(value: Any) -> list[Any]:
    """Values in place of one, of its own kind and of others."""
    if isinstance(value, bool):
        return [not value, None, "x"]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1, str(value), None, -1]
    if isinstance(value, str):
        return [f"{value}x", value[::-1] or "y", 7, None, [value]]
    if isinstance(value, dict):
        return [{**value, "x": "1"}, None, [], "x"]
    return [[], value[:-1], value + value[:1], None, {}]


def changed(table: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The table without each key, with each key changed, and with one more."""
    for name, value in table.items():
        yield f"no {name}", {key: kept for key, kept in table.items() if key != name}
        yield from ((f"{name} {other!r}", table | {name: other}) for other in others(value) if other != value)
    yield "a new key", table | {"diagnosis": "Cancer"}


@pytest.mark.parametrize("name", PLANS)
def test_sets_of_every_kind_are_right(name: str, sets: dict[str, Path]) -> None:
    assert not faults(sets[name])


def test_every_key_of_the_manifest_is_named(data: Path) -> None:
    path = data / "manifest.json"
    manifest = json.loads(path.read_bytes())
    silent = []
    for label, other in changed(manifest):
        path.write_text(json.dumps(other))
        silent += [] if faults(data) else [label]
    for place, row in enumerate(manifest["files"]):
        for change in ({"sha256": row["sha256"][::-1]}, {"size_bytes": row["size_bytes"] + 1}, {"diagnosis": "Cancer"}):
            files = [*manifest["files"][:place], row | change, *manifest["files"][place + 1 :]]
            path.write_text(json.dumps(manifest | {"files": files}))
            silent += [] if faults(data) else [f"{row['file_name']}: {change}"]
    assert not silent


@pytest.mark.parametrize("is_signed", [False, True])
def test_every_key_of_a_row_is_named(is_signed: bool, data: Path) -> None:
    path = min(data.glob("*/metadata.jsonl"))
    manifest = (data / "manifest.json").read_bytes()
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    row, silent = json.loads(first), []
    for label, other in [*changed(row), ("another role", row | {"pair_role": "counterfactual"})]:
        if OLDER | other == OLDER | row:
            continue  # lines of older versions lack it, and it means the same
        path.write_text(json.dumps(other, ensure_ascii=False) + "\n" + "".join(rest), encoding="utf-8")
        if is_signed:
            sign(data)
        silent += [] if faults(data) else [label]
        (data / "manifest.json").write_bytes(manifest)
    assert not silent


def test_a_file_that_is_gone_with_its_row_is_named(data: Path) -> None:
    path = data / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for row in manifest["files"]:
        content = (data / row["file_name"]).read_bytes()
        (data / row["file_name"]).unlink()
        path.write_text(json.dumps(manifest | {"files": [other for other in manifest["files"] if other != row]}))
        assert faults(data), row["file_name"]
        (data / row["file_name"]).write_bytes(content)


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def edited(folder: Path) -> None:
        path = folder / name
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before
        path.write_text(after, encoding="utf-8")
        sign(folder)

    return edited


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        ("pairs", edit("labels.csv", lambda text: "".join(f"{line},1\n" for line in text.splitlines())), "labels.csv"),
        ("pairs", edit("pairs/pairs.csv", lambda text: text.replace("Mass", "Edema", 1)), "other pairs"),
        ("pairs", edit("pairs/pairs.csv", lambda text: text.rpartition("\n")[0].rpartition("\n")[0]), "other pairs"),
        ("pairs", edit("labels.csv", lambda text: text + text.splitlines()[1]), "a second row for"),
        ("same twice", edit("rejected.csv", lambda text: text.replace(",3,", ",4,", 1)), "rejected"),
        ("same twice", edit("rejected.csv", lambda text: text.replace("reason", "why", 1)), "line 2 is damaged"),
        ("same twice", edit("rejected.csv", lambda text: text + "0,9,the same picture\n"), "num_rejected"),
        ("grid", edit("README.md", lambda text: text.replace("# grid", "# real films", 1)), "another name"),
        ("grid", edit("README.md", lambda text: text.replace("at most 4", "at most 9", 1)), "max_attempts"),
        (
            "cohort and prompts",
            edit("train/metadata.jsonl", lambda text: text.replace('{"file_name"', '{"seed": 5, "file_name"', 1)),
            "damaged",
        ),
    ],
)
def test_tables_that_were_changed_and_signed_are_named(
    kind: str, spoil: Callable[[Path], None], message: str, sets: dict[str, Path], tmp_path: Path
) -> None:
    data = Path(shutil.copytree(sets[kind], tmp_path / "set"))
    spoil(data)
    assert any(message in fault for fault in faults(data)), faults(data)
