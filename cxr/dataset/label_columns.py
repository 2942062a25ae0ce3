"""What each image was asked to show, as label columns of the data sets that classifiers are trained on."""

from __future__ import annotations

from collections.abc import Collection

from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import FINDINGS

NIH_COLUMNS = (NO_FINDING, *FINDINGS)
# The 14 observations of CheXpert (Irvin et al., AAAI 2019) and the NIH findings that each stands for. Lung Opacity is
# the parent of the next rows in that data set's own hierarchy; those without a counterpart stay unknown.
CHEXPERT_SOURCES: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": (),
    "Cardiomegaly": ("Cardiomegaly",),
    "Lung Opacity": ("Infiltration", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Mass", "Nodule"),
    "Lung Lesion": ("Mass", "Nodule"),
    "Edema": ("Edema",),
    "Consolidation": ("Consolidation",),
    "Pneumonia": ("Pneumonia",),
    "Atelectasis": ("Atelectasis",),
    "Pneumothorax": ("Pneumothorax",),
    "Pleural Effusion": ("Effusion",),
    "Pleural Other": ("Pleural_Thickening",),
    "Fracture": (),
    "Support Devices": (),
}
CHEXPERT_COLUMNS = (NO_FINDING, *CHEXPERT_SOURCES)


def nih_labels(
    findings: tuple[str, ...] | None, *, complete: bool, denied: Collection[str] = ()
) -> dict[str, int | None]:
    """1 asked for, 0 asked not to be there, None not said.

    Args:
        findings: asked for; an empty tuple asks for none of them, None says nothing.
        complete: whether what is not named shall not be there, as in a cohort; a prompt in free words names some and
            is silent on the rest.
        denied: what a prompt in free words says is not there.
    """
    absent = dict.fromkeys(denied, 0)
    if findings is None:
        return dict.fromkeys(NIH_COLUMNS) | absent
    silent = 0 if complete or not findings else None
    labels: dict[str, int | None] = {NO_FINDING: int(not findings)}
    return labels | dict.fromkeys(FINDINGS, silent) | absent | dict.fromkeys(findings, 1)


LABEL_COLUMNS = (*NIH_COLUMNS, *(name for name in CHEXPERT_COLUMNS if name not in NIH_COLUMNS))


def label_row(
    findings: tuple[str, ...] | None, *, complete: bool, denied: Collection[str] = ()
) -> dict[str, int | None]:
    """The columns of both, `LABEL_COLUMNS`; what both name means the same in both."""
    nih = nih_labels(findings, complete=complete, denied=denied)
    return nih | chexpert_labels(findings, complete=complete, denied=denied)


def chexpert_labels(
    findings: tuple[str, ...] | None, *, complete: bool, denied: Collection[str] = ()
) -> dict[str, int | None]:
    """The same in CheXpert's columns: 1 if any source is asked for, 0 if none may be there, None otherwise."""
    nih = nih_labels(findings, complete=complete, denied=denied)
    labels: dict[str, int | None] = {NO_FINDING: nih[NO_FINDING]}
    for name, sources in CHEXPERT_SOURCES.items():
        values = [nih[source] for source in sources]
        labels[name] = 1 if 1 in values else 0 if values and None not in values else None
    return labels
