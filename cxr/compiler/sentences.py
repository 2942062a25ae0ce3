"""Tags of a prompt -> its sentences, in which tables, comparisons and changes are told by one tag each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.compiler.phrases import Tag

REQUESTS = {"can", "could", "would", "will", "please"}
MODIFIERS = {"side", "severity", "location"}
HEADING_CUES = {"negation", "negation either way", "doubt", "doubt either way", "history", "negated before"}
LISTING = ("include", "includes", "significant for", "notable for")  # "PMH is significant for", "differential includes"
LINKS = {"comma", "or", "and", "negation", "article", "place", "severity", "side", "versus", "means", "doubt"}
DENYING = {"no", "n", "none", "negative", "neg", "absent", "false", "nil", "0", "not present", "not seen"}
AFFIRMING = {"yes", "y", "positive", "pos", "present", "true", "1"}
VALUE_ENDS = {"comma", "sentence", "part", "question", "and"}
CHANGES = {
    *(
        "change",
        "increase",
        "decrease",
        "worsening",
        "improvement",
        "progression",
        "reduction",
        "enlargement",
        "growth",
    ),
    *("resolution", "difference"),
}
BEFORE_CHANGE = {"acute", "filler", "status", "descriptor", "abnormality", "severity", "unknown", "enlarged"}
CHANCES = {"probability", "likelihood", "chance", "suspicion", "possibility", "risk"}
LOW = {"low", "very low", "small", "very small", "little", "minimal", "remote", "slim", "reduced", "decreased"}
BEHIND_OLD = {"finding", "descriptor", *MODIFIERS}  # "old granuloma", not "old woman"
NEGATABLE = {"finding", "abnormality", *MODIFIERS}


def split_sentences(tags: Sequence[Tag]) -> list[list[Tag]]:
    """Cut at full stops, semicolons, line ends and question marks.

    A line or semicolon after a heading ("Absent:") belongs to its list, and a line that ends with a comma, "no" or the
    like goes on in the next one. A question doubts what it ends with, unless it is a request.
    """
    sentences: list[list[Tag]] = [[]]
    tags = _with_values(tags)
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
    return [_with_comparisons(_with_changes(_with_chances(sentence))) for sentence in sentences if sentence]


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
    for tag in sentence[index + 1 :]:
        if tag.kind not in ("filler", "place"):
            return tag.kind == "is" or tag.phrase == "-" or sentence[index].phrase.endswith(LISTING)
    return False


def _with_values(tags: Sequence[Tag]) -> list[Tag]:
    """The tags with the cells of tables ("effusion 0", "edema - no", "mass: yes") turned into what they mean."""
    result: list[Tag] = []
    answers = any(tag.phrase == "yes" for tag in tags)
    for index, tag in enumerate(tags):
        follows = tags[index + 1].kind if index + 1 < len(tags) else "sentence"
        ends = follows in VALUE_ENDS or (follows == "finding" and (answers or tag.kind == "number"))
        if ends and (tag.phrase in DENYING or tag.phrase in AFFIRMING):
            separators = _separators_before(result)
            before = result[-1 - separators] if separators < len(result) else Tag("sentence")
            if before.kind in NEGATABLE and (separators or tag.kind not in ("negated before", "negation either way")):
                is_list = separators == 1 and result[-1].kind in ("is", "comma")
                del result[len(result) - separators :]
                if before.kind == "abnormality" and result[-2:-1] and result[-2].kind == "negation":
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


def _with_chances(tags: list[Tag]) -> list[Tag]:
    """The sentence with "low pretest probability of", also as "the likelihood of ... is low", as one denial."""
    result = list(tags)
    for index, tag in enumerate(result):
        if tag.phrase.split(" ")[0] in CHANCES:
            low = [place for place in range(max(0, index - 3), index) if result[place].phrase in LOW]
            ends_low = result[-1].phrase in LOW
            if low or ends_low:
                first = low[-1] if low else index
                words = " ".join(part.words for part in result[first : index + 1])
                denial = Tag("negation", "", tag.phrase, words, start=result[first].start)
                rest = result[index + 1 : -1] if ends_low and not low else result[index + 1 :]
                return [*result[:first], denial, *rest]
    return result


def _with_changes(tags: list[Tag]) -> list[Tag]:
    """The sentence with "no significant increase in" as one status: it denies nothing that is there."""
    result: list[Tag] = []
    for index, tag in enumerate(tags):
        is_status = tag.phrase == "old" and index + 1 < len(tags) and tags[index + 1].kind in BEHIND_OLD
        result.append(replace(tag, kind="status") if is_status else tag)
        before_place = index + 1 < len(tags) and tags[index + 1].kind == "place"
        if tag.phrase.split(" ")[0] in CHANGES and (before_place or tag.phrase.endswith((" in", " of"))):
            first = len(result) - 1
            while first and result[first - 1].kind in BEFORE_CHANGE:
                first -= 1
            if first and result[first - 1].kind == "negation":
                words = " ".join(part.words for part in result[first - 1 :])
                result[first - 1 :] = [Tag("status", "", "no change", words, start=result[first - 1].start)]
    return result


def _with_comparisons(tags: list[Tag]) -> list[Tag]:
    """The sentence with each comparison of sides ("left greater than right") as both sides and a descriptor."""
    result: list[Tag] = []
    index = 0
    while index < len(tags):
        tag = tags[index]
        if tag.kind == "comparison":
            first = [result.pop()] if result and result[-1].kind == "side" else []
            length = 1
            while index + length < len(tags) and tags[index + length].kind in ("filler", "place", "article"):
                length += 1
            second = index + length < len(tags) and tags[index + length].kind == "side"
            compared = [*first, *tags[index : index + length + second]]
            if not second:
                compared = [*first, tag]
                length = 1
            words = " ".join(part.words or part.phrase for part in compared)
            if first or second:
                result.append(Tag("side", "bilateral", start=tag.start))
            result.append(Tag("descriptor", "", tag.phrase, words, start=tag.start))
            index += length + second
            continue
        result.append(tag)
        index += 1
    return result
