"""A prompt whose findings lie on one side, as two prompts: one for each half of the picture.

The embedded model has no words for left and right. The half that shall show a finding is therefore made as a region in
a picture without it, which is made beside it from the same seed; recipes hold both prompts and the region.
"""

from __future__ import annotations

from dataclasses import replace

from cxr.prompts.parsing import parse_prompt
from cxr.prompts.records import ParsedPrompt
from cxr.prompts.writers import write_caption
from cxr.request.mask_cells import CELLS, write_cells

_MIDDLE = CELLS // 2
_COLUMNS = {"left": range(_MIDDLE, CELLS), "right": range(_MIDDLE)}  # the patient's left is on the right of the picture
HALVES = {
    side: write_cells([(row, column) for row in range(CELLS) for column in columns])
    for side, columns in _COLUMNS.items()
}


def by_halves(caption: str) -> tuple[str, str, str]:
    """What draws each finding on the side that a caption names.

    Args:
        caption: in the words of the embedded model, beside which it may say "left" and "right".
    Returns:
        ``sent_prompt``, without sides; ``mask_cells`` and ``surrounding_prompt``, empty if both halves shall show the
        same. Else the patient's left half follows the first prompt, unless findings are on the right alone.
    """
    parsed = parse_prompt(caption)
    sides = {finding.side for finding in parsed.findings if finding.side in HALVES}
    if not sides:
        return caption, "", ""
    left, right = (_written(parsed, (side, None)) for side in HALVES)
    if left == right:
        return left, "", ""
    return (left, HALVES["left"], right) if "left" in sides else (right, HALVES["right"], left)


def side_of(mask_cells: str) -> str | None:
    """The side that is the region of an image, where that is one of the `HALVES`."""
    return next((side for side, cells in HALVES.items() if cells == mask_cells), None)


def without_sides(caption: str) -> str:
    """A caption in the words of the embedded model alone."""
    parsed = parse_prompt(caption)
    return _written(parsed, (*HALVES, None)) if any(finding.side for finding in parsed.findings) else caption


def _written(parsed: ParsedPrompt, sides: tuple[str | None, ...]) -> str:
    findings = tuple(replace(finding, side=None) for finding in parsed.findings if finding.side in sides)
    return write_caption(replace(parsed, findings=findings, normal=not findings))
