"""Several models in one table: the benchmark's columns, and beside them the corrected protocol with paired tests."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from cxr.evaluate.copy_grid import ALIGNED
from cxr.evaluate.distances import EXPLORATORY, POSING
from cxr.evaluate.extractors.extractor import Extractor
from cxr.evaluate.extractors.registry import load_extractors
from cxr.evaluate.image_set import ImageSet, shared_hashes
from cxr.evaluate.measurements import Measurements
from cxr.evaluate.network_outputs import NetworkOutputs
from cxr.evaluate.paired_tests import paired_tests
from cxr.evaluate.report.figure_words import detail_words, repetition_words
from cxr.evaluate.result_cache import library_versions
from cxr.evaluate.sets import Sets, check_sets, doubts_on_tables, unknown_to
from cxr.evaluate.tools import Tools
from cxr.metrics.frechet import frechet_distance
from cxr.metrics.kernel import mmd
from cxr.metrics.neighbours import measure_neighbourhoods
from cxr.metrics.result import JsonObject, MetricResult
from cxr.metrics.sample import Sample
from cxr.request.errors import DataError, RequestError

BENCHMARK_EXTRACTOR = "rad-dino"  # of CheXGenBench
COLUMNS = ("FD", "KD", "precision", "recall", "density", "coverage", "alignment", "re-identification", "utility")
FORMAT = 1


def compare_models(
    models: Mapping[str, ImageSet],
    reference: ImageSet,
    tools: Tools,
    training: ImageSet | None = None,
    *,
    utility: bool = False,
) -> JsonObject:
    """Measure several models against the same real films, and test the differences of all pairs of them.

    Args:
        models: images of each, by the name that stands in the tables; two or more.
        reference: real films that no model has seen.
        tools: what measures.
        training: what the models have learnt from, needed for re-identification and utility.
        utility: also train classifiers on the images; takes minutes.
    Returns:
        benchmark: extractor, and for each model `COLUMNS` as CheXGenBench defines them, FD with its bias at this N;
        corrected: for each model and extractor the rows of a report's distances; fidelity: what the judges can
        measure; tests: KD and AUROC of each pair of models, with p-values corrected for their number (Holm).
    Raises:
        RequestError: fewer than two models.
        DataError: as `check_sets`.
    """
    if len(models) < 2:
        raise RequestError(f"there is {len(models)} model; compare two or more")
    doubts = [*doubts_on_tables((*models.values(), reference))]
    reference, left_out = unknown_to(tools.judges.values(), reference)
    sets = {name: Sets(images, reference, training=training) for name, images in models.items()}
    for one in sets.values():
        check_sets(one)
    smallest = min(models, key=lambda name: len(models[name]))
    outputs, limit = NetworkOutputs(tools.cache), len(models[smallest])  # one number of images for all rows of a table
    measured = {name: Measurements(one, tools, limit, outputs) for name, one in sets.items()}
    rows = {name: _measure(name, one, tools, utility=utility) for name, one in measured.items()}
    extractor, note = _benchmark_extractor(tools)
    said = [
        f"{name}: {text}" for name in measured for text in (*measured[name].notes, *filter(None, rows[name]["words"]))
    ]
    common, lacking = common_attributes([row["attributes"] for row in rows.values()])
    benchmark = [
        {"name": name, "metrics": _benchmark(one, extractor, rows[name], common)} for name, one in measured.items()
    ]
    return {
        "format": FORMAT,
        "title": f"Comparison of {', '.join(models)}",
        "reference": reference.describe(),
        "models": {name: images.describe() for name, images in models.items()},
        "benchmark": {"extractor": extractor.name, "rows": benchmark},
        "corrected": [{"extractor": one.name, "rows": _corrected(rows, k)} for k, one in enumerate(tools.extractors)],
        "fidelity": [{"name": name, "headline": row["headline"]} for name, row in rows.items()],
        "tests": paired_tests(measured, tools, {name: row["attributes"] for name, row in rows.items()}),
        "notes": [*left_out, *doubts, *_doubts(models, smallest), *filter(None, [lacking, note]), *said],
        "versions": library_versions(),
    }


def common_attributes(models: Sequence[Sequence[Mapping[str, object]]]) -> tuple[set[object], str]:
    """Which attributes judges can measure in all models, and a sentence where they can measure more in some.

    Args:
        models: the attributes of each, as `cxr.evaluate.fidelity.Fidelity` has them.
    """
    judged = [{row["name"] for row in rows if row["judgeable"]} for rows in models]
    common = set.intersection(*judged)
    if not (others := set.union(*judged) - common):
        return common, ""
    names = [", ".join(sorted(map(str, some))) for some in (common, others)]
    return common, f"Alignment is a mean over {names[0] or 'nothing'}: not all models were asked for {names[1]}."


def _doubts(models: Mapping[str, ImageSet], smallest: str) -> Iterator[str]:
    """What makes the models less comparable than they look."""
    for (first, a), (second, b) in combinations(models.items(), 2):
        if both := shared_hashes(a, b):
            yield f"{both} images of {first} are in {second}, too, byte for byte: these are not two models."
    fewest = len(models[smallest])
    if fewest < max(map(len, models.values())):
        yield f"All rows compare {fewest} images or fewer, as {smallest} has no more."


def _measure(name: str, model: Measurements, tools: Tools, *, utility: bool) -> JsonObject:
    """What one model's report would say, as far as the tables need it."""
    tools.say(f"model {name}")
    fidelity = model.measure(model.fidelity)
    return {
        "distances": [model.measure(model.distances, one, settings=[one.id]) for one in tools.extractors],
        "attributes": fidelity["attributes"] if fidelity else [],
        "headline": fidelity["headline"] if fidelity else "Prompt fidelity was not measured.",
        "words": [detail_words(model.measure(model.detail)), repetition_words(model.measure(model.diversity))],
        "copies": model.measure(model.copies) if model.sets.training else None,
        "utility": model.measure(model.utility) if utility else None,
    }


