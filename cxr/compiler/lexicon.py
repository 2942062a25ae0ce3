"""The word lists, ``findings.txt`` and ``cues.txt``, and what their words mean to one another."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from cxr.vocabulary import FINDINGS

FOLDER = Path(__file__).parent

WordLists = dict[str, dict[str, tuple[str, ...]]]


def _read(name: str) -> WordLists:
    """Section -> name -> phrases."""
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]  # names keep their capitals
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return {
        section: {
            key: tuple(" ".join(phrase.split()) for phrase in value.split(","))
            for key, value in parser[section].items()
        }
        for section in parser.sections()
    }


CUES = _read("cues.txt")
_FINDING_WORDS = _read("findings.txt")
OTHER_FINDINGS = tuple(_FINDING_WORDS["other"])
# Findings of the lungs themselves: these contradict "clear lungs".
LUNG_FINDINGS = frozenset(
    {"Atelectasis", "Consolidation", "Edema", "Infiltration", "Mass", "Nodule", "Pneumonia", "Fibrosis", "Emphysema"}
    | {"Lung Opacity", "Lung Lesion", "Cavity", "Abscess", "ARDS", "Tuberculosis", "COVID-19", "Metastases"}
)
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


def finding_phrases() -> dict[str, tuple[str, ...]]:
    """Every phrase that names findings, lower case, and the findings that it names."""
    words = _FINDING_WORDS["nih"] | _FINDING_WORDS["other"]
    table = {phrase: (name,) for name, phrases in words.items() for phrase in phrases}
    table |= {name.lower().replace("_", " ").replace("-", " "): (name,) for name in (*FINDINGS, *OTHER_FINDINGS)}
    return table | _FINDING_WORDS["several"]
