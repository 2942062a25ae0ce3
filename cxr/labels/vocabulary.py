"""The words that the embedded model is trained with, and the labels that they stand for."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

# The 14 findings of NIH ChestX-ray14 in the data set's own spelling (Wang et al., CVPR 2017), and what people write.
FINDING_PHRASES: dict[str, tuple[str, ...]] = {
    "Atelectasis": ("atelectasis", "atelectasis", "atelectatic changes", "lung volume loss"),
    "Cardiomegaly": ("cardiomegaly", "cardiomegaly", "an enlarged heart", "enlarged cardiac silhouette"),
    "Consolidation": ("consolidation", "consolidation", "airspace consolidation", "lung consolidation"),
    "Edema": ("edema", "pulmonary edema", "pulmonary oedema", "oedema"),
    "Effusion": ("effusion", "pleural effusion", "pleural effusion", "pleural fluid", "pleural effusions"),
    "Emphysema": ("emphysema", "emphysema", "emphysematous lungs", "hyperinflated lungs"),
    "Fibrosis": ("fibrosis", "pulmonary fibrosis", "lung fibrosis", "fibrotic changes"),
    "Hernia": ("hernia", "hiatal hernia", "hiatus hernia", "diaphragmatic hernia"),
    "Infiltration": ("infiltration", "infiltrates", "infiltrate", "pulmonary infiltrates", "lung infiltration"),
    "Mass": ("mass", "a lung mass", "lung mass", "pulmonary mass", "a tumor", "tumour"),
    "Nodule": ("nodule", "a lung nodule", "pulmonary nodule", "lung nodules", "nodules"),
    "Pleural_Thickening": ("pleural thickening", "pleural thickening", "thickened pleura"),
    "Pneumonia": ("pneumonia", "pneumonia", "pneumonia", "lung infection"),
    "Pneumothorax": ("pneumothorax", "pneumothorax", "a collapsed lung", "collapsed lung"),
}
FINDINGS = tuple(FINDING_PHRASES)
# Findings that lie on one side or on both, and how people say so. Sides are the patient's own: the left is on the right
# of the picture.
SIDED_FINDINGS = (
    *("Atelectasis", "Consolidation", "Effusion", "Emphysema", "Fibrosis", "Infiltration", "Mass", "Nodule"),
    *("Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
SIDE_FORMS = {
    "left": ("left {finding}", "left {finding}", "left-sided {finding}", "{finding} on the left"),
    "right": ("right {finding}", "right {finding}", "right-sided {finding}", "{finding} on the right"),
    "bilateral": ("bilateral {finding}", "bilateral {finding}", "{finding} on both sides"),
}
SIDES = tuple(SIDE_FORMS)
NORMAL_PHRASES = ("no findings", "no finding", "normal lungs", "clear lungs", "no acute abnormality", "no abnormality")
NORMAL_WORDS = ("normal", "normal", "healthy", "unremarkable")
MODALITIES = ("chest x-ray", "chest x-ray", "chest radiograph", "cxr", "frontal chest x-ray", "x-ray of the chest")
VIEW_PHRASES = {
    "PA": ("PA view", "PA view", "PA", "posteroanterior view", "PA projection"),
    "AP": ("AP view", "AP view", "AP", "anteroposterior view", "AP portable", "portable AP view"),
}
SHOWING = ("with", "with", "showing", "demonstrating")
# The digits of an age are tokens of their own, as in every CLIP tokenizer.
AGE_FORMS = ("{age}-year-old {noun}",) * 4 + ("{age} year old {noun}", "{age} yo {noun}", "{noun} aged {age}")
VAGUE_AGES = ((16, 20, "teenage"), (20, 35, "young"), (40, 60, "middle-aged"), (68, 121, "elderly"))
SUBJECTS = {
    "M": ("man", "man", "male", "male patient", "gentleman", "man"),
    "F": ("woman", "woman", "female", "female patient", "lady", "woman"),
    None: ("patient", "person", "adult", "patient"),
}
CHILDREN = {"M": ("boy", "male child"), "F": ("girl", "female child"), None: ("child", "patient")}
# Function words that people write around the words of the captions; they carry no label.
FILLERS = "a an the of with and in is has this image who lungs heart thorax years"


@dataclass(frozen=True)
class PromptLabels:
    """What a prompt asks for, or a table says of a radiograph; None where it says nothing.

    Args:
        findings: names of `FINDINGS`; an empty tuple means that there is none.
        age: in years.
        sex: "F" or "M".
        view: "PA" or "AP".
        sides: (finding, side) for those findings whose side is named.
        unknown: findings of which a table does not say whether they are there beside those that are.
    """

    findings: tuple[str, ...] | None = None
    age: int | None = None
    sex: str | None = None
    view: str | None = None
    sides: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()


UNKNOWN = PromptLabels()


def labels_of(prompt: str) -> PromptLabels:
    """Read a prompt that is written in the words of the captions.

    It knows no negation and no other words: it serves to label prompts that this program wrote itself.
    """
    parts = re.findall(r"[a-z]+|\d+|[,.;:]", prompt.lower())
    text, sentence = " ".join(part for part in parts if part.isalnum()), " ".join(parts)
    findings = tuple(name for name, phrases in FINDING_PHRASES.items() if _mentions(text, phrases))
    normal = _mentions(text, (*NORMAL_PHRASES, *NORMAL_WORDS))
    ages = re.findall(r"\b(\d{1,3})(?= year old| yo\b)|(?<=aged )(\d{1,3})\b", text)
    return PromptLabels(
        findings=findings if findings or normal else None,
        age=int("".join(ages[0])) if ages else None,
        sex=_only(text, {sex: (*SUBJECTS[sex], *CHILDREN[sex]) for sex in ("F", "M")}),
        view=_only(text, VIEW_PHRASES),
        sides=tuple((name, side) for name in findings for side in SIDES if _on_side(sentence, name, side)),
    )


def with_side(phrase: str, form: str) -> str:
    """Put a finding's phrase into one of `SIDE_FORMS`; an article stays in front."""
    bare = phrase.removeprefix("a ")
    return phrase[: len(phrase) - len(bare)] + form.format(finding=bare)


def _on_side(sentence: str, name: str, side: str) -> bool:
    return _mentions(sentence, _sided_phrases(name, side))


@functools.cache
def _sided_phrases(name: str, side: str) -> tuple[str, ...]:
    phrases = [phrase.removeprefix("a ") for phrase in FINDING_PHRASES[name]]
    forms = [form.replace("-", " ") for form in SIDE_FORMS[side]]
    return tuple(form.format(finding=phrase) for form in forms for phrase in phrases)


def _only(text: str, table: dict[str, tuple[str, ...]]) -> str | None:
    found = [name for name, phrases in table.items() if _mentions(text, phrases)]
    return found[0] if len(found) == 1 else None


def _mentions(text: str, phrases: tuple[str, ...]) -> bool:
    return _pattern(phrases).search(text) is not None


@functools.cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(re.escape(phrase.lower()) for phrase in phrases)})\b")
