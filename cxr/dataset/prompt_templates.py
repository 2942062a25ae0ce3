"""Labels of a cohort -> its prompts, by the templates of a plan."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

from cxr.dataset.label_faults import not_asked
from cxr.labels.captions import noun_of
from cxr.labels.vocabulary import FINDING_PHRASES, PromptLabels
from cxr.prompts import parse_prompt
from cxr.request.errors import RequestError
from cxr.request.messages import shown, shown_names

TEMPLATES = ("Chest X-ray, {view} view, {age}-year-old {sex}, {findings}",)
TEMPLATE_FIELDS = ("age", "sex", "view", "findings")


def read_templates(content: object) -> list[str]:
    """Check the templates of a plan.

    Raises:
        RequestError: they are not a list of texts, name anything but `TEMPLATE_FIELDS`, or do not name findings.
    """
    if not isinstance(content, list) or not all(isinstance(text, str) for text in content):
        raise RequestError("templates must be a list of texts")
    if not content:
        raise RequestError("templates is an empty list; leave it out, or name a text")
    for text in content:
        try:
            parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
        except ValueError as error:
            raise RequestError(f"a template cannot be read: {error}") from error
        named = {str(name) for _, name, _, _ in parts}
        if named - set(TEMPLATE_FIELDS):
            raise RequestError(f"a template names {shown_names(sorted(named))}; use {', '.join(TEMPLATE_FIELDS)}")
        if any(width or conversion for _, _, width, conversion in parts):
            raise RequestError("a template has a format behind a name; write {age}, not {age:3} or {age!r}")
        if "findings" not in named:
            raise RequestError("a template has no {findings}; images would get labels that nobody asked the model for")
    return content


def named_labels(template: str, labels: PromptLabels) -> PromptLabels:
    """Of the labels those that the template names: nothing else is asked of the model."""
    named = {name for _, name, _, _ in string.Formatter().parse(template)}
    unsaid: dict[str, Any] = {name: None for name in TEMPLATE_FIELDS if name not in named}
    return replace(labels, **unsaid)


def check_wording(template: str, prompt: str, labels: PromptLabels) -> None:
    """Refuse a template whose prompt asks for something else than its labels.

    Raises:
        RequestError: it denies a finding, for example, or says a sex or an age of its own.
    """
    denied = {found.name for found in parse_prompt(prompt).findings if found.certainty == "absent"}
    wrong = (
        ["findings"]
        if denied & {*(labels.findings or ())}
        else not_asked(labels, prompt, is_silent=True, has_sides=True)
    )
    if wrong:
        raise RequestError(
            f"with the template {shown(template)} a prompt says something else of {', '.join(wrong)} than its labels; "
            "leave such words out"
        )


def fill_template(template: str, labels: PromptLabels) -> str:
    """The prompt for one image; findings in a phrase of their own each, with their side."""
    sides = dict(labels.sides)
    phrases = [f"{sides.get(name, '')} {FINDING_PHRASES[name][0]}".strip() for name in labels.findings or ()]
    shown = " and ".join(phrases) or "no findings"
    sex = noun_of(labels.sex, labels.age)
    return template.format(age=labels.age, sex=sex, view=labels.view, findings=shown)
