"""What the compiler reads out of a prompt, and what it writes for a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cxr.prompts.lexicon import COUNTABLE, FINDING_WORDS

Certainty = Literal["present", "absent", "possible", "past", "supposed"]
ChipKind = Literal["understood", "ignored", "conflicting"]
SHOWN = ("present", "possible")  # certainties of findings that are asked for


@dataclass(frozen=True)
class Finding:
    """One finding as the prompt has it.

    Args:
        name: NIH's spelling for its 14 findings, else that in ``findings.txt``.
        certainty: "past" is history ("h/o pneumonia"), which this image need not show; "supposed" is spoken of without
            saying that it is there ("at risk of pneumonia", "CT to look for a nodule").
        side: "left", "right", "bilateral", or None where the prompt does not say.
        severity: "mild", "moderate", "severe" or None.
        severity_word: the user's own word for it: "trace", "large", "tension"; "" where there is none.
        location: "upper", "middle", "lower", "apical", "basal", "perihilar", "peripheral", "retrocardiac" or "lingula";
            several are joined by "+".
        location_words: the user's own words for it.
        descriptors: what else is said of it: "spiculated", "3 cm", "left greater than right".
        read_from: the user's own words for it where they are others than the finding's name: "CHF", "pnuemonia".
        reasons: why these words were read so, where that is a decision of this program.
    """

    name: str
    certainty: Certainty = "present"
    side: str | None = None
    severity: str | None = None
    severity_word: str = ""
    location: str | None = None
    location_words: str = field(default="", compare=False)
    descriptors: tuple[str, ...] = field(default=(), compare=False)
    read_from: tuple[str, ...] = field(default=(), compare=False)
    reasons: tuple[str, ...] = field(default=(), compare=False)

    @property
    def place(self) -> str:
        """The location in words."""
        return self.location_words or (self.location or "").replace("+", " and ")

    @property
    def label(self) -> str:
        """The finding in a few words, as a chip shows it: "large right pleural effusion", "no “CHF”, read as ..."."""
        name = FINDING_WORDS.get(self.name, self.name)
        own = ", ".join(f"“{words}”" for words in self.read_from) or name
        lead = {"absent": "no", "possible": "possible"}.get(self.certainty, "")
        end = "in the past" if self.certainty == "past" else ""
        if end and self.name in COUNTABLE and not (self.severity_word or self.side or self.read_from):
            lead = "a"
        said = (lead, self.severity_word, self.side or "", self.place, *self.descriptors, own, end)
        return " ".join(word for word in said if word) + (f", read as {name}" if self.read_from else "")


@dataclass(frozen=True)
class Note:
    """Words of a prompt that need a remark, mostly that no picture is made of them.

    Args:
        words: the user's own.
        reason: why no picture is made of them, or how they were read.
        understood: they were read, though not as they are written.
    """

    words: str
    reason: str
    understood: bool = False


@dataclass(frozen=True)
class ParsedPrompt:
    """What a prompt says; None and () where it does not say.

    Args:
        text: the prompt without ``___`` marks and surplus white space.
        findings: in the order of the prompt; left and right ones of the same name stand apart.
        normal: the prompt asks for an image without findings.
        age: completed years, 0 to 120.
        age_group: "neonate" or "infant"; where there is no age also "child", "teenage", "young", "middle-aged",
            "elderly" or a decade such as "60s".
        sex: "F" or "M".
        view: "PA", "AP" or "lateral"; a portable or supine image is AP unless the prompt says otherwise.
        position: "erect", "semi-erect", "supine" or "decubitus".
        portable: taken at the bedside.
        symptoms: complaints and circumstances that no radiograph shows.
        unread: words that mean nothing to the compiler.
        conflicts: what is stated in two ways: "age", "sex", "view", "position", whose attributes are None then,
            "normal", or a finding's name.
        notes: what was read and belongs into no picture, or was read in another way than it is written.
    """

    text: str
    findings: tuple[Finding, ...] = ()
    normal: bool = False
    age: int | None = None
    age_group: str | None = None
    sex: str | None = None
    view: str | None = None
    position: str | None = None
    portable: bool = False
    symptoms: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Chip:
    """One thing that was read, and what became of it.

    Args:
        kind: whether the model gets it.
        reason: why not, or how it was put; "" where there is nothing to add.
    """

    label: str
    kind: ChipKind
    reason: str = ""


@dataclass(frozen=True)
class CompiledPrompt:
    """A prompt in a model's own form.

    Args:
        text: what the model gets; "" if nothing was understood that the form can say.
        form: a name of ``FORMS``.
        chips: what was understood, ignored and conflicting, in this order.
        dropped: the parts that did not fit into the token limit.
    """

    text: str
    form: str
    chips: tuple[Chip, ...]
    dropped: tuple[str, ...] = ()
