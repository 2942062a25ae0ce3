"""The receipt of a job: what was asked, what the judge sees, and how often it is right on real images; as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr.judges.receipt import Receipt, ReceiptRow
    from cxr.web.jobs.image_job import ImageState

TITLE = "Asked against seen"
FOOTNOTE = (
    "Read by a small network trained on real radiographs; the % is how often it is right on real images (age: within "
    "10 years). The small figure is how clearly it sees this, 0.50 undecided to 1.00. Not a diagnosis."
)
SIGNS = {True: ("cxr-yes", "✓", "as asked"), False: ("cxr-no", "✗", "not as asked")}
NOT_JUDGEABLE = '<td class="cxr-faint">not judgeable</td>'


def describe_receipts(state: ImageState) -> str:
    """The receipts of a job's images, folded away under one line; empty if there are none."""
    if not state.receipts:
        return ""
    seeds = [str(file.metadata["seed"]) for file in state.images]
    notes = "".join(f"<p>{escape(note)}</p>" for note in state.receipts[0].notes)
    table = _table(seeds, state.receipts) + f"<p>{escape(FOOTNOTE)}</p>" if state.receipts[0].rows else ""
    return (
        f'<details class="cxr-receipt"><summary>{TITLE}<span>{escape(_summary(state.receipts))}</span></summary>'
        f"{table}{notes}</details>"
    )


def _summary(receipts: Sequence[Receipt]) -> str:
    verdicts = [row.as_asked for receipt in receipts for row in receipt.rows if row.judgeable]
    judged = [verdict for verdict in verdicts if verdict is not None]
    return f"{sum(judged)} of {len(judged)} as asked" if judged else "nothing that can be judged"


def _table(seeds: Sequence[str], receipts: Sequence[Receipt]) -> str:
    """One line for each label, one column for each image."""
    by_image = [{row.label: row for row in receipt.rows} for receipt in receipts]
    first = {row.label: row for rows in by_image for row in rows.values()}
    # What all images share comes first, then what is seen on some of them without having been asked for.
    labels = sorted(first, key=lambda label: any(label not in rows for rows in by_image))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", "Asked", "Right on real"))
    head += "".join(f'<th scope="col">Seed {escape(seed)}</th>' for seed in seeds)
    lines = [
        f'<tr><th scope="row">{escape(_spoken(label))}</th><td>{escape(first[label].asked)}</td>'
        f"<td>{_percent(first[label].ceiling)}</td>{''.join(_cell(rows.get(label)) for rows in by_image)}</tr>"
        for label in labels
    ]
    # It can be scrolled with the keyboard too.
    return (
        f'<div class="cxr-scroll" role="region" aria-label="{TITLE}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(row: ReceiptRow | None) -> str:
    if row is None:
        return '<td class="cxr-faint">not seen</td>'
    if not row.judgeable:
        return NOT_JUDGEABLE
    tone, sign, meaning = ("", "", "") if row.as_asked is None else SIGNS[row.as_asked]
    mark = f'<span role="img" aria-label="{meaning}">{sign}</span> ' if sign else ""
    score = "" if math.isnan(row.score) else f" <small>{row.score:.2f}</small>"
    return f'<td class="{tone}">{mark}{escape(row.seen)}{score}</td>'


def _spoken(label: str) -> str:
    return label[:1].upper() + label[1:].replace("_", " ")


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{share:.0f} %"
