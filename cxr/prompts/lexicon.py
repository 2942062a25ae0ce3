"""The word lists, ``findings.txt`` and ``cues.txt``, and what their words mean to one another."""

from __future__ import annotations

import itertools
import re
from configparser import ConfigParser
from pathlib import Path

from cxr.labels.vocabulary import FINDINGS

FOLDER = Path(__file__).parent
READ_AS = "read as: "  # begins the headings of findings.txt that give the reason of a reading

_CHOICES = re.compile("[{}]")
WordLists = dict[str, dict[str, tuple[str, ...]]]


def _read(name: str) -> WordLists:
    """Section -> name -> phrases."""
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # names keep their capitals
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return {
        section: {
            key: tuple(phrase for pattern in value.split(",") for phrase in phrases_of(pattern))
            for key, value in parser[section].items()
        }
        for section in parser.sections()
    }


def phrases_of(pattern: str) -> list[str]:
    """All phrases that a pattern stands for: "{no|not} seen" for two."""
    parts = [part.split("|") for part in _CHOICES.split(pattern)]
    return [" ".join(" ".join(words).split()) for words in itertools.product(*parts)]


CUES = _read("cues.txt")
_FINDING_LISTS = _read("findings.txt")
_POLICIES = {section: words for section, words in _FINDING_LISTS.items() if section.startswith(READ_AS)}
OTHER_FINDINGS = tuple(_FINDING_LISTS["other"])
# What chips and reports call the findings; the others by their name in small letters.
FINDING_WORDS: dict[str, str] = {
    **{name: name.lower().replace("_", " ") for name in (*FINDINGS, *OTHER_FINDINGS)},
    "Effusion": "pleural effusion",
    "Edema": "pulmonary edema",
    "Mass": "lung mass",
    "Nodule": "pulmonary nodule",
    "Fibrosis": "pulmonary fibrosis",
    "Hernia": "hiatal hernia",
    "Infiltration": "infiltrate",
    "COPD": "COPD",
    "COVID-19": "COVID-19",
    "ARDS": "ARDS",
    "Pleural Other": "pleural abnormality",
}
NAME_PARTS = {name: frozenset(words.lower().replace("-", " ").split()) for name, words in FINDING_WORDS.items()}
COUNTABLE = {"Mass", "Nodule", "Hernia", "Fracture", "Cavity", "Granuloma", "Lung Lesion", "Infiltration"}
# Findings that have no side of their own: "left effusion and cardiomegaly" names no side of the heart.
SIDELESS = frozenset(
    {"Cardiomegaly", "Enlarged Cardiomediastinum", "Edema", "Emphysema", "Hernia"}
    | {"COPD", "COVID-19", "ARDS", "Scoliosis", "Interstitial Lung Disease"}
    | {"Osteopenia", "Tortuous Aorta", "Aortic Calcification", "Pulmonary Hypertension", "Support Devices"}
    | {"Degenerative Change", "Pericardial Effusion", "Pneumomediastinum", "Mediastinal Shift", "Aortic Aneurysm"}
    | {"Sarcoidosis", "Cystic Fibrosis", "Metastases", "Pneumoperitoneum", "Tuberculosis"}
)
# Findings of the lungs themselves: these contradict "clear lungs".
LUNG_FINDINGS = frozenset(
    {"Atelectasis", "Consolidation", "Edema", "Infiltration", "Mass", "Nodule", "Pneumonia", "Fibrosis", "Emphysema"}
    | {"Lung Opacity", "Lung Lesion", "Cavity", "Abscess", "ARDS", "Tuberculosis", "COVID-19", "Metastases"}
)
# Shadows that a cause may be given for: "left opacity, probably pneumonia" is a left pneumonia.
SHADOWS = frozenset({"Lung Opacity", "Infiltration", "Consolidation", "Lung Lesion", "Interstitial Markings"})
# A normal heart and the like deny a finding; other parts of the body say nothing about one.
NORMAL_DENIES: dict[str, tuple[str, ...]] = {
    "heart": ("Cardiomegaly",),
    "cardiomediastinum": ("Cardiomegaly", "Enlarged Cardiomediastinum"),
    "mediastinum": ("Enlarged Cardiomediastinum",),
    "pleura": ("Effusion",),
}
ENLARGED_MEANS = {
    "heart": "Cardiomegaly",
    "cardiomediastinum": "Enlarged Cardiomediastinum",
    "mediastinum": "Enlarged Cardiomediastinum",
}
_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
NUMBER_WORDS = {word: number for number, word in enumerate(_NUMBERS.split(), 1)}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
TENS = {word: number for number, word in zip(range(20, 100, 10), _TENS.split(), strict=True)}


def finding_phrases() -> dict[str, tuple[str, ...]]:
    """Every phrase that names findings, lower case, and the findings that it names."""
    lists = [_FINDING_LISTS["nih"], _FINDING_LISTS["other"], *_POLICIES.values()]
    table = {phrase: (name,) for words in lists for name, phrases in words.items() for phrase in phrases}
    table |= {name.lower().replace("_", " ").replace("-", " "): (name,) for name in (*FINDINGS, *OTHER_FINDINGS)}
    return table | _FINDING_LISTS["several"]


def reading_reasons() -> dict[str, str]:
    """For each phrase whose reading is a decision of this program, the reason."""
    return {
        phrase: section.removeprefix(READ_AS)
        for section, words in _POLICIES.items()
        for phrases in words.values()
        for phrase in phrases
    }
