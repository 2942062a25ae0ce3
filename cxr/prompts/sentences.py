"""Tags of a prompt -> its sentences, in which cells of tables, comparisons and changes are one tag each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from cxr.prompts.answers import with_answers
from cxr.prompts.changes import rewrite
from cxr.prompts.lexicon import CUES
from cxr.prompts.phrases import MODIFIERS, REACH, Tag

DENYING, AFFIRMING = (frozenset(CUES["groups"][name]) for name in ("denying", "affirming"))
CELL_ENDS = {"comma", "sentence", "part", "question", "and"}
HAVE_CELLS = MODIFIERS | {"finding", "abnormality"}
FIELD_ENDS = {"part", "sentence", "comma"}
REQUESTS = {"can", "could", "would", "will", "please"}
HEADING_CUES = {"negation", "negation either way", "doubt", "doubt either way", "history", "negated before"}
LISTING = ("include", "includes", "significant for", "notable for")  # "PMH is significant for", "differential includes"
BEFORE_COLON = {"filler", "place", "abnormality", "view"}  # may stand between a cue and its colon
LINKS = {"or", "and", "negation", "article", "place", "versus", "means"}  # no sentence ends with these


def split_sentences(tags: Sequence[Tag]) -> list[list[Tag]]:
    """Cut at full stops, semicolons, line ends and question marks.

    A line or semicolon after a heading ("Absent:") belongs to its list, and a line that ends with a comma, "no" or the
    like goes on in the next one. A question doubts what it ends with, unless it is a request.
    """
    sentences: list[list[Tag]] = [[]]
    tags = _with_cells(tags)
    headed = False
    for index, tag in enumerate(tags):
        current = sentences[-1]
        if tag.kind == "part" and (headed or _goes_on(current, tags[index + 1 : index + 2])):
            if tag.phrase != "\n" or headed:
                current.append(replace(tag, kind="comma"))
            continue
        if tag.kind == "question" and not (current and current[0].phrase in REQUESTS):
            current.append(Tag("doubted before"))
        if tag.kind in ("sentence", "part", "question"):
            sentences.append([])
            headed = False
            continue
        current.append(tag)
        if tag.kind == "is":  # a second colon is that of a new heading
            headed = _is_headed(current)
        headed |= tag.kind in HEADING_CUES and tag.phrase.endswith(LISTING)
    return [rewrite(sentence) for sentence in with_answers([sentence for sentence in sentences if sentence])]


def _goes_on(current: Sequence[Tag], ahead: Sequence[Tag]) -> bool:
    """Whether the sentence goes on behind a line end or semicolon."""
    if not current or not ahead:
        return False
    return current[-1].kind in LINKS or current[-1].phrase == "," or ahead[0].kind in ("or", "versus")


def _is_headed(sentence: Sequence[Tag]) -> bool:
    """Whether a sentence that ends with a colon so far is a heading of denials, doubts or past diseases."""
    for index in range(len(sentence) - 2, -1, -1):
        if sentence[index].kind in HEADING_CUES:
            return is_heading(sentence, index) and not any(tag.kind == "finding" for tag in sentence[:index])
        if sentence[index].kind not in BEFORE_COLON:
            return False
    return False


def is_heading(sentence: Sequence[Tag], index: int) -> bool:
    """Whether a cue heads a list: "Negative for:", "No evidence of:", "PMH is significant for"."""
    for tag in sentence[index + 1 :]:
        if tag.kind not in BEFORE_COLON or (tag.kind == "abnormality" and sentence[index].kind == "negation"):
            # "Absent findings:", but "no findings: ..."
            return tag.kind == "is" or tag.phrase == "-" or sentence[index].phrase.endswith(LISTING)
    return False


def _with_cells(tags: Sequence[Tag]) -> list[Tag]:
    """The tags with the cells of tables ("effusion 0", "edema - no", "mass: yes") turned into what they mean."""
    result: list[Tag] = []
    answers = any(tag.phrase == "yes" for tag in tags)
    for index, tag in enumerate(tags):
        if tag.kind == "is" and _is_empty_field(tags, index):
            result.append(replace(tag, kind="supposed before", value="item"))
            continue
        if tag.phrase == "\n" and [other.kind for other in result[-2:]] == ["finding", "is"]:
            continue  # the value of a field stands in the next line
        follows = tags[index + 1].kind if index + 1 < len(tags) else "sentence"
        ends = follows in CELL_ENDS or (follows == "finding" and (answers or tag.kind == "number"))
        ends = ends or (tag.phrase in ("n", "y") and bool(_separators_before(result)))  # "Effusion? N Mass? Y"
        if ends and (tag.phrase in DENYING or tag.phrase in AFFIRMING or tag.phrase == "unknown"):
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
                    kind = "supposed before" if tag.phrase == "unknown" else kind
                    result.append(replace(tag, kind=kind, value="list" if is_list else "item"))
                continue
        result.append(tag)
    return result


def _is_empty_field(tags: Sequence[Tag], index: int) -> bool:
    """Whether nothing stands behind the colon of a finding, in a form of several fields: "Effusion:"."""
    line = list(takewhile(lambda tag: tag.kind not in FIELD_ENDS, reversed(tags[max(0, index - REACH) : index])))
    ahead = tags[index + 1 : index + REACH]
    if not line or line[0].kind != "finding" or {tag.kind for tag in line} - {*MODIFIERS, "finding"}:
        return False
    if ahead and ahead[0].phrase != "\n":
        return ahead[0].phrase in (",", ";", ".")
    behind = [tag.kind for tag in takewhile(lambda tag: tag.kind not in FIELD_ENDS, ahead[1:])]
    return "is" in behind if behind else len(line) < index  # else the value stands in the next line


def _separators_before(tags: Sequence[Tag]) -> int:
    """How many marks stand between a cell of a table and what stands before it; a true comma is none of them."""
    count = 0
    for tag in reversed(tags):
        if not (tag.kind in ("is", "question") or (tag.kind in ("comma", "part") and tag.phrase in tuple("-()[]|"))):
            break
        count += 1
    return count
