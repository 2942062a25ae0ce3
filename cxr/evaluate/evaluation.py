"""Sets of images -> one report."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.audit import check_auditor, note_on_sharing
from cxr.evaluate.distances import EXPLORATORY, rank_agreement
from cxr.evaluate.goals import check_goals
from cxr.evaluate.measurements import Measurements
from cxr.evaluate.reader_answers import read_study
from cxr.evaluate.result_cache import library_versions
from cxr.evaluate.sets import Sets, check_sets, doubts_on_baselines, doubts_on_tables, unknown_to
from cxr.evaluate.sheets import draw_closest_pairs, draw_examples
from cxr.evaluate.tools import Tools
from cxr.judges.judge import Judge
from cxr.metrics.result import Json, JsonObject, MetricResult, to_plain
from cxr.request.errors import DataError

FORMAT = 2


@dataclass(frozen=True)
class Options:
    """What is measured only when asked for, since it takes minutes or people.

    Args:
        sensitivity: distances of real images that are made worse step by step.
        utility: classifiers trained on the images.
        sweep: figures of other settings, from `read_sweep`, to be shown with the report.
        readings: what human readers of a study sent back, to be shown with it.
        auditor: a judge that shares no patient with the model, to be compared with those that may.
    """

    sensitivity: bool = False
    utility: bool = False
    sweep: JsonObject | None = None
    readings: tuple[Path, ...] = ()
    auditor: Judge | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        report: all of it by part, as `report.json` holds it.
        pictures: name -> [H, W] uint8, that go with the report.
    """

    report: JsonObject
    pictures: dict[str, NDArray[np.uint8]]

    def figure(self, part: str, *names: str) -> MetricResult:
        """One figure by the names on the way to it.

        Args:
            part: of the report: "distances", "fidelity", "copies", …
            names: of extractor, space, row or attribute, in the report's order, and last of the figure itself:
                ``figure("distances", "small", "generated", "KD")``, ``figure("fidelity", "PA", "PF")``.
        Raises:
            DataError: there is no such figure.
        """
        found = to_plain(self.report.get(part))
        for name in names:
            found = _step(found, name)
        if not (isinstance(found, dict) and {"value", "low", "high"} <= found.keys()):
            raise DataError(f"the report has no figure {' / '.join((part, *names))}")
        numbers = {key: math.nan if found[key] is None else found[key] for key in ("value", "low", "high")}
        return MetricResult(**(found | numbers))


def evaluate(sets: Sets, tools: Tools, options: Options = Options()) -> Evaluation:
    """Measure everything that the given sets allow.

    Raises:
        DataError: as `check_sets`, or an image cannot be read.
    """
    check_sets(sets)
    if options.auditor is not None:
        check_auditor(options.auditor, sets.training)
        unknown_to([options.auditor], sets.reference)  # now, and not after hours, it says that too few films are left
    # Readers may have seen films that are left out of all else.
    readers = read_study(options.readings, sets.generated, sets.reference) if options.readings else None
    reference, left_out = unknown_to(tools.judges.values(), sets.reference)
    left_out += [*doubts_on_tables((sets.generated, sets.reference)), *doubts_on_baselines(sets)]
    sets = replace(sets, reference=reference)
    made = Measurements(sets, tools)
    report = _measure_all(made, options) | {"readers": readers}
    if min(len(sets.generated), len(sets.reference)) < EXPLORATORY:
        made.notes.insert(0, f"Exploratory: fewer than {EXPLORATORY:,} images of each kind.")
    sharing = [] if options.auditor else note_on_sharing(tools.judges.values(), sets.training)
    made.notes[:0] = [*left_out, *sharing]
    report["goals"] = to_plain(check_goals(to_plain(report)))
    report |= {"notes": made.notes, "reasons": made.reasons}
    pictures = {"examples": draw_examples(sets.generated, sets.reference)}
    if report["copies"] is not None and sets.training is not None:
        pictures["closest_pairs"] = draw_closest_pairs(report["copies"]["pairs"], sets.generated, sets.training)
    return Evaluation(report, pictures)


def _measure_all(made: Measurements, options: Options) -> JsonObject:
    """All parts of a report but what is said of them."""
    sets = made.sets
    rows = [made.measure(made.distances, one, settings=[one.id]) for one in made.tools.extractors]
    copies, fidelity = made.measure(made.copies), made.measure(made.fidelity)
    audit = None
    if (auditor := options.auditor) is not None:
        audit = made.measure(made.audit, auditor, copies, settings=[auditor.sha256])
    judgeable = [row["name"] for row in (fidelity or {"attributes": ()})["attributes"] if row["judgeable"]]
    return {
        "format": FORMAT,
        "title": f"Evaluation of {_subject(sets)}",
        "generated": sets.generated.describe(),
        "reference": sets.reference.describe(),
        "training": sets.training.describe() if sets.training is not None else None,
        "distances": rows,
        "rank_agreement": rank_agreement(rows),
        "sensitivity": made.measure(made.sensitivity) if options.sensitivity else [],
        "detail": made.measure(made.detail),
        "diversity": made.measure(made.diversity),
        "fidelity": fidelity,
        "audit": audit,
        "groups": made.measure(made.groups, judgeable, settings=judgeable),
        "probes": made.measure(made.probes),
        "copies": copies,
        "utility": made.measure(made.utility) if options.utility else None,
        "failures": made.measure(made.failures),
        "sweep": options.sweep,
        "versions": library_versions(),
    }


def read_sweep(path: Path) -> JsonObject:
    """What ``python -m cxr sweep`` wrote.

    Raises:
        DataError: it is not that.
    """
    try:
        found: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        if not found["points"]:
            raise ValueError("it holds no points")
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not what python -m cxr sweep wrote: {error}") from error


def _step(found: Json, name: str) -> Json:
    """What is called so among the children of a part of a report; children of its lists count as its own."""
    if isinstance(found, list):
        named = (one for one in found if name in _names(one))
        return next(named, None)
    if not isinstance(found, dict):
        return None
    if name in found:
        return found[name]
    inner = (_step(found[key], name) for key in ("metrics", "rows", "attributes", "spaces", "control") if key in found)
    return next((one for one in inner if one is not None), None)


def _names(entry: JsonObject) -> tuple[object, ...]:
    extractor = entry.get("extractor")
    return entry.get("name"), entry.get("kind"), extractor.get("name") if isinstance(extractor, dict) else extractor


def _subject(sets: Sets) -> str:
    """Who made the images, or where that is unknown or mixed the name of their folder."""
    model, adapter = (sets.generated.recipe.get(name) for name in ("model", "adapter"))
    if not isinstance(model, str):
        return sets.generated.folder.resolve().name
    return f"{model} with the LoRA {adapter}" if isinstance(adapter, str) and adapter != "none" else model
