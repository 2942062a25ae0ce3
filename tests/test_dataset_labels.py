"""Label columns of a data set: what was asked for, in the columns of NIH ChestX-ray14 and of CheXpert."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest

from cxr.commands.main import main
from cxr.dataset.label_columns import CHEXPERT_COLUMNS, CHEXPERT_SOURCES, NIH_COLUMNS, chexpert_labels, nih_labels
from cxr.dataset.label_faults import wrong_labels
from cxr.dataset.make import Options, iterate_dataset
from cxr.dataset.plan import build_plan
from cxr.folders.dataset_reader import read_dataset
from cxr.generate.model import get_model
from cxr.labels.vocabulary import FINDINGS
from cxr.prompts import asked_labels, denied_findings


def test_a_cohort_says_what_is_there_and_what_is_not() -> None:
    labels = nih_labels(("Effusion",), complete=True)
    assert tuple(labels) == NIH_COLUMNS
    assert [name for name, value in labels.items() if value] == ["Effusion"]
    assert None not in labels.values()


def test_a_prompt_is_silent_on_what_it_does_not_name() -> None:
    labels = nih_labels(("Effusion",), complete=False)
    assert {name for name, value in labels.items() if value is None} == set(FINDINGS) - {"Effusion"}
    assert (labels["Effusion"], labels["No Finding"]) == (1, 0)


def test_normal_excludes_every_finding_and_nothing_said_is_unknown() -> None:
    normal = nih_labels((), complete=False)
    assert normal == {"No Finding": 1} | dict.fromkeys(FINDINGS, 0)
    assert set(nih_labels(None, complete=True).values()) == {None}


def test_chexpert_columns_follow_from_the_findings() -> None:
    labels = chexpert_labels(("Mass", "Effusion"), complete=True)
    assert tuple(labels) == CHEXPERT_COLUMNS
    assert len(labels) == 14
    assert {name for name, value in labels.items() if value} == {"Lung Lesion", "Lung Opacity", "Pleural Effusion"}
    assert {name for name, value in labels.items() if value is None} == {
        *("Enlarged Cardiomediastinum", "Fracture", "Support Devices")
    }
    assert {source for sources in CHEXPERT_SOURCES.values() for source in sources} <= set(FINDINGS)
    assert chexpert_labels(("Mass",), complete=False)["Edema"] is None


@pytest.mark.parametrize(
    ("prompt", "absent"),
    [
        ("effusion, no pneumothorax", ("Pneumothorax",)),
        ("no edema or mass", ("Edema", "Mass")),
        ("no left effusion", ()),  # there may be one on the right
        ("no large pneumothorax", ()),
        ("nodule; no new nodule", ()),
        ("history of pneumonia", ()),
        ("cardiomegaly", ()),
    ],
)
def test_what_a_prompt_denies_is_asked_not_to_be_there(prompt: str, absent: tuple[str, ...]) -> None:
    assert denied_findings(prompt) == absent
    labels = nih_labels(asked_labels(prompt).findings, complete=False, denied=denied_findings(prompt))
    assert {name for name in FINDINGS if labels[name] == 0} == {*absent}
    assert not set(absent) & {*(asked_labels(prompt).findings or ())}


def test_a_table_says_what_its_prompts_deny_and_an_older_one_need_not(tmp_path: Path) -> None:
    content = {"prompts": ["effusion, no pneumothorax"], "settings": {"num_inference_steps": 1}}
    for _ in iterate_dataset(build_plan(content, "denied"), tmp_path, get_model(), Options(), threading.Event()):
        pass
    path = tmp_path / "labels.csv"
    table = path.read_text()
    (row,) = csv.DictReader(table.splitlines())
    assert (row["Effusion"], row["Pneumothorax"], row["Mass"]) == ("1", "0", "")
    assert main(["verify", str(tmp_path), "--sample", "0"]) == 0
    (image,) = read_dataset(tmp_path)
    assert not [*wrong_labels(tmp_path, [image])]
    values = [*row.values()]
    for place, cell, is_right in ((list(row).index("Pneumothorax"), "", True), (list(row).index("Mass"), "0", False)):
        path.write_text(",".join(row) + "\n" + ",".join([*values[:place], cell, *values[place + 1 :]]) + "\n")
        assert (not [*wrong_labels(tmp_path, [image])]) == is_right
