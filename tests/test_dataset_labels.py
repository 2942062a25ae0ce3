"""Label columns of a data set: what was asked for, in the columns of NIH ChestX-ray14 and of CheXpert."""

from __future__ import annotations

from cxr.dataset.label_columns import CHEXPERT_COLUMNS, CHEXPERT_SOURCES, NIH_COLUMNS, chexpert_labels, nih_labels
from cxr.labels.vocabulary import FINDINGS


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
