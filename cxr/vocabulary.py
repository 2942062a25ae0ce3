"""The words that the embedded model is trained with, and the labels that they stand for."""

from __future__ import annotations

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
# Findings whose side the captions tell ("left pleural effusion"); the prompt compiler goes by it.
SIDED_FINDINGS: tuple[str, ...] = ()
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
    """What a prompt asks for; None where it does not say, no findings at all being an empty tuple."""

    findings: tuple[str, ...] | None
    age: int | None
    sex: str | None
    view: str | None


def labels_of(prompt: str) -> PromptLabels:
    """Read a prompt that is written in the words of the captions.

    It knows no negation and no other words: it serves to label prompts that this program wrote itself.
    """
    text = " ".join(re.findall(r"[a-z]+|\d+", prompt.lower()))
    findings = tuple(name for name, phrases in FINDING_PHRASES.items() if _mentions(text, phrases))
    normal = _mentions(text, (*NORMAL_PHRASES, *NORMAL_WORDS))
    ages = re.findall(r"\b(\d{1,3})(?= year old| yo\b)|(?<=aged )(\d{1,3})\b", text)
    return PromptLabels(
        findings=findings if findings or normal else None,
        age=int("".join(ages[0])) if ages else None,
        sex=_only(text, {sex: (*SUBJECTS[sex], *CHILDREN[sex]) for sex in ("F", "M")}),
        view=_only(text, VIEW_PHRASES),
    )


def _only(text: str, table: dict[str, tuple[str, ...]]) -> str | None:
    found = [name for name, phrases in table.items() if _mentions(text, phrases)]
    return found[0] if len(found) == 1 else None


def _mentions(text: str, phrases: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{re.escape(phrase.lower())}\b", text) for phrase in phrases)
