"""What a finished data set is worth, as a generator of states: what was asked against what is seen, and, where real
films are at hand, all that ``python -m cxr evaluate`` measures. It needs no turn at the model.
"""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from cxr.folders.tables import csv_text
from cxr.request.errors import CxrError
from cxr.web.jobs.job import AnyJob, Job

if TYPE_CHECKING:
    from cxr.judges.receipt import Receipt

TABLE_NAME = "as_asked.csv"
COLUMNS = ("label", "asked", "as_asked", "right_on_real", "judgeable")


@dataclass(frozen=True)
class ReportOrder:
    """What is measured.

    Args:
        folder: of the job that made the data set.
        archive: its ZIP, which holds the receipts.
        num_failed: images that could not be made.
        reference: folder of real films to compare with; None for no comparison.
    """

    folder: Path
    archive: Path
    num_failed: int
    reference: Path | None = None


@dataclass(frozen=True)
class LabelCount:
    """How often something that was asked for is seen.

    Args:
        label: a finding, "no findings", "view", "sex" or "age".
        asked: images that ask for it.
        as_asked: images of these in which it is seen so.
        right_on_real: per cent of real films on which the network is right, as text; empty where unknown.
        judgeable: whether that is enough to rely on.
    """

    label: str
    asked: int
    as_asked: int
    right_on_real: str
    judgeable: bool


@dataclass(frozen=True)
class ReportState:
    """What is known so far; everything but ``step`` is there at the end.

    Args:
        stage: how far it is.
        step: what is measured now.
        labels: what is seen of what was asked; empty without a network that sees.
        failures: name -> images per 1,000, low and high end of its interval.
        page: the whole comparison with real films as HTML; empty without one.
        note: why there is no comparison although one was asked for.
        archive: all of it as a ZIP.
    """

    stage: Literal["running", "stopped", "finished"]
    step: str = ""
    labels: tuple[LabelCount, ...] = ()
    failures: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    page: str = ""
    note: str = ""
    archive: Path | None = None


ReportJob: TypeAlias = Job[ReportOrder, ReportState]


class _StoppedError(Exception):
    """Nobody wants the report any more."""


def make_report(order: ReportOrder, job: AnyJob) -> Generator[ReportState, None, None]:
    """Measure a data set.

    Args:
        order: which, and what it is compared with.
        job: once it is stopped, the work ends before the next step.
    Yields:
        A state before each step; the last one is "finished" or "stopped".
    Raises:
        CxrError: the data set is gone, or the disk refused the report.
    """

    def say(line: str) -> None:
        if job.is_stopped:
            raise _StoppedError
        job.publish(ReportState("running", line))

    yield ReportState("running", "what is seen in the images")
    target = order.folder / "report"
    try:
        labels = tuple(count_labels(_receipt_lines(order, say)))
        say("failures")
        failures = _failures(order)
        page, note = _compare(order, target, say) if order.reference else ("", "")
    except _StoppedError:
        yield ReportState("stopped")
        return
    target.mkdir(exist_ok=True)
    table = csv_text([COLUMNS, *([getattr(label, name) for name in COLUMNS] for label in labels)])
    (target / TABLE_NAME).write_text(table, encoding="utf-8", newline="")
    archive = Path(shutil.make_archive(str(order.folder / f"{order.archive.stem}_report"), "zip", target))
    yield ReportState("finished", "", labels, failures, page, note, archive)


def count_labels(lines: Iterable[Mapping[str, str]]) -> list[LabelCount]:
    """Add up the lines of many receipts, as ``receipts.csv`` has them: findings first, what is asked for most above."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for line in lines:
        if line["as_asked"]:
            found.setdefault(line["label"], []).append(line)
    counts = [
        LabelCount(
            label,
            len(asked),
            sum(line["as_asked"] == "1" for line in asked),
            asked[0]["right_on_real"],
            asked[0]["judgeable"] == "1",
        )
        for label, asked in found.items()
    ]
    return sorted(counts, key=lambda count: (count.label in ("view", "sex", "age"), -count.asked, count.label))


def _receipt_lines(order: ReportOrder, say: Callable[[str], None]) -> list[dict[str, str]]:
    from cxr.web.jobs.package import RECEIPTS_NAME, read_receipts, receipts_table

    with zipfile.ZipFile(order.archive) as archive:
        if RECEIPTS_NAME in archive.namelist():
            table = archive.read(RECEIPTS_NAME).decode()
        else:
            receipts: list[Receipt] = []
            for receipt in read_receipts(order.folder / "set"):
                say(f"what is seen in the images: {len(receipts) + 1:,}")
                receipts.append(receipt)
            table = receipts_table([""] * len(receipts), receipts)
    return list(csv.DictReader(io.StringIO(table)))


def _failures(order: ReportOrder) -> dict[str, tuple[float, float, float]]:
    """Failures per 1,000 images, by their name."""
    from cxr.evaluate.failures import measure_failures
    from cxr.evaluate.image_set import read_set
    from cxr.images.squares import read_squares
    from cxr.judges.networks import SIZE

    images = read_set(order.folder / "set")
    found = measure_failures(read_squares(images.paths, SIZE), images.hashes, order.num_failed)
    return {name: (one.value, one.low, one.high) for name, one in found.items() if name != "nan"}


def _compare(order: ReportOrder, target: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """The comparison as a page, or why there is none."""
    from cxr.evaluate import Sets, default_tools, evaluate, read_set, write_report
    from cxr.evaluate.extractors.extractor import default_cache

    assert order.reference is not None
    try:
        say("reading the real films")
        sets = Sets(read_set(order.folder / "set"), read_set(order.reference), num_failed=order.num_failed)
        found = evaluate(sets, default_tools(cache=default_cache(), say=say))
    except CxrError as error:
        # Paths of this machine do not belong in messages to visitors.
        shown = {str(order.folder / "set"): "the data set", str(order.reference): f"“{order.reference.name}”"}
        text = str(error)
        for path, name in shown.items():
            text = text.replace(path, name)
        return "", text
    write_report(found.report, target, found.pictures)
    return (target / "report.html").read_text(encoding="utf-8"), ""
