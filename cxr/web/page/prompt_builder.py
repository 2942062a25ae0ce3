"""The prompt builder: findings, sex, age, view and side as switches, kept in step with the text of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gradio as gr

from cxr.labels.cells import VIEWS
from cxr.labels.vocabulary import FINDING_PHRASES, SIDED_FINDINGS, SIDES, with_side
from cxr.prompts import Finding, ParsedPrompt, PromptForm, parse_prompt
from cxr.prompts.patient import MAX_AGE
from cxr.prompts.records import SHOWN
from cxr.prompts.writers import join, middle_age, write_caption
from cxr.request.errors import RequestError
from cxr.request.messages import as_sentence, shown
from cxr.request.setting import MAX_PROMPT_CHARACTERS
from cxr.web.page.image_form import PLACEHOLDER, unchecked

NO_FINDING = "No finding"
ANY = "Any"
FINDING_LABELS = {name: phrases[0].capitalize() for name, phrases in FINDING_PHRASES.items()}
SEXES = {"F": "Female", "M": "Male"}


@dataclass(frozen=True)
class Choices:
    """What the switches say.

    Args:
        findings: NIH's spelling, or `NO_FINDING`.
        sex: "F", "M" or `ANY`.
        age: in years, or None.
        view: of `VIEWS`, or `ANY`.
        side: of ``SIDES``, of all findings that lie on a side, or `ANY`.
    """

    findings: tuple[str, ...] = ()
    sex: str = ANY
    age: int | None = None
    view: str = ANY
    side: str = ANY


@dataclass(frozen=True)
class PromptBuilder:
    """The widgets, in the order of the fields of ``Choices``."""

    findings: gr.CheckboxGroup
    sex: gr.Radio
    age: gr.Number
    view: gr.Radio
    side: gr.Radio

    @property
    def widgets(self) -> list[gr.CheckboxGroup | gr.Radio | gr.Number]:
        return [*vars(self).values()]


def build_prompt_builder() -> PromptBuilder:
    """Make the widgets inside the current box; at first they say what the example prompt says."""
    at_first = read_choices(PLACEHOLDER)
    findings = [(NO_FINDING, NO_FINDING), *((label, name) for name, label in FINDING_LABELS.items())]
    return PromptBuilder(
        gr.CheckboxGroup(findings, value=[*at_first.findings], label="Findings", elem_id="builder-findings"),
        gr.Radio([ANY, *((label, name) for name, label in SEXES.items())], value=at_first.sex, label="Sex"),
        unchecked(gr.Number(at_first.age, label="Age in years", step=1, elem_id="builder-age")),
        gr.Radio([ANY, *VIEWS], value=at_first.view, label="View"),
        gr.Radio([ANY, *((side.capitalize(), side) for side in SIDES)], value=ANY, label="Side", visible=False),
    )


def check_age(age: object) -> int | None:
    """The age that was typed; None if the field is empty.

    Raises:
        RequestError: it is not a possible age.
    """
    if age is None:
        return None
    if not isinstance(age, (int, float)) or not 0 <= age <= MAX_AGE or age != int(age):
        raise RequestError(f"“Age in years” is {shown(age)}; use a whole number from 0 to {MAX_AGE}, or leave it empty")
    return int(age)


def read_choices(prompt: str) -> Choices:
    """What a text says of all that can be switched."""
    parsed = parse_prompt(prompt[:MAX_PROMPT_CHARACTERS])
    shown = [finding for finding in parsed.findings if finding.certainty in SHOWN and finding.name in FINDING_LABELS]
    names = tuple(dict.fromkeys(finding.name for finding in shown))
    sides = {finding.side for finding in shown if finding.name in SIDED_FINDINGS}
    return Choices(
        names or (NO_FINDING,) * parsed.normal,
        parsed.sex or ANY,
        middle_age(parsed),
        parsed.view if parsed.view in VIEWS else ANY,
        (sides.pop() or ANY) if len(sides) == 1 else ANY,
    )


def write_choices(prompt: str, choices: Choices) -> str:
    """A text that says what the switches say, and keeps what the prompt says of these findings and of others.

    Words that are no finding and nothing of the patient or the view are left out.

    Args:
        prompt: the text until now.
        choices: of the switches; of `NO_FINDING` and findings, those count that the prompt did not have.
    """
    before = parse_prompt(prompt[:MAX_PROMPT_CHARACTERS])
    wanted = _without_contradiction(choices.findings, before)
    kept = [finding for finding in before.findings if finding.name in wanted and finding.certainty in SHOWN]
    if NO_FINDING not in wanted:
        kept += [finding for finding in before.findings if finding.name not in FINDING_LABELS]
    had = {finding.name for finding in kept}
    findings = [*kept, *(Finding(name) for name in wanted if name not in had and name != NO_FINDING)]
    if choices.side != read_choices(prompt).side:
        findings = _on_side(findings, choices.side)
    words = list(dict.fromkeys(map(_words, findings))) or ["no findings"] * (NO_FINDING in wanted)
    subject = write_caption(
        ParsedPrompt(
            "", age=choices.age, age_group=_age_group(before, choices), sex=None if choices.sex == ANY else choices.sex
        )
    )
    text = as_sentence(subject) + (f" with {join(words)}" if words else "")
    portable = "portable " * (before.portable and choices.view == "AP")
    return text if choices.view == ANY else f"{text}, {portable}{choices.view} view"


def sides_are_known(findings: Sequence[str], form: PromptForm) -> bool:
    """Whether prompts in this form can say on which side one of the findings lies."""
    return any(form.can_say("side", name) for name in findings if name in SIDED_FINDINGS)


def _without_contradiction(wanted: Sequence[str], before: ParsedPrompt) -> tuple[str, ...]:
    """Either findings or their absence: what was switched on last."""
    if NO_FINDING not in wanted or len(wanted) == 1:
        return tuple(wanted)
    return tuple(name for name in wanted if name != NO_FINDING) if before.normal else (NO_FINDING,)


def _age_group(before: ParsedPrompt, choices: Choices) -> str | None:
    """That of the prompt, if no age is switched on; a decade such as "60s" would be written as an age."""
    group = before.age_group or ""
    return None if before.age is not None or choices.age is not None or group[:1].isdigit() else group or None


def _on_side(findings: Sequence[Finding], side: str) -> list[Finding]:
    new = None if side == ANY else side
    return [replace(finding, side=new) if finding.name in SIDED_FINDINGS else finding for finding in findings]


def _words(finding: Finding) -> str:
    if (
        finding == Finding(finding.name, side=finding.side)
        and not finding.descriptors
        and finding.name in FINDING_PHRASES
    ):
        phrase = FINDING_PHRASES[finding.name][1]
        return with_side(phrase, f"{finding.side} {{finding}}") if finding.side else phrase
    return replace(finding, read_from=()).label
