"""A user's prompt -> the labels that it asks for, and what a model that reads words alone takes it to ask for."""

from __future__ import annotations

import functools

from cxr.labels.vocabulary import FINDINGS, VIEW_PHRASES, PromptLabels, labels_of
from cxr.prompts.parsing import parse_prompt
from cxr.prompts.records import SHOWN


@functools.lru_cache(maxsize=256)  # a data set has many images of one prompt
def asked_labels(prompt: str) -> PromptLabels:
    """Read what a prompt asks for, denials understood; of captions that this program writes, what it wrote.

    A finding in doubt is asked for, one that is denied or history is not.

    Args:
        prompt: as a user or a report writes it.
    Returns:
        NIH's 14 findings in their order; an empty tuple if the prompt asks for none, None if it does not say.
    """
    parsed = parse_prompt(prompt)
    shown = {finding.name for finding in parsed.findings if finding.certainty in SHOWN}
    findings = tuple(name for name in FINDINGS if name in shown)
    return PromptLabels(
        findings=findings or (() if parsed.normal else None),
        age=parsed.age,
        sex=parsed.sex,
        view=parsed.view if parsed.view in VIEW_PHRASES else None,
    )


def misread_findings(prompt: str) -> tuple[str, ...]:
    """Findings that a prompt names without asking for them; a model that reads words alone may show them.

    Args:
        prompt: "effusion, no pneumothorax" names Pneumothorax so.
    """
    asked = asked_labels(prompt).findings or ()
    return tuple(name for name in labels_of(prompt).findings or () if name not in asked)
