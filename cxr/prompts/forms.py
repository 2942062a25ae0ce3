"""The forms in which models were trained to read prompts, and what each of them can say.

A writer gets a ``ParsedPrompt`` that holds only what its form can say (``select``), and puts it into words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cxr.labels.vocabulary import FINDING_PHRASES, SIDED_FINDINGS, VAGUE_AGES
from cxr.prompts.lexicon import FINDING_WORDS
from cxr.prompts.records import ParsedPrompt
from cxr.prompts.writers import (
    CHEXPERT_NAMES,
    KEY_VALUE_NAMES,
    write_caption,
    write_chexpert,
    write_clinical_report,
    write_key_value,
    write_plain,
)
from cxr.request.errors import RequestError

CAPTION_GROUPS = {word for _, _, word in VAGUE_AGES} | {"child", "infant", "neonate"}


@dataclass(frozen=True)
class PromptForm:
    """One form of prompt.

    Args:
        name: what presets and ``--form`` call it.
        description: one line for a list of forms.
        write: puts a prompt's content into words.
        names: the findings that it can say, and how they are called.
        says: what else it can say: "age", "age group", "sex", "side", "severity", "location", "absent", "possible".
        views: the views that it can say.
        sided: the findings that it can place on the left or on the right, where it cannot say every side of all.
    """

    name: str
    description: str
    write: Callable[[ParsedPrompt], str]
    names: Mapping[str, str]
    says: frozenset[str] = frozenset()
    views: tuple[str, ...] = ()
    sided: frozenset[str] = frozenset()

    def can_say(self, attribute: str, finding: str) -> bool:
        """Whether it has words for the "side", "severity" or "location" of a finding."""
        return attribute in self.says or (attribute == "side" and finding in self.sided)


def find_form(name: str) -> PromptForm:
    """The form of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in FORMS:
        raise RequestError(f"is {name!r}; use one of {', '.join(FORMS)}", field="form")
    return FORMS[name]


_CAPTION_NAMES = {name: phrases[1] for name, phrases in FINDING_PHRASES.items()}
_REPORT_SAYS = frozenset({"age", "age group", "sex", "side", "severity", "location", "absent", "possible"})
FORMS: dict[str, PromptForm] = {
    form.name: form
    for form in (
        PromptForm(
            "caption",
            "the embedded model's training captions",
            write_caption,
            _CAPTION_NAMES,
            frozenset({"age", "age group", "sex"}),
            ("AP", "PA"),
            frozenset(SIDED_FINDINGS),
        ),
        PromptForm(
            "key_value",
            "words and key=value pairs",
            write_key_value,
            KEY_VALUE_NAMES,
            frozenset({"age", "sex"}),
            ("PA",),
        ),
        PromptForm("chexpert", "CheXpert's labels, separated by commas", write_chexpert, CHEXPERT_NAMES),
        PromptForm(
            "report", "the impression of a radiology report", write_clinical_report, FINDING_WORDS, _REPORT_SAYS
        ),
        PromptForm("plain", "your own words, tidied", write_plain, {}),
    )
}
