"""Cells of tables: "effusion 0", "edema - no", "mass: yes"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.prompts.kinds import MODIFIERS
from cxr.prompts.phrases import Tag

DENYING = {
    "no",
    "n",
    "none",
    "negative",
    "neg",
    "absent",
    "false",
    "nil",
    "0",
    "non",
    "nein",
    "not present",
    "not seen",
}
AFFIRMING = {"yes", "y", "positive", "pos", "present", "true", "1"}
CELL_ENDS = {"comma", "sentence", "part", "question", "and"}
HAVE_CELLS = MODIFIERS | {"finding", "abnormality"}


def with_cells(tags: Sequence[Tag]) -> list[Tag]:
    """The tags with the cells of tables ("effusion 0", "edema - no", "mass: yes") turned into what they mean."""
    result: list[Tag] = []
    answers = any(tag.phrase == "yes" for tag in tags)
    for index, tag in enumerate(tags):
        follows = tags[index + 1].kind if index + 1 < len(tags) else "sentence"
        ends = follows in CELL_ENDS or (follows == "finding" and (answers or tag.kind == "number"))
        if ends and (tag.phrase in DENYING or tag.phrase in AFFIRMING):
            separators = _separators_before(result)
            before = result[-1 - separators] if separators < len(result) else Tag("sentence")
            if before.kind in HAVE_CELLS and (separators or tag.kind not in ("negated before", "negation either way")):
                is_list = separators == 1 and result[-1].kind in ("is", "comma")
                del result[len(result) - separators :]
                if before.kind == "abnormality" and result[-2:-1] and result[-2].kind == "negation":
                    if tag.phrase in DENYING:
                        del result[-2:]  # "No Finding: 0" says nothing
                else:
                    kind = "negated before" if tag.phrase in DENYING else "affirmation"
                    result.append(replace(tag, kind=kind, value="list" if is_list else "item"))
                continue
        result.append(tag)
    return result


def _separators_before(tags: Sequence[Tag]) -> int:
    """How many marks stand between a cell of a table and what stands before it; a true comma is none of them."""
    count = 0
    for tag in reversed(tags):
        if not (tag.kind in ("is", "question") or (tag.kind in ("comma", "part") and tag.phrase in tuple("-()[]|"))):
            break
        count += 1
    return count
