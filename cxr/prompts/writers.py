"""What is to be said -> a prompt in the words of one form."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.labels.vocabulary import CHILDREN, FINDING_PHRASES, FINDINGS, MODALITIES, NORMAL_PHRASES, SUBJECTS
from cxr.prompts.lexicon import FINDING_WORDS
from cxr.prompts.records import Finding, ParsedPrompt

SEXES = {"F": "female", "M": "male"}
GROWN_AGE = 16  # from here on the captions say man and woman
# CheXpert's 14 labels have no words of their own for these.
CHEXPERT_NAMES: dict[str, str] = {
    **{name: name for name in ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pneumonia", "Pneumothorax")},
    **{name: name for name in ("Enlarged Cardiomediastinum", "Lung Opacity", "Lung Lesion", "Pleural Other")},
    **{name: name for name in ("Fracture", "Support Devices")},
    "Effusion": "Pleural Effusion",
    "Infiltration": "Lung Opacity",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Pleural_Thickening": "Pleural Other",
}
KEY_VALUE_NAMES = {name: name.lower().replace("_", " ") for name in FINDINGS} | {"Effusion": "pleural effusion"}
REPORT_PLACES = {"upper": "upper lobe", "middle": "mid lung", "lower": "lower lobe", "lingula": "lingular"}


def middle_age(prompt: ParsedPrompt) -> int | None:
    """The age in years; of a decade such as "60s" its middle."""
    if prompt.age is None and prompt.age_group and prompt.age_group[0].isdigit():
        return int(prompt.age_group.removesuffix("s")) + 5
    return prompt.age


def join(items: Sequence[str], link: str = "and") -> str:
    """A, B and C."""
    return f" {link} ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def write_caption(prompt: ParsedPrompt) -> str:
    """As ``cxr.labels.captions`` writes them: a sentence if there is a patient to speak of, else a list."""
    shown = list(dict.fromkeys(_caption_words(finding) for finding in prompt.findings))
    view = f"{'portable ' * (prompt.portable and prompt.view == 'AP')}{prompt.view} view" if prompt.view else ""
    subject = _caption_subject(prompt)
    if subject:
        article = "An" if subject[0] in "aeiou8" or subject.startswith(("11-", "18-")) else "A"
        shown = shown or [NORMAL_PHRASES[0]] * prompt.normal
        text = f"{article} {subject}" + (f" with {' and '.join(shown)}" if shown else "")
        return f"{text}, {view}" if view else text
    modality = f"normal {MODALITIES[0]}" if prompt.normal and not shown else MODALITIES[0]
    return ", ".join(part for part in (modality, view, *shown) if part)


def _caption_words(finding: Finding) -> str:
    """Its phrase of the captions, with the side that ``_select_finding`` left: "a left lung mass"."""
    phrase = FINDING_PHRASES[finding.name][1]
    article = "a " * phrase.startswith("a ")
    return f"{article}{finding.side} {phrase.removeprefix(article)}" if finding.side else phrase


def _caption_subject(prompt: ParsedPrompt) -> str:
    age, group = middle_age(prompt), prompt.age_group
    if age is None and group is None and prompt.sex is None:
        return ""
    small = group in ("child", "infant", "neonate") or (age is not None and age < GROWN_AGE)
    noun = (CHILDREN if small else SUBJECTS)[prompt.sex][0]
    if age:  # a baby of 0 years is a child without a number: the captions have none
        return f"{age}-year-old {noun}"
    return f"{group} {noun}" if group and not small else noun


def write_key_value(prompt: ParsedPrompt) -> str:
    """The form of the model card of doronys/synthmed-loras, whose images are all PA."""
    sex = SEXES.get(prompt.sex or "")
    age = middle_age(prompt)
    parts = ["chest xray view=pa", f"age={age}" if age is not None else "", f"gender={sex}" if sex else ""]
    shown = list(dict.fromkeys(KEY_VALUE_NAMES[finding.name] for finding in prompt.findings))
    shown = shown or ["no finding"] * prompt.normal
    parts += [f"demonstrating {', '.join(shown)}"] if shown else []
    return " ".join(part for part in parts if part)


def write_chexpert(prompt: ParsedPrompt) -> str:
    """The labels, separated by commas."""
    shown = list(dict.fromkeys(CHEXPERT_NAMES[finding.name] for finding in prompt.findings))
    return ", ".join(shown or ["No Finding"] * prompt.normal)


def write_clinical_report(prompt: ParsedPrompt) -> str:
    """The patient, then an impression, as models trained with MIMIC-CXR read it (card of stanfordmimi/RoentGen-v2)."""
    sentences = [_report_subject(prompt)]
    words = [(finding, _report_words(finding)) for finding in prompt.findings]
    sentences += [said for finding, said in words if finding.certainty == "present"]
    sentences += [f"possible {said}" for finding, said in words if finding.certainty == "possible"]
    sentences += ["normal chest radiograph"] * prompt.normal
    absent = dict.fromkeys(said for finding, said in words if finding.certainty == "absent")
    bare = [said for said in absent if said in FINDING_WORDS.values()]
    sentences += [f"no {join(bare, 'or')}"] if bare else []
    sentences += [f"no {said}" for said in absent if said not in bare]  # a side or grade would end a list of denials
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def _report_subject(prompt: ParsedPrompt) -> str:
    sex = SEXES.get(prompt.sex or "", "")
    age, group = middle_age(prompt), prompt.age_group
    if age:
        return f"{age} year old {sex or 'patient'}"
    if group in ("neonate", "infant", "child"):
        return f"{sex} {group}".strip()
    return f"{group} {sex or 'patient'}" if group else sex


def _report_words(finding: Finding) -> str:
    grade = finding.severity_word
    if grade.endswith("ly") and grade != "early":  # "mildly enlarged heart" is mild cardiomegaly
        grade = finding.severity or ""
    places = (finding.location or "").split("+") if finding.location else []
    if finding.side == "right" and places == ["middle"]:
        place = "middle lobe"
    else:
        place = " and ".join(REPORT_PLACES.get(place, place) for place in places)
    side = f"{finding.side}-sided" if finding.side in ("left", "right") and not place else finding.side or ""
    words = (side, grade) if grade == "tension" else (grade, side)
    return " ".join(word for word in (*words, place, FINDING_WORDS[finding.name]) if word)


def write_plain(prompt: ParsedPrompt) -> str:
    return " ".join(prompt.text.split())
