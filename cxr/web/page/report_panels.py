"""What the page says about a finished data set: what was asked against what is seen, failures, real films beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from cxr.request.messages import as_sentence
from cxr.web.jobs.report_job import LabelCount, ReportState
from cxr.web.page import panels

IDLE = panels.panel("Not measured", tone="idle", notes=["It does not use the model, and can run at the same time."])
FAILURES = {"failed": "could not be made", "flat": "hardly any contrast", "duplicates": "the same picture as another"}
FOOTNOTE = (
    "A small network, trained on real radiographs, looks for what each prompt asks. “Right on real” is how often it is "
    "right on real films; where that is not enough to rely on, it says so."
)
WITHOUT_REAL = (
    " Distances, detail and copies need real films: start the program with --reference DIR, or use python -m cxr "
    "evaluate."
)
NO_JUDGE = "This installation has no network that reads labels off images; only failures were counted."


def describe_state(state: ReportState) -> str:
    if state.stage == "running":
        return panels.panel("Measuring…", tone="busy", notes=[f"Now: {state.step}."])
    if state.stage == "stopped":
        return panels.panel("Stopped; nothing was written")
    notes = [f"No comparison with real films: {state.note}."] if state.note else []
    return panels.panel("Measured", "", 1.0, "bad" if state.note else "good", notes)


def describe_report(state: ReportState) -> str:
    """The figures of a finished report, and the whole comparison in a frame that runs no scripts."""
    labels = _labels_table(state.labels) if state.labels else f'<p class="cxr-hint">{NO_JUDGE}</p>'
    footnote = FOOTNOTE + ("" if state.page else WITHOUT_REAL)
    parts = [labels, _failures_table(state.failures), f'<p class="cxr-hint cxr-small">{escape(footnote)}</p>']
    if state.page:
        frame = 'class="cxr-report" sandbox title="Comparison with real films"'
        parts.append(f'<iframe {frame} srcdoc="{escape(state.page)}"></iframe>')
    return f'<section class="cxr-plan">{"".join(parts)}</section>'


def _labels_table(labels: tuple[LabelCount, ...]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Asked for", "Images", "Seen", "Share", "Right on real"))
    return _table("Asked against seen", head, "".join(map(_label_row, labels)))


def _label_row(count: LabelCount) -> str:
    name = as_sentence(count.label.replace("_", " "))
    real = f"{float(count.right_on_real):.0f} %" if count.right_on_real else "unknown"
    doubt = "" if count.judgeable else " <small>not reliable</small>"
    cells = (f"{count.asked:,}", f"{count.as_asked:,}", f"{100 * count.as_asked / count.asked:.0f} %", real + doubt)
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _failures_table(failures: Mapping[str, tuple[float, float, float]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{FAILURES[name]}</th><td>{value:.1f}</td><td>{low:.1f} to {high:.1f}</td></tr>'
        for name, (value, low, high) in failures.items()
        if math.isfinite(value)
    )
    head = '<th scope="col">Failures</th><th scope="col">per 1,000</th><th scope="col">95 % interval</th>'
    return _table("Failures", head, rows)


def _table(name: str, head: str, rows: str) -> str:
    return (
        f'<div class="cxr-scroll" role="region" aria-label="{name}" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
