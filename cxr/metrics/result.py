"""What a measurement is handed on as: a figure with its interval, the numbers of images behind it, and JSON of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.intervals import middle, of_share, wilson

Json: TypeAlias = Any  # what `json.loads` gives: None, bool, int, float, str, and lists and objects of these
JsonObject: TypeAlias = dict[str, Json]

SIGNIFICANT_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class MetricResult:
    """One measured figure.

    Args:
        name: torchmetrics' or the paper's name, "KD", "coverage", "AUROC".
        value: NaN if it could not be measured; the note then says why.
        low, high: ends of the 95 % interval; NaN where there is none.
        num_generated: generated images behind it.
        num_reference: real images behind it.
        settings: what the figure depends on besides the images.
        note: one sentence for the reader, or nothing.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    num_generated: int = 0
    num_reference: int = 0
    settings: JsonObject = dataclasses.field(default_factory=dict)
    note: str = ""


class Facts(TypedDict, total=False):
    """What a `MetricResult` holds beside its figure."""

    num_generated: int
    num_reference: int
    settings: JsonObject
    note: str


class Row(TypedDict):
    """One row of a report's table: a set of images by its name, and what was measured on it."""

    name: str
    metrics: list[MetricResult]


def figure_of(name: str, values: NDArray[np.float64], **facts: Unpack[Facts]) -> MetricResult:
    """A figure and its resamples [1 + B] as a result with an interval.

    Args:
        name: of the figure.
        values: as measured, then on the resamples.
        facts: fields of `MetricResult`.
    """
    return MetricResult(name, float(values[0]), *middle(values[1:]), **facts)


def figure_of_share(name: str, values: NDArray[np.float64], count: int, **facts: Unpack[Facts]) -> MetricResult:
    """As `figure_of`, with the interval `of_share`.

    Args:
        name: of the figure.
        values: as measured, then on the resamples.
        count: images behind it, or groups of them.
        facts: fields of `MetricResult`.
    """
    value = float(values[0])
    return MetricResult(name, value, *of_share(value, middle(values[1:]), count), **facts)


def share_of(
    name: str, flags: NDArray[np.bool_], num_reference: int, settings: JsonObject, note: str = ""
) -> MetricResult:
    """A share with its interval.

    Args:
        name: of the share.
        flags: of each generated image.
        num_reference: real images behind it.
        settings: what it depends on besides the images.
        note: for the reader.
    """
    interval = wilson(int(flags.sum()), len(flags))
    return MetricResult(name, float(flags.mean()), *interval, len(flags), num_reference, settings, note)


def to_plain(value: object) -> Json:
    """Turn results into what JSON can say.

    Dataclasses become objects; arrays, named tuples and other sequences lists; paths text with forward slashes; floats
    six significant digits; what is not finite null.

    Raises:
        TypeError: a value of another kind.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, (np.generic, np.ndarray)):
        return to_plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain(item) for item in value]
    raise TypeError(f"a report cannot hold a {type(value).__name__}")


def to_json(value: object) -> bytes:
    """Results as JSON whose keys are sorted, so that equal results are equal files."""
    text = json.dumps(to_plain(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
