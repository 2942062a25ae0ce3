"""Under the prompt box: what was understood, what this model ignores, what contradicts itself, and "Reword"."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from cxr.models.presets import find_preset
from cxr.prompts import Chip, CompiledPrompt, Finding, compile_prompt, find_form, misread_findings, parse_prompt
from cxr.request.errors import CxrError
from cxr.request.settings import MAX_PROMPT_CHARACTERS
from cxr.web.jobs.model_choice import ModelChoice, known_to_answer
from cxr.web.page.events import AT_ONCE

# Waits until typing pauses, then sends what stands in the box by that time.
DEBOUNCE = """(text) => new Promise((send) => {
    clearTimeout(window.cxrChips);
    window.cxrChips = setTimeout(() => send(document.querySelector("#prompt textarea")?.value ?? text), 250);
})"""
MAX_CHIPS = 12  # of one kind and reason; a long text in another language would fill the page
# A sign and a word for each kind, as colour alone does not reach everybody; what needs an answer comes first.
KINDS = {"conflicting": ("!", "Conflicting"), "understood": ("✓", "Understood"), "ignored": ("–", "Ignored")}


def form_of(choice: ModelChoice) -> str:
    """The name of the form in which the chosen model reads prompts; "plain" where nobody has said."""
    try:
        preset = find_preset(choice.model)
    except CxrError:  # the model line says so
        return "plain"
    return find_form(preset.prompt_form).name


def describe_chips(compiled: CompiledPrompt) -> str:
    """HTML of all chips, one paragraph for each kind, chips with the same reason together; "" without chips."""
    groups: dict[str, dict[str, list[Chip]]] = {kind: {} for kind in KINDS}
    for chip in compiled.chips:
        groups[chip.kind].setdefault(chip.reason, []).append(chip)
    return "".join(_paragraph(kind, reasons) for kind, reasons in groups.items() if reasons)


def describe_denials(prompt: str) -> str:
    """HTML of a warning, as a model that reads words alone may show what a prompt denies; "" without any denial."""
    names = ", ".join(Finding(name).label for name in misread_findings(prompt))
    return f'<p class="cxr-hint cxr-warning">As typed, the model may show {escape(names)}.</p>' if names else ""


def _paragraph(kind: str, reasons: dict[str, list[Chip]]) -> str:
    mark, word = KINDS[kind]
    rows = "".join(_row(reason, chips) for reason, chips in reasons.items())
    return (
        f'<div class="cxr-chips cxr-{kind}"><b><span aria-hidden="true">{mark}</span> {word}</b><ul>{rows}</ul></div>'
    )


def _row(reason: str, chips: list[Chip]) -> str:
    labels = "".join(f"<span>{escape(chip.label)}</span>" for chip in chips[:MAX_CHIPS])
    more = f"and {len(chips) - MAX_CHIPS:,} more" if len(chips) > MAX_CHIPS else ""
    notes = escape(": ".join(part for part in (more, reason) if part))
    return f"<li>{labels}" + (f"<small>{notes}</small>" if notes else "") + "</li>"


class PromptChips:
    """What the events of the prompt box do.

    Args:
        choice: which model will read the prompt.
    """

    def __init__(self, choice: ModelChoice) -> None:
        self.choice = choice

    def describe(self, prompt: str | None) -> tuple[str, Any]:
        """Read the prompt as it stands. Returns values for (chips, reword button)."""
        compiled, own = self._compile(prompt)
        warning = "" if "absent" in find_form(compiled.form).says else describe_denials(own)
        can_reword = bool(compiled.text) and compiled.text != own
        return _live(warning + describe_chips(compiled)), gr.Button(visible=can_reword)

    def reword(self, prompt: str | None) -> str:
        """The prompt in the model's own form."""
        compiled, own = self._compile(prompt)
        return compiled.text or own

    def _compile(self, prompt: str | None) -> tuple[CompiledPrompt, str]:
        text = (prompt or "")[:MAX_PROMPT_CHARACTERS]
        return compile_prompt(text, form_of(known_to_answer(self.choice))), " ".join(parse_prompt(text).text.split())


def add_prompt_chips(prompt: gr.Textbox, choice: ModelChoice) -> None:
    """Put the chips and the button below the prompt box and connect them; to be called where they shall stand."""
    handlers = PromptChips(choice)
    chips = gr.HTML(_live(""), elem_id="prompt-chips", padding=False)
    button = gr.Button("Reword for the model", visible=False, size="sm", elem_id="reword")
    prompt.change(
        handlers.describe,
        inputs=prompt,
        outputs=[chips, button],
        js=DEBOUNCE,
        trigger_mode="multiple",
        concurrency_limit=None,
        **AT_ONCE,
    )
    button.click(handlers.reword, inputs=prompt, outputs=prompt, concurrency_limit=None, **AT_ONCE)


def _live(rows: str) -> str:
    # A long list scrolls, also with the keys.
    focus = ' tabindex="0" role="group" aria-label="What was read in the prompt"' if rows else ""
    return f'<div class="cxr-chip-rows" aria-live="polite"{focus}>{rows}</div>'
