"""Statements that something is normal: the whole image, the lungs, or a part whose disease is thereby denied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from cxr.prompts.lexicon import CUES, NORMAL_DENIES
from cxr.prompts.phrases import CLAUSE_ENDS, Tag
from cxr.prompts.records import Certainty

WHOLE_IMAGE = frozenset(CUES["groups"]["whole image"])
PREDICATES = {"normal", "negation", "finding"}
RESERVATIONS = {"but", "however", "although", "though", "yet"}


@dataclass
class NormalStatements:
    """Which statements a prompt makes: on the whole image, on the lungs, or that nothing is acute."""

    whole: bool = False
    lungs: bool = False
    not_acute: bool = False

    @property
    def quiet(self) -> bool:
        """A statement that findings elsewhere do not contradict."""
        return self.lungs or self.not_acute


def read_normal(tags: Sequence[Tag], certainties: Sequence[Certainty], statements: NormalStatements) -> list[str]:
    """Read one sentence.

    Args:
        tags: of the sentence.
        certainties: of each tag.
        statements: what the sentences before it said; is added to.
    Returns:
        The findings that normal parts deny.
    """
    excepted = any(tag.kind in ("exception", "otherwise") for tag in tags) or (
        any(tag.phrase in RESERVATIONS for tag in tags) and any(tag.kind == "finding" for tag in tags)
    )
    denied: list[str] = []
    for index, tag in enumerate(tags):
        absent = certainties[index] == "absent"
        if tag.kind == "normal" and not absent:
            denied += _read_normal_word(tags, index, statements, excepted)
        elif tag.kind == "quietly normal":
            statements.not_acute |= not excepted
        elif tag.kind == "abnormality" and absent and not excepted:
            _read_denied_abnormality(tags, index, statements)
    return denied


def _read_normal_word(tags: Sequence[Tag], index: int, statements: NormalStatements, excepted: bool) -> list[str]:
    clause = _clause(tags, index)
    parts = [str(tag.value) for tag in clause if tag.kind == "structure"]
    if parts:
        one_sided = any(tag.kind in ("side", "location") and tag.value != "bilateral" for tag in clause)
        statements.lungs |= "lungs" in parts and not (excepted or one_sided)
        return [name for part in parts for name in NORMAL_DENIES.get(part, ())]
    if excepted or any(tag.kind in ("side", "location") for tag in clause):
        return []
    words = tags[index].phrase
    statements.whole |= words in WHOLE_IMAGE
    statements.lungs |= words in ("clear", "grossly clear")
    return []


def _read_denied_abnormality(tags: Sequence[Tag], index: int, statements: NormalStatements) -> None:
    item: list[Tag] = []
    for tag in reversed(tags[:index]):
        if tag.kind in ("negation", "comma", "or", "and"):
            break
        item.append(tag)
    for tag in tags[index + 1 :]:  # "no abnormality of the bones"
        if tag.kind not in ("place", "filler", "verb", "structure", "article"):
            break
        item.append(tag)
    parts = {str(tag.value) for tag in item if tag.kind == "structure"}
    if parts:
        statements.lungs |= parts == {"lungs"}
    elif not any(tag.kind in ("side", "location") for tag in item):
        acute = any(tag.kind == "acute" for tag in item)
        statements.not_acute |= acute
        statements.whole |= not acute


def _clause(tags: Sequence[Tag], index: int) -> list[Tag]:
    """The tags of the clause, and of items before it that only name parts: "lungs, heart and bones are normal"."""
    first, last = index, index
    while first and not _ends_clause(tags, first - 1):
        first -= 1
    while last + 1 < len(tags) and not _ends_clause(tags, last + 1):
        last += 1
    while first and tags[first - 1].kind == "comma":
        start = first - 1
        while start and tags[start - 1].kind not in CLAUSE_ENDS:
            start -= 1
        if {tag.kind for tag in tags[start : first - 1]} - {
            "structure",
            "filler",
            "verb",
            "is",
            "status",
            "descriptor",
        } or start == first - 1:
            break
        first = start
    return list(tags[first : last + 1])


def _ends_clause(tags: Sequence[Tag], index: int) -> bool:
    """Whether a clause ends here; at an "and", if something is said on both sides of it."""
    if tags[index].kind != "and":
        return tags[index].kind in CLAUSE_ENDS
    before, after = tags[:index], tags[index + 1 :]
    return all(any(tag.kind in PREDICATES for tag in takewhile(_inside, part)) for part in (before[::-1], after))


def _inside(tag: Tag) -> bool:
    return tag.kind not in CLAUSE_ENDS
