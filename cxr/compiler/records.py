"""What the compiler reads out of a prompt, and what it writes for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Certainty = Literal["present", "absent", "possible", "past"]
ChipKind = Literal["understood", "ignored", "conflicting"]


@dataclass(frozen=True)
class Finding:
    """One finding as the prompt tells it.

    Args:
        name: NIH's spelling for its 14 findings, else that in ``findings.txt``.
        certainty: "past" is history ("h/o pneumonia"), which this image need not show.
        side: "left", "right", "bilateral", or None where the prompt does not say.
        severity: "mild", "moderate", "severe" or None.
        severity_word: the user's own word for it: "trace", "large", "tension"; "" where none is given.
        location: "upper", "middle", "lower", "apical", "basal", "perihilar", "peripheral", "retrocardiac" or "lingula";
            several are joined by "+".
    """

    name: str
    certainty: Certainty = "present"
    side: str | None = None
    severity: str | None = None
    severity_word: str = ""
    location: str | None = None

    @property
    def label(self) -> str:
        """The finding in a few words, as a chip shows it."""
        name = self.name.replace("_", " ")
        lead = {"absent": "no", "possible": "possible", "past": "history of"}.get(self.certainty, "")
        place = f"{self.location.replace('+', ' and ')} {name}" if self.location else name
        return " ".join(word for word in (lead, self.severity_word, self.side or "", place) if word)


@dataclass(frozen=True)
class ParsedPrompt:
    """What a prompt says; None and () where it does not say.

    Args:
        text: the prompt without ``___`` marks and surplus white space.
        findings: in the order of the prompt; left and right ones of the same name stand apart.
        normal: the prompt asks for an image without findings.
        age: completed years, 0 to 120.
        age_group: "neonate" or "infant"; where no age is given also "child", "teenage", "young", "middle-aged",
            "elderly" or a decade such as "60s".
        sex: "F" or "M".
        view: "PA", "AP" or "lateral"; a portable or supine image is AP unless the prompt says otherwise.
        position: "erect", "semi-erect", "supine" or "decubitus".
        portable: taken at the bedside.
        symptoms: complaints and circumstances that no radiograph shows.
        unread: words that mean nothing to the compiler.
        conflicts: what is told twice and differently: "age", "sex", "view", "position", whose attributes are None then,
            "normal", or a finding's name.
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


@dataclass(frozen=True)
class Chip:
    """One thing that was read, and what became of it.

    Args:
        label: what was read.
        kind: whether the model is told.
        reason: why not, or how it was put; "" where there is nothing to add.
    """

    label: str
    kind: ChipKind
    reason: str = ""


@dataclass(frozen=True)
class CompiledPrompt:
    """A prompt in a model's own form.

    Args:
        text: what the model is given; "" if nothing was understood that it could be told.
        form: a name of ``FORMS``.
        chips: what was understood, ignored and conflicting, in this order.
        dropped: the parts that did not fit into the token limit.
    """

    text: str
    form: str
    chips: tuple[Chip, ...]
    dropped: tuple[str, ...] = ()