def _benchmark_extractor(tools: Tools) -> tuple[Extractor, str]:
    """The benchmark's own, or where its weights are not in place the first one, and a note that says so."""
    try:
        return load_extractors([BENCHMARK_EXTRACTOR])[0], ""
    except DataError:
        first = tools.extractors[0]
        why = (
            f"The benchmark's columns are computed with {first.name} and compare with no published figure: the weights "
            f"of {BENCHMARK_EXTRACTOR} are not in place."
        )
        return first, why


def _benchmark(model: Measurements, extractor: Extractor, row: JsonObject, common: Container[object]) -> JsonObject:
    """`COLUMNS` of one model: all pairs of images count, FD at whatever N there is, attributes that all can show."""
    reference, generated = (
        model.outputs.features(side, extractor) for side in (model.sets.reference, model.sets.generated)
    )
    count = min(len(reference), model.limit or len(generated))
    rng = np.random.default_rng(0)
    x, y = (side[np.sort(rng.choice(len(side), count, replace=False))] for side in (reference, generated))
    bias = f"at N = {count:,} mostly bias" if count < EXPLORATORY else ""
    distances = {"FD": frechet_distance(x, y), "KD": mmd(Sample(x), Sample(y))}
    values: JsonObject = {
        name: MetricResult(name, value, num_generated=count, num_reference=count, note=bias if name == "FD" else "")
        for name, value in distances.items()
    }
    values |= {name: MetricResult(name, value) for name, value in measure_neighbourhoods(x, y).items()}
    areas = [one["metrics"]["AUROC"]["value"] for one in row["attributes"] if one["name"] in common]
    values["alignment"] = MetricResult("alignment", float(np.mean(areas)) if areas else np.nan)
    if row["copies"]:
        (space,) = (one for one in row["copies"]["spaces"] if one["name"] == ALIGNED)
        values["re-identification"] = space["flagged"]
    if row["utility"]:
        (arm,) = (one for one in row["utility"]["rows"] if one["arm"] == "TSTR")
        values["utility"] = arm["metrics"][-1]
    return values


def _corrected(models: Mapping[str, JsonObject], place: int) -> list[JsonObject]:
    """The row "generated" of each model under its name, and once what real films get, by one of the extractors."""
    tables = {name: {row["name"]: row for row in row["distances"][place]["rows"]} for name, row in models.items()}
    rows = [{"name": name, "metrics": table["generated"]["metrics"]} for name, table in tables.items()]
    return [*rows, next(iter(tables.values()))[POSING]]
