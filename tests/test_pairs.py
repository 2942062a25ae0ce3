"""Counterfactual pairs: one patient and one seed twice, what differs and where, in every format."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pyarrow import parquet
from torch.nn import functional

from cxr.commands.main import main
from cxr.dataset.convert import convert
from cxr.dataset.make import Options, run_dataset
from cxr.dataset.pairs import changed_mask, measure_pair, signed_difference
from cxr.dataset.plan import Plan, build_plan
from cxr.folders.dataset_reader import FinishedImage, read_dataset
from cxr.generate.init_latents import region_of
from cxr.generate.loaded_model import LoadedModel
from cxr.labels.regions import expected_region
from cxr.labels.vocabulary import FINDINGS
from cxr.request.errors import RequestError

GIVEN: dict[str, Any] = {
    "seed": 7,
    "settings": {"num_inference_steps": 1},
    "cohort": [{"findings": "No Finding", "count": 3}],
    "pairs": [
        {"findings": ["Effusion", "Mass"], "age": "40-60", "count": 2},
        {"findings": "No Finding", "sex": "F", "counterfactual": {"sex": "M"}, "count": 1},
        {"findings": "Effusion", "region": True, "count": 1},
    ],
    "split": {"train": 0.5, "test": 0.5},
}

pytestmark = pytest.mark.usefixtures("dataset_model")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(GIVEN, "pairs")


@pytest.fixture(scope="module")
def folder(
    plan: Plan, tiny_model_dir: Path, dataset_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("pairs") / "set"
    options = Options(model=str(tiny_model_dir), adapter="none", gate=True)  # of which pairs know nothing
    assert run_dataset(plan, place, options) == 0
    return place


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "pairs" / "pairs.csv").read_text(encoding="utf-8"))))


def test_a_pair_shares_patient_seed_and_split(plan: Plan) -> None:
    pairs = [image for image in plan.images if image.pair_role]
    assert len(plan.images) == 3 + 2 * 6
    for one, two in zip(pairs[::2], pairs[1::2], strict=True):
        assert (one.pair_role, two.pair_role) == ("factual", "counterfactual")
        assert (one.patient_id, one.split, one.request.seed) == (two.patient_id, two.split, two.request.seed)
        assert one.request.prompt != two.request.prompt
        assert one.labels != two.labels
    assert {image.split for image in pairs} == {"train", "test"}
    assert len({image.patient_id for image in plan.images}) == 3 + 6


def test_a_plan_without_pairs_is_the_same_plan_as_before() -> None:
    without = build_plan({name: value for name, value in GIVEN.items() if name != "pairs"}, "pairs")
    assert without.sha256 == "13c6f4fddd5e359f33dde835b65319f123be54e85430896d6dfa1a25477be738"


def test_the_folder_holds_differences_masks_and_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(folder)
    assert [row["changed"] for row in rows] == [
        *["findings: Effusion to No Finding"] * 2,
        *["findings: Mass to No Finding"] * 2,
        "sex: F to M",
        "findings: Effusion to No Finding, in its region only",
    ]
    for row in rows:
        first, second = (np.asarray(Image.open(folder / row[name])) for name in ("factual", "counterfactual"))
        difference = np.asarray(Image.open(folder / "pairs" / f"{row['patient_id']}_difference.png"))
        assert np.array_equal(difference, signed_difference(first, second))
        assert (row["share_outside"] == "") == row["changed"].startswith("sex")
    assert main(["verify", str(folder), "--sample", "0"]) == 0, capsys.readouterr()
    assert "| findings: Effusion to No Finding | 2 |" in (folder / "README.md").read_text(encoding="utf-8")


def test_parquet_says_where_pairs_differ(folder: Path, tmp_path: Path) -> None:
    rows = [
        row for path in convert(folder, tmp_path / "out", "parquet") for row in parquet.read_table(path).to_pylist()
    ]
    wanted = {image.path.name: image.recipe for image in read_dataset(folder)}
    for row in rows:
        recipe = wanted[row["file_name"]]
        assert (row["mask_cells"], row["surrounding_prompt"]) == (recipe.mask_cells, recipe.surrounding_prompt)
    assert any(row["mask_cells"] for row in rows)


def test_a_pair_in_a_region_is_equal_around_it(folder: Path, dataset_model: LoadedModel) -> None:
    *_, one, two = read_dataset(folder)
    first, second = (np.asarray(Image.open(image.path)).astype(int) for image in (one, two))
    latents = region_of(two.recipe.mask_cells, dataset_model.network.config.sample_size)
    assert latents is not None  # coarser than the region
    region = functional.interpolate(latents, first.shape).numpy()[0, 0] > 0
    assert not region.all()
    assert (two.recipe.surrounding_prompt, one.recipe.surrounding_prompt) == (one.prompt, "")
    assert (first == second)[~region].all()
    assert (first != second)[region].any()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"findings": "Effusion", "region": "yes"}, "region is 'yes'; use true or false"),
        ({"findings": "Hernia", "region": True}, "it is not known where Hernia shows; leave out region"),
        ({"sex": "F", "findings": "Mass", "region": True, "counterfactual": {"sex": "M"}}, "not only findings change"),
    ],
)
def test_regions_that_are_not_allowed_are_one_sentence(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_plan({"pairs": [entry]}, "pairs")


def test_going_on_gives_the_same_bytes(folder: Path, plan: Plan, tiny_model_dir: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "pairs" / "pairs.csv").unlink()
    next(folder.glob("pairs/*_mask.png")).unlink()
    assert run_dataset(plan, folder, Options(model=str(tiny_model_dir), adapter="none", gate=True)) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_verify_names_a_pair_of_two_patients(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder, tmp_path / "set")
    table = tmp_path / "set" / "train" / "metadata.jsonl"
    table.write_text(table.read_text(encoding="utf-8").replace('"counterfactual"', '"factual"', 1), encoding="utf-8")
    assert main(["verify", str(tmp_path / "set"), "--sample", "0"]) == 1
    assert "patient_id" in capsys.readouterr().out


def test_every_row_says_which_image_of_a_pair_it_is(folder: Path) -> None:
    roles = [image.pair_role for image in read_dataset(folder)]
    assert roles == [""] * 3 + ["factual", "counterfactual"] * 6


def test_webdataset_and_parquet_take_difference_and_mask_along(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "tars", "webdataset")
    names: list[str] = []
    for path in sorted((tmp_path / "tars").glob("*.tar")):
        with tarfile.open(path) as archive:
            names += archive.getnames()
    assert sum(name.endswith(".difference.png") for name in names) == 6
    assert sum(name.endswith(".mask.png") for name in names) == 6
    convert(folder, tmp_path / "tables", "parquet")
    tables = [parquet.read_table(path).to_pylist() for path in sorted((tmp_path / "tables").rglob("*.parquet"))]
    for row in (row for table in tables for row in table):
        assert (row["mask"] is not None) == (row["pair_role"] == "counterfactual") == (row["difference"] is not None)


def test_the_lines_for_webdataset_load_pairs_and_what_differs(folder: Path, tmp_path: Path, load_dataset: Any) -> None:
    convert(folder, tmp_path, "webdataset")
    wanted = {split: [image.path.stem for image in images] for split, images in by_split(folder).items()}
    rows = load_dataset("webdataset", data_files={split: f"{tmp_path}/{split}-*.tar" for split in wanted})
    assert {split: [row["__key__"] for row in found] for split, found in rows.items()} == wanted
    assert all(row.keys() == {"png", "json", "txt", "__key__", "__url__"} for found in rows.values() for row in found)
    pairs = load_dataset("webdataset", data_files=f"{tmp_path}/pairs-*.tar", split="train")
    assert len(pairs) == 6
    for row in pairs:
        assert row["json"]["pair_role"] == "counterfactual"
        assert row["difference.png"].size == row["mask.png"].size == (32, 32)


def by_split(folder: Path) -> dict[str, list[FinishedImage]]:
    found: dict[str, list[FinishedImage]] = {}
    for image in read_dataset(folder):
        found.setdefault(image.split, []).append(image)
    return found


def test_a_counterfactual_is_a_dicom_patient_of_its_own(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "dicom", "dicom")
    objects = [pydicom.dcmread(path) for path in sorted((tmp_path / "dicom").rglob("*.dcm"))]
    assert len({one.PatientID for one in objects}) == len(objects)
    others = [one for one in objects if one.PatientID.endswith("C")]
    assert len(others) == 6
    assert all(f"Counterfactual of {one.PatientID[:-1]}" in one.PatientComments for one in others)
    assert len(list((tmp_path / "dicom" / "pairs").glob("*.png"))) == 12


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"findings": "Mass", "counterfactual": {"side": "left"}}, "counterfactual must be a table of one or more of"),
        ({"findings": "Mass", "counterfactual": {}}, "counterfactual must be a table"),
        ({"findings": "Mass", "counterfactual": "none"}, "counterfactual must be a table"),
        ({"findings": "Mass", "counterfactual": {"age": "40-60"}}, "use one age in years"),
        ({"findings": "Mass", "counterfactual": {"sex": "X"}}, "counterfactual sex is"),
        ({"findings": "No Finding"}, "already as counterfactual says"),
        ({"findings": "Mass", "sex": {"F": 1, "M": 1}, "count": 2, "counterfactual": {"sex": "M"}}, "already as"),
        ({"findings": "Mass", "pair": 1}, "pairs entry 1 has"),
        ({"counterfactual": {"sex": "M"}}, "has no findings"),
    ],
)
def test_entries_that_are_no_pairs(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_plan({"pairs": [entry]}, "pairs")


@pytest.mark.parametrize("content", [{"pairs": "Mass"}, {"pairs": ["Mass"]}, {"pairs": [], "grid": {"prompt": "x"}}])
def test_pairs_that_are_no_list(content: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="pairs"):
        build_plan(content, "pairs")


def test_pairs_count_twice_towards_the_limit() -> None:
    with pytest.raises(RequestError, match="asks for 20 images; use at most 19"):
        build_plan({"pairs": [{"findings": "Mass", "count": 10}]}, "pairs", max_images=19)


def test_equal_images_differ_nowhere() -> None:
    picture = np.full((32, 32), 77, np.uint8)
    assert (signed_difference(picture, picture) == 128).all()
    assert not changed_mask(signed_difference(picture, picture)).any()
    found = measure_pair(picture, picture, np.zeros((32, 32), bool), np.ones((32, 32), bool))
    assert (found.mean_difference, found.share_changed, found.share_outside) == (0.0, 0.0, None)


def test_a_change_is_found_where_it_is() -> None:
    first = np.full((64, 64), 100, np.uint8)
    second = first.copy()
    second[40:60, 5:25] = 180
    difference = signed_difference(first, second)
    assert difference[50, 15] == 168
    mask = changed_mask(difference)
    assert mask[50, 15]
    assert not mask[10, 50]
    region = np.zeros((64, 64), bool)
    region[40:60, 5:15] = True
    found = measure_pair(first, second, mask, region)
    assert (found.share_outside, found.share_outside_if_even) == pytest.approx((0.5, (~region).mean()))


def test_where_findings_are_expected() -> None:
    for name in FINDINGS:
        region = expected_region([name], 256, 256)
        assert (region is None) == (name == "Hernia")
        if region is not None:
            assert region.shape == (256, 256)
            assert 0.05 < region.mean() < 0.85
    heart, lungs = (expected_region([name], 64, 64) for name in ("Cardiomegaly", "Consolidation"))
    assert heart is not None
    assert lungs is not None
    assert heart[:, 32:].sum() > heart[:, :32].sum()  # on the right of the picture
    both = expected_region(["Cardiomegaly", "Consolidation"], 64, 64)
    assert both is not None
    assert np.array_equal(both, heart | lungs)
    assert expected_region([], 64, 64) is None


def test_the_metadata_of_a_set_without_pairs_has_no_such_column(tiny_model_dir: Path, tmp_path: Path) -> None:
    plain = build_plan({"cohort": [{"findings": "Mass"}], "settings": {"num_inference_steps": 1}}, "plain")
    assert run_dataset(plain, tmp_path / "set", Options(model=str(tiny_model_dir), adapter="none")) == 0
    row = json.loads((tmp_path / "set" / "train" / "metadata.jsonl").read_text(encoding="utf-8"))
    assert "pair_role" not in row
    assert not (tmp_path / "set" / "pairs").exists()
