"""Tags of a prompt -> its sentences, in which tables, comparisons and changes are told by one tag each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.compiler.changes import rewrite
from cxr.compiler.phrases import Tag
from cxr.compiler.tables import with_cells

REQUESTS = {"can", "could", "would", "will", "please"}
HEADING_CUES = {"negation", "negation either way", "doubt", "doubt either way", "history", "negated before"}
LISTING = ("include", "includes", "significant for", "notable for")  # "PMH is significant for", "differential includes"
LINKS = {"comma", "or", "and", "negation", "article", "place", "severity", "side", "versus", "means", "doubt"}


def split_sentences(tags: Sequence[Tag]) -> list[list[Tag]]:
    """Cut at full stops, semicolons, line ends and question marks.

    A line or semicolon after a heading ("Absent:") belongs to its list, and a line that ends with a comma, "no" or the
    like goes on in the next one. A question doubts what it ends with, unless it is a request.
    """
    sentences: list[list[Tag]] = [[]]
    tags = with_cells(tags)
    for index, tag in enumerate(tags):
        current = sentences[-1]
        if tag.kind == "part" and _goes_on(current, tags[index + 1 :]):
            if tag.phrase != "\n" or _heads_list(current):
                current.append(replace(tag, kind="comma"))
            continue
        if tag.kind == "question" and not (current and current[0].phrase in REQUESTS):
            current.append(Tag("doubted before"))
        if tag.kind in ("sentence", "part", "question"):
            sentences.append([])
        else:
            current.append(tag)
    return [rewrite(sentence) for sentence in sentences if sentence]


def _goes_on(current: Sequence[Tag], ahead: Sequence[Tag]) -> bool:
    if not current or not ahead:
        return False
    last = current[-1].kind
    return _heads_list(current) or last in LINKS or ahead[0].kind in ("or", "versus")


def _heads_list(sentence: Sequence[Tag]) -> bool:
    """Whether a list of denials, doubts or past diseases was begun by a heading."""
    places = [index for index, tag in enumerate(sentence) if tag.kind in HEADING_CUES and is_heading(sentence, index)]
    later_heading = bool(places) and sum(tag.kind == "is" for tag in sentence[places[-1] :]) > 1
    denied_behind = bool(places) and any(tag.kind == "finding" for tag in sentence[: places[-1]])
    return bool(places) and not later_heading and not denied_behind


def is_heading(sentence: Sequence[Tag], index: int) -> bool:
    """Whether a cue heads a list: "Negative for:", "No evidence of:", "PMH is significant for"."""
    between = {"filler", "place"} | ({"abnormality"} if sentence[index].kind != "negation" else set())
    for tag in sentence[index + 1 :]:  # "absent findings:", but "no findings: ..."
        if tag.kind not in between:
            return tag.kind == "is" or tag.phrase == "-" or sentence[index].phrase.endswith(LISTING)
    return False
