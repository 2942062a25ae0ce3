"""Several models in one table: the benchmark's columns, and beside them the corrected protocol with paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from cxr.evaluate.copy_search import ALIGNED
from cxr.evaluate.distances import EXPLORATORY, POSING
from cxr.evaluate.evaluation import unknown_to
from cxr.evaluate.extractors.extractor import Extractor
from cxr.evaluate.extractors.registry import load_extractors
from cxr.evaluate.measurements import SEED, Measurements, Tools, library_versions
from cxr.evaluate.network_outputs import NetworkOutputs
from cxr.evaluate.report.figure_words import detail_words, repetition_words
from cxr.evaluate.sets import ImageSet, Sets, check_sets, shared_hashes
from cxr.judges.readings import PAIRED_RESAMPLES, paired_difference
from cxr.labels.targets import ATTRIBUTES
from cxr.metrics.frechet import frechet_distance
from cxr.metrics.intervals import holm, two_sided
from cxr.metrics.kernel import Sample, mmd, mmd_resamples
from cxr.metrics.neighbours import measure_neighbourhoods
from cxr.metrics.result import JsonObject, MetricResult, figure_of
from cxr.request.errors import DataError, RequestError

BENCHMARK_EXTRACTOR = "rad-dino"  # of CheXGenBench
COLUMNS = ("FD", "KD", "precision", "recall", "density", "coverage", "alignment", "re-identification", "utility")
FORMAT = 1


class PairedTest(TypedDict):
    """The difference of one figure of two models, with its p-value, and that corrected for the number of tests."""

    name: str
    first: str
    second: str
    difference: MetricResult
    p: float
    p_holm: NotRequired[float]


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
    reference, left_out = unknown_to(tools.judges.values(), reference)
    sets = {name: Sets(images, reference, training=training) for name, images in models.items()}
    for one in sets.values():
        check_sets(one)
    doubts = [
        f"{both} images of {first} are in {second}, too, byte for byte: these are not two models."
        for (first, a), (second, b) in combinations(models.items(), 2)
        if (both := shared_hashes(a, b))
    ]
    smallest = min(models, key=lambda name: len(models[name]))
    fewest = len(models[smallest])  # one number of images for all rows of a table
    outputs = NetworkOutputs(tools.cache)
    made = {name: Measurements(one, tools, fewest, outputs) for name, one in sets.items()}
    rows = {name: _measure(name, one, tools, utility=utility) for name, one in made.items()}
    extractor, note = _benchmark_extractor(tools)
    if fewest < max(map(len, models.values())):
        doubts.append(f"All rows compare {fewest} images or fewer, as {smallest} has no more.")
    said = [f"{name}: {text}" for name in made for text in (*made[name].notes, *filter(None, rows[name]["words"]))]
    notes = [*left_out, *doubts, *filter(None, [note]), *said]
    return {
        "format": FORMAT,
        "title": f"Comparison of {', '.join(models)}",
        "reference": reference.describe(),
        "models": {name: images.describe() for name, images in models.items()},
        "benchmark": {
            "extractor": extractor.name,
            "rows": [{"name": name, "metrics": _benchmark(one, extractor, rows[name])} for name, one in made.items()],
        },
        "corrected": [
            {"extractor": one.name, "rows": _corrected([(name, row["distances"][k]) for name, row in rows.items()])}
            for k, one in enumerate(tools.extractors)
        ],
        "fidelity": [{"name": name, "headline": row["headline"]} for name, row in rows.items()],
        "tests": _tests(made, tools, rows),
        "notes": notes,
        "versions": library_versions(),
    }


def _measure(name: str, made: Measurements, tools: Tools, *, utility: bool) -> JsonObject:
    """What one model's report would say, as far as the tables need it."""
    tools.say(f"model {name}")
    fidelity = made.measure(made.fidelity)
    return {
        "distances": [made.measure(made.distances, one, settings=[one.id]) for one in tools.extractors],
        "attributes": fidelity["attributes"] if fidelity else [],
        "headline": fidelity["headline"] if fidelity else "Prompt fidelity was not measured.",
        "words": [detail_words(made.measure(made.detail)), repetition_words(made.measure(made.diversity))],
        "copies": made.measure(made.copies) if made.sets.training else None,
        "utility": made.measure(made.utility) if utility else None,
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


def _benchmark(made: Measurements, extractor: Extractor, row: JsonObject) -> JsonObject:
    """`COLUMNS` of one model: all pairs of images count, FD at whatever N there is."""
    reference, generated = (
        made.outputs.features(side, extractor) for side in (made.sets.reference, made.sets.generated)
    )
    count = min(len(reference), made.limit or len(generated))
    rng = np.random.default_rng(SEED)
    x, y = (side[np.sort(rng.choice(len(side), count, replace=False))] for side in (reference, generated))
    bias = f"at N = {count:,} mostly bias" if count < EXPLORATORY else ""
    distances = {"FD": frechet_distance(x, y), "KD": mmd(Sample(x), Sample(y))}
    values: JsonObject = {
        name: MetricResult(name, value, num_generated=count, num_reference=count, note=bias if name == "FD" else "")
        for name, value in distances.items()
    }
    values |= {name: MetricResult(name, value) for name, value in measure_neighbourhoods(x, y, SEED).items()}
    areas = [one["metrics"]["AUROC"]["value"] for one in row["attributes"] if one["judgeable"]]
    values["alignment"] = MetricResult("alignment", float(np.mean(areas)) if areas else np.nan)
    if row["copies"]:
        (space,) = (one for one in row["copies"]["spaces"] if one["name"] == ALIGNED)
        values["re-identification"] = space["flagged"]
    if row["utility"]:
        (arm,) = (one for one in row["utility"]["rows"] if one["arm"] == "TSTR")
        values["utility"] = arm["metrics"][-1]
    return values


def _corrected(entries: list[tuple[str, JsonObject]]) -> list[JsonObject]:
    """The row "generated" of each model under its name, and once what real films get."""
    rows = [
        {"name": name, "metrics": row["metrics"]}
        for name, entry in entries
        for row in entry["rows"]
        if row["name"] == "generated"
    ]
    real = next(row for row in entries[0][1]["rows"] if row["name"] == POSING)
    return [*rows, real]


def _tests(made: Mapping[str, Measurements], tools: Tools, rows: Mapping[str, JsonObject]) -> list[PairedTest]:
    """Differences of each pair: KD on the same resamples of real films, AUROC on the prompts that both have."""
    found: list[PairedTest] = []
    for first, second in combinations(made, 2):
        for extractor in tools.extractors:
            real = made[first].outputs.sample(made[first].sets.reference, extractor)
            sides = [made[name].outputs.sample(made[name].sets.generated, extractor) for name in (first, second)]
            values = [
                np.concatenate([[mmd(real, side)], mmd_resamples(real, side, seed=SEED, resamples=PAIRED_RESAMPLES)])
                for side in sides
            ]
            found.append(_test(f"KD by {extractor.name}", first, second, values[0] - values[1]))
        judgeable = [{row["name"] for row in rows[name]["attributes"] if row["judgeable"]} for name in (first, second)]
        if columns := [k for k, name in enumerate(ATTRIBUTES) if name in judgeable[0] & judgeable[1]]:
            found += _fidelity_tests(made[first], made[second], first, second, columns)
    corrected = holm([test["p"] for test in found])
    for test, p in zip(found, corrected, strict=True):
        test["p_holm"] = p
    return found


def _fidelity_tests(a: Measurements, b: Measurements, first: str, second: str, columns: list[int]) -> list[PairedTest]:
    images = [one.sets.prompted or one.sets.generated for one in (a, b)]
    if not set(images[0].prompts) & set(images[1].prompts):
        return []
    tests = []
    for name, judge in a.tools.judges.items():
        readings = [one.outputs.reading(judge, some, some.prompts) for one, some in zip((a, b), images, strict=True)]
        differences = paired_difference(readings[0], readings[1], SEED)[:, columns].mean(axis=1)
        tests.append(_test(f"AUROC of what {name} can measure", first, second, differences))
    return tests


def _test(name: str, first: str, second: str, differences: NDArray[np.float64]) -> PairedTest:
    """A difference with its resamples [1 + B]; resamples of KD are centred on the figure itself."""
    figure = figure_of(name, differences)
    return {"name": name, "first": first, "second": second, "difference": figure, "p": two_sided(differences[1:])}
