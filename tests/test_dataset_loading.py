"""A finished data set is loaded by the lines that its card and docs/datasets.md show: every split with every row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr.dataset import make
from cxr.dataset.convert import convert
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.plan import build_plan
from cxr.folders.dataset_reader import read_dataset
from cxr.folders.metadata import METADATA_NAME
from cxr.generate.model import load_model
from cxr.images.reading import read_levels

SPLITS = ("train", "holdout", "no", "données", "external_test", "validation")
# The first images say nothing of findings, and none says all.
PLAN: dict[str, Any] = {
    "settings": {"num_inference_steps": 1, "bit_depth": 16},
    "prompts": [
        *("chest x-ray", "a 55-year-old man", "a chest x-ray of a woman", "PA view", "xyz", "AP view of a child"),
        *("effusion", "normal chest x-ray", "mass and edema", "60-year-old woman, no findings", "hernia", "30M nodule"),
    ],
    "split": dict.fromkeys(SPLITS, 1),
}
DOCS = Path(__file__).parents[1] / "docs" / "datasets.md"


@pytest.fixture(scope="module")
def data(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = load_model(str(tiny_model_dir), "none", weight_dtype="float32")
    folder = tmp_path_factory.mktemp("loading") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "load_model", lambda *given, **options: loaded)
        assert run_dataset(build_plan(PLAN, "- loading"), folder, Options(str(tiny_model_dir), "none")) == 0
    return folder


def wanted(data: Path) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for image in read_dataset(data):
        rows.setdefault(image.split, []).append(image.prompt)
    return rows


def loaded_by(line: str, place: str, folder: Path, load_dataset: Any) -> dict[str, list[Any]]:
    """Run a line as it stands in a text, with a folder in place of the one that it names."""
    found = re.search(r"load_dataset\((.*?)\)", line)
    assert found
    assert f'"{place}"' in found[1], line
    arguments = [part.strip() for part in found[1].split(",")]
    values = [str(folder) if f'"{place}"' in part else part.strip('"') for part in arguments if "=" not in part]
    assert len(values) == len(arguments), "no keywords"
    return {split: list(rows) for split, rows in load_dataset(*values).items()}


@pytest.mark.parametrize("text", ["README.md", "docs"])
def test_the_lines_shown_load_every_split_with_every_row(text: str, data: Path, load_dataset: Any) -> None:
    shown = (DOCS if text == "docs" else data / "README.md").read_text(encoding="utf-8")
    line = next(line for line in shown.splitlines() if 'load_dataset("DIR"' in line)
    rows = loaded_by(line, "DIR", data, load_dataset)
    assert {split: sorted(row["prompt"] for row in found) for split, found in rows.items()} == {
        split: sorted(prompts) for split, prompts in wanted(data).items()
    }
    assert {*rows} == {*SPLITS}
    for row in (row for found in rows.values() for row in found):
        assert {type(row[name]) for name in ("findings", "age", "sex", "view")} == {str}


def test_the_line_shown_for_parquet_does(data: Path, tmp_path: Path, load_dataset: Any) -> None:
    convert(data, tmp_path / "out", "parquet")
    line = next(line for line in DOCS.read_text(encoding="utf-8").splitlines() if 'load_dataset("PARQUET"' in line)
    rows = loaded_by(line, "PARQUET", tmp_path / "out", load_dataset)
    assert {split: [row["prompt"] for row in found] for split, found in rows.items()} == wanted(data)


def test_datasets_reads_tars_whose_first_rows_say_nothing(data: Path, tmp_path: Path, load_dataset: Any) -> None:
    convert(data, tmp_path / "out", "webdataset")
    files = {split: str(tmp_path / "out" / f"{split}-*.tar") for split in SPLITS}
    rows = load_dataset("webdataset", data_files=files)
    assert {split: [row["json"]["prompt"] for row in found] for split, found in rows.items()} == wanted(data)
    types = {tuple(map(type, row["json"].values())) for found in rows.values() for row in found}
    assert len(types) == 1


def test_the_card_is_yaml_that_the_hub_reads(data: Path) -> None:
    import yaml

    head = yaml.safe_load((data / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert head["size_categories"] == ["n<1K"]
    files = head["configs"][0]["data_files"]
    assert {file["split"] for file in files} == {*SPLITS}
    assert all((data / file["path"].removesuffix("**") / METADATA_NAME).is_file() for file in files)


def test_the_two_lines_of_the_card_read_16_bits_right(data: Path) -> None:
    import PIL.Image

    card = (data / "README.md").read_text(encoding="utf-8")
    lines = [line for line in card.splitlines() if line.startswith(("levels = ", "grey = "))]
    image = read_dataset(data)[0]
    assert lines == [
        'levels = numpy.asarray(PIL.Image.open("FILE.png")).astype("uint16")',
        'grey = (levels / 257).round().astype("uint8")',
    ]
    levels = np.asarray(PIL.Image.open(image.path)).astype("uint16")
    assert np.array_equal(levels, read_levels(image.path))
    grey = (levels / 257).round().astype("uint8")
    with Image.open(image.path) as picture:
        cut = np.asarray(picture.convert("L"))
    assert abs(float(grey.mean()) - float(cut.mean())) > 20, "what the card warns of"
