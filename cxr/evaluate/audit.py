"""Do judges flatter a model that has learnt from the same patients?

An auditing judge that shares no patient with the model reads the same images. A judge that knows the training films
might recognise what the model has kept of them, and see in generated images what it would not see in other films: then
PF would be higher by it than by the auditing judge, by more than it is on real held-out films. And a model that gives
no training film back has nothing of one patient to be recognised by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from cxr.evaluate.fidelity_figures import Readings, is_judgeable
from cxr.evaluate.image_set import ImageSet
from cxr.judges.judge import Judge
from cxr.judges.prompt_agreement import Agreement, measure_agreement
from cxr.labels.targets import ATTRIBUTES
from cxr.metrics.result import JsonObject, MetricResult, figure_of
from cxr.request.errors import DataError

SIDES = ("generated", "real")
MEAN = "mean of what is measurable"


class AuditRow(TypedDict):
    """One attribute, or `MEAN`: PF by a judge and by the auditor, both on real films, too, and the excess.

    The excess is how much higher PF is by the judge than by the auditor, less the same on real films.
    """

    judge: str
    name: str
    metrics: dict[str, MetricResult]


class Audit(TypedDict):
    """The part "audit" of a report.

    Args:
        auditor: its name, hash and number of patients.
        rows: of each judge.
        agrees: whether the intervals of all means of the excess hold 0; None without any.
        copied: whether copies are flagged beyond what real films allow; None if not checked.
        words: the outcome in one sentence.
    """

    auditor: JsonObject
    rows: list[AuditRow]
    agrees: bool | None
    copied: bool | None
    words: str


def shared_patients(judges: Iterable[Judge], training: ImageSet | None) -> int:
    """Patients of the training images whom a judge has learnt from, too, as far as their files say."""
    patients = set(training.patients) if training is not None else set()
    return sum(any(judge.knows(patient) for judge in judges) for patient in patients)


def note_on_sharing(judges: Iterable[Judge], training: ImageSet | None) -> list[str]:
    """What a report without an audit says of judges that share patients with the model."""
    shared = shared_patients(list(judges), training)
    words = (
        f"The judges have learnt from {shared:,} patients of the training images, too; whether that flatters the model"
    )
    return [f"{words} was not checked (--audit)."] if shared else []


def check_auditor(auditor: Judge, training: ImageSet | None) -> None:
    """Refuse a judge that shares patients with the model, or whose file does not say.

    Raises:
        DataError: saying which.
    """
    if training is None:
        raise DataError("an audit needs the training images (--training), to know whose films the model has seen")
    if training.num_unknown_patients:
        raise DataError("an audit needs to know the patients of all training images; give each a patient_id")
    if not auditor.patient_hashes:
        raise DataError(
            "the auditing judge's file names no patients: whether it shares any with the model is not known"
        )
    if shared := shared_patients([auditor], training):
        raise DataError(
            f"the auditing judge has learnt from {shared} patients of the training images; it must share none"
        )


def measure_audit(
    judges: Mapping[str, Judge],
    auditor: Judge,
    readings: Mapping[str, Readings],
    audited: Readings,
    copies: JsonObject | None,
) -> Audit:
    """Compare what each judge finds with what the auditing one does.

    Args:
        judges: by name.
        auditor: shares no patient with the model.
        readings: by judge, what they read off the sides "generated" and "real".
        audited: what the auditor reads off the same images.
        copies: that part of the report, if it was measured.
    """
    theirs = {side: measure_agreement(audited[side], auditor.thresholds) for side in SIDES}
    rows: list[AuditRow] = []
    for name, judge in judges.items():
        mine = {side: measure_agreement(readings[name][side], judge.thresholds) for side in SIDES}
        rows += _compare(name, mine, theirs)
    means = [row["metrics"]["excess"] for row in rows if row["name"] == MEAN]
    agrees = all(excess.low <= 0 <= excess.high for excess in means) if means else None
    copied = _is_copied(copies)
    return {
        "auditor": {"name": auditor.name, "sha256": auditor.sha256, "num_patients": len(auditor.patient_hashes)},
        "rows": rows,
        "agrees": agrees,
        "copied": copied,
        "words": _words(agrees, copied),
    }


def _compare(judge: str, mine: Mapping[str, Agreement], theirs: Mapping[str, Agreement]) -> list[AuditRow]:
    """What a judge finds of the attributes that both can measure, after the mean of them."""
    both = {"mine": mine["real"], "theirs": theirs["real"]}
    positive = mine["generated"].num_positive
    columns = [k for k in range(len(ATTRIBUTES)) if positive[k] and is_judgeable(both, k)]
    parts = [(MEAN, columns)] if columns else []
    parts += [(ATTRIBUTES[column], [column]) for column in columns]
    rows: list[AuditRow] = []
    for name, chosen in parts:
        pf, real, pf_audit, real_audit = (
            found[side].pf[:, chosen].mean(axis=1) for found in (mine, theirs) for side in SIDES
        )
        values = {"PF": pf, "PF_audit": pf_audit, "C": real, "C_audit": real_audit}
        values["excess"] = (pf - pf_audit) - (real - real_audit)
        metrics = {key: figure_of(key, some) for key, some in values.items()}
        rows.append({"judge": judge, "name": name, "metrics": metrics})
    return rows


def _is_copied(copies: JsonObject | None) -> bool | None:
    if copies is None:
        return None
    return bool(copies["near_exact"]) or any(
        space["flagged"]["value"] > space["flagged_real"]["high"] for space in copies["spaces"]
    )


def _words(agrees: bool | None, copied: bool | None) -> str:
    if agrees is None:
        return (
            "Whether sharing patients flatters the model could not be determined: the judges can measure no attribute."
        )
    if agrees and copied is False:
        return (
            "It was checked that sharing patients does not flatter the model: a judge that shares none agrees within "
            "the interval on the mean of what can be measured, and no copies of training films were found."
        )
    why = []
    if not agrees:
        why.append("a judge that shares no patient with the model does not agree with those that do")
    if copied is None:
        why.append("copies were not looked for")
    if copied:
        why.append("copies of training films were found")
    return f"Sharing patients may flatter the model: {' and '.join(why)}."
