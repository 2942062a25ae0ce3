"""To which finding each side, severity, location and description belongs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cxr.prompts.phrases import DESCRIPTIVE, MODIFIERS, REACH, Tag

SEGMENT_ENDS = {"comma", "and", "or", "break", "exception", "means", "versus", "negation", "doubt", "history"}
FORMERLY = {"previously", "formerly", "initially"}
CONTRASTS = {"not", "rather than", "instead of"}
SEVERITY_ORDER = ("mild", "moderate", "severe")


@dataclass
class Attributes:
    """What belongs to one finding."""

    sides: list[str] = field(default_factory=list)
    severities: list[Tag] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    location_words: list[str] = field(default_factory=list)  # as the prompt has them
    descriptors: list[str] = field(default_factory=list)
    items: dict[int, Attributes] = field(default_factory=dict)  # by the item of the list that holds them

    def add(self, tag: Tag, item: int | None = None) -> None:
        """Take one modifier in, which a numbered item of the sentence holds."""
        if item is not None:
            self.items.setdefault(item, Attributes()).add(tag)
        if tag.kind in DESCRIPTIVE:
            self.descriptors.append(tag.words.lower())
        elif tag.kind == "severity":
            self.severities.append(tag)
        elif tag.kind == "side":
            self.sides.append(str(tag.value))
        else:
            if tag.value not in self.locations:
                self.locations.append(str(tag.value))
                self.location_words.append(str(tag.value) if tag.side or tag.corrected else tag.words.lower())
            self.sides += [tag.side] if tag.side else []

    def apart(self) -> list[Attributes]:
        """Two findings where each side has its own grade or place ("moderate right, small left"), else one."""
        graded = [item for item in self.items.values() if item.side in ("left", "right")]
        graded = [item for item in graded if item.severities or item.locations]
        if len({item.side for item in graded}) < 2:
            return [self]
        own = {word for item in graded for word in item.descriptors}
        shared = [word for word in self.descriptors if word not in own]
        return [replace(item, descriptors=[*item.descriptors, *shared]) for item in graded]

    @property
    def side(self) -> str | None:
        """Both sides make "bilateral"."""
        if not self.sides:
            return None
        return self.sides[0] if set(self.sides) == {self.sides[0]} else "bilateral"

    @property
    def severity(self) -> Tag | None:
        """The highest that is named: of "mild to moderate" the second."""
        return max(self.severities, key=lambda tag: SEVERITY_ORDER.index(str(tag.value)), default=None)

    @property
    def location(self) -> str | None:
        """All places, joined by "+"."""
        return "+".join(self.locations) or None


def assign_modifiers(tags: Sequence[Tag]) -> tuple[dict[int, Attributes], set[int]]:
    """Give each modifier of a sentence to a finding.

    Args:
        tags: of one sentence.
    Returns:
        The attributes of each finding, by its index, and the indices of the words that belong to one.
    """
    owned = {index: Attributes() for index, tag in enumerate(tags) if tag.kind == "finding"}
    segments, taken = _segments(tags), set(owned)
    for number, segment in enumerate(segments):
        for index in segment:
            # "Previously large, now small"
            if tags[index].kind in MODIFIERS | DESCRIPTIVE and not (index and tags[index - 1].phrase in FORMERLY):
                owners = _owners(tags, segments, number, index, owned)
                taken |= {index} if owners else set()
                for owner in owners:
                    owned[owner].add(tags[index], number)
    return owned, taken


def _segments(tags: Sequence[Tag]) -> list[list[int]]:
    segments: list[list[int]] = [[]]
    for index, tag in enumerate(tags):
        if segments[-1] and (tag.kind in SEGMENT_ENDS or len(segments[-1]) == REACH):
            segments.append([])
        segments[-1].append(index)
    return segments


def _owners(
    tags: Sequence[Tag], segments: list[list[int]], number: int, index: int, owned: dict[int, Attributes]
) -> list[int]:
    here = [place for place in segments[number] if place in owned]
    before = [place for place in here if place < index]
    after = [place for place in here if place > index]
    if before and (not after or _follows_place_word(tags, index)):
        return (
            _with_partners(tags, segments, number, before[-1], owned)
            if _follows_place_word(tags, index)
            else before[-1:]
        )
    if after:
        return after[:1]
    return _elsewhere(tags, segments, number, index, owned)


def _elsewhere(
    tags: Sequence[Tag], segments: list[list[int]], number: int, index: int, owned: dict[int, Attributes]
) -> list[int]:
    """The owner of a modifier in a segment without findings: the item that a list goes on to, else the last finding."""
    if any(_is_about_something_else(tags[place]) for place in segments[number]):
        return []
    both = any(tags[place].phrase == "both" for place in segments[number])
    if both and len([place for place in segments[number] if tags[place].kind in MODIFIERS]) > 1:
        # "left and right effusion, both small", "a nodule and a mass, both left"
        return [] if tags[index].phrase == "both" else [place for place in owned if place < index]
    later = [place for place in owned if place > index]
    earlier = [place for place in owned if place < index]
    if len(earlier) > 1 and tags[earlier[-1] - 1].phrase in CONTRASTS:  # "atelectasis, not pneumonia, at the left base"
        earlier.pop()
    next_link = tags[segments[number + 1][0]].kind if number + 1 < len(segments) else ""
    joined = next_link in ("and", "or", "negation", "doubt") or (
        next_link == "break" and _is_subject(tags, segments[number])
    )
    if later and (joined or (not earlier and next_link != "break")):
        return later[:1]
    return earlier[-1:] if earlier else later[:1]


def _is_subject(tags: Sequence[Tag], segment: Sequence[int]) -> bool:
    """Whether a segment names a part alone, of which what follows is said: "the left" of "the left shows ..."."""
    kinds = {tags[place].kind for place in segment}
    return kinds <= {"side", "location", "structure", "filler", "place", *SEGMENT_ENDS}


def _is_contrast(tags: Sequence[Tag], segment: Sequence[int]) -> bool:
    return tags[segment[0]].phrase in CONTRASTS


def _is_about_something_else(tag: Tag) -> bool:
    return tag.kind in ("normal", "symptom") or (tag.kind == "structure" and tag.value != "lungs")


def _follows_place_word(tags: Sequence[Tag], index: int) -> bool:
    """Whether the modifiers around this one are introduced by "in", "at", "on": these belong to what stands before."""
    return stands_before(tags, index, ("place",), "filler", "structure", "article")


def stands_before(tags: Sequence[Tag], index: int, wanted: Sequence[str], *passed_over: str) -> bool:
    """Whether a tag of a wanted kind stands before this one, with only modifiers, descriptions and these between."""
    for tag in reversed(tags[:index]):
        if tag.kind in wanted:
            return True
        if tag.kind not in (*MODIFIERS, *DESCRIPTIVE, *passed_over):
            return False
    return False


def _with_partners(
    tags: Sequence[Tag], segments: list[list[int]], number: int, owner: int, owned: dict[int, Attributes]
) -> list[int]:
    """A finding and, of "consolidation and effusion at the base", the bare one that "and" joins to it."""
    owners = [owner]
    if any(tags[place].kind in (*MODIFIERS, "article") for place in segments[number] if place < owner):
        return owners  # "emphysema and a small nodule in the apex"
    while number and (
        tags[segments[number][0]].kind in ("and", "or", "versus") or _is_contrast(tags, segments[number])
    ):
        number -= 1
        partners = [place for place in segments[number] if place in owned]
        if len(partners) != 1 or any(tags[place].kind in MODIFIERS for place in segments[number]):
            break
        owners += partners
    return owners
