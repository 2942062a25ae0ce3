"""What was asked of an image against what the judge sees in it, as the viewer shows it beside the picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cxr.request.messages import as_sentence
from cxr.web.jobs.job import Facts

if TYPE_CHECKING:
    from cxr.judges.receipt import Receipt, ReceiptRow

FOOTNOTE = (
    "Read by a small network trained on real radiographs; the % is how often it is right on real images (age: within "
    "10 years). The small figure is how clearly it sees this, 0.50 undecided to 1.00. Not a diagnosis."
)


def receipt_rows(receipt: Receipt) -> list[Facts]:
    """The lines of a receipt, for JSON, in its order.

    Returns:
        For each line its label, what was asked and seen, ``verdict`` (whether it is as asked; None where that cannot be
        judged or nothing was asked), ``score`` and ``ceiling`` as text, empty where unknown.
    """
    return [_line(row) for row in receipt.rows]


def _line(row: ReceiptRow) -> Facts:
    return {
        "label": as_sentence(row.label.replace("_", " ")),
        "asked": row.asked,
        # The years that were read inform even where they are no verdict.
        "seen": row.seen if row.judgeable or row.label == "age" else "not judgeable",
        "verdict": row.as_asked if row.judgeable else None,
        "score": f"{row.score:.2f}" if row.judgeable and math.isfinite(row.score) else "",
        "ceiling": f"{row.ceiling:.0f} %" if math.isfinite(row.ceiling) else "unknown",
    }
