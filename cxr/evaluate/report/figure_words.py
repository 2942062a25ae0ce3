"""What a report says of its figures in words."""

from __future__ import annotations

import math

from cxr.evaluate.distances import POSING
from cxr.evaluate.diversity import NEAR_REAL
from cxr.evaluate.report.figure_cells import Metric, by_name, figure, number, spoken, value_of
from cxr.metrics.result import JsonObject
from cxr.request.messages import as_sentence

# Parts that take minutes.
ON_REQUEST = {"sensitivity": "--sensitivity", "readers": "--readings", "utility": "--utility", "sweep": "--sweep"}


def with_set(name: str) -> str:
    """The head of a column: trained with these images, too."""
    return f"with {name}"


def added_by(name: str) -> str:
    """The head of a column: what these images add."""
    return f"{name} adds"


def distance_words(entry: JsonObject) -> str:
    """KD beyond that of real films to real films, and coverage, as the end of a sentence."""
    rows = {row["name"]: by_name(row["metrics"]) for row in entry["rows"]}
    made, real = (rows.get(name, {}) for name in ("generated", POSING))
    above, above_real = (figure(row.get("KD - floor"), None) for row in (made, real))
    is_noise = value_of(made.get("KD - floor"), "low") <= 0 <= value_of(made.get("KD - floor"), "high")
    noise = ", no difference that so many images show" if is_noise else ""
    coverage, coverage_real = figure(made.get("coverage")), number(value_of(real.get("coverage")))
    return (
        f"KD is {above} above that of real films to real films{noise} ({POSING}: {above_real}); coverage is {coverage} "
        f"({coverage_real} for real films)."
    )


def repetition_words(part: JsonObject) -> str:
    """How many images repeat one another or a real film, as sentences, where that is more than real films do."""
    made, real = (by_name(row["metrics"]) for row in part["wholes"])
    names = {"near-duplicates": "all but repeat another image", NEAR_REAL: "all but repeat a film of the reference"}
    return " ".join(
        f"{100 * value_of(made[name]):.0f} % of the images {words} (real films: {100 * value_of(real[name]):.0f} %)."
        for name, words in names.items()
        if name in made and value_of(made[name], "low") > value_of(real.get(name), "high")
    )


def detail_words(part: JsonObject) -> str:
    """Which properties differ from real films at the native size, as a sentence; nothing where none does."""
    differ = [m["name"] for m in part["rows"][0]["metrics"] if (m.get("settings") or {}).get("differs")]
    return f"At {part['side']} pixels images and real films differ in {', '.join(differ)}." if differ else ""


def failure_words(part: JsonObject) -> str:
    """How many images show nothing, as a sentence; nothing where none is flat."""
    flat = value_of(part.get("flat")) / 10
    return f"{flat:.0f} % of the images are flat." if flat > 0 else ""


def fidelity_lines(comparison: JsonObject) -> list[str]:
    """What each model's report would say of its prompt fidelity in one line."""
    return [f"{row['name']}. {row['headline']}" for row in comparison["fidelity"]]


def copy_words(part: JsonObject) -> str:
    """How many images are flagged as copies, as a sentence."""
    shares = [
        f"{per_cent(space.get('flagged'))} by “{space['name']}” (real films: {per_cent(space.get('flagged_real'))})"
        for space in part["spaces"]
    ]
    return f"Flagged as possible copies: {', '.join(shares)}. Near-exact copies: {number(part.get('near_exact'), 0)}."


def corrected_p(metrics: JsonObject) -> str:
    """The p-value of what the LoRA adds, corrected for the number of findings; only findings have one."""
    settings = (metrics.get("AUROC_gain") or {}).get("settings") or {}
    return number(settings.get("p_holm"), 3)


def per_cent(metric: Metric) -> str:
    """A share in per cent with the upper end of its interval, which is what counts where hardly anything is found."""
    value, high = (100 * value_of(metric, key) for key in ("value", "high"))
    return f"{number(value)} %" + (f", at most {number(high)} %" if math.isfinite(high) else "")


def reason(report: JsonObject, part: str) -> str:
    """Why a part was not measured."""
    if found := (report.get("reasons") or {}).get(part):
        return str(found)
    if part in ON_REQUEST:
        return f"ask for it with {ON_REQUEST[part]}."
    return "what it needs was not provided."


def caption(name: str) -> str:
    """The words under a picture, from its file's name."""
    return as_sentence(spoken(name))
