"""Under the prompt box: what was understood, what this model ignores, what contradicts itself, and "Reword"."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from cxr.models.presets import prompt_form_of
from cxr.prompts import Chip, CompiledPrompt, Finding, compile_prompt, find_form, misread_findings, parse_prompt
from cxr.prompts.rewording import reword
from cxr.request.settings import MAX_PROMPT_CHARACTERS
from cxr.web.jobs.model_choice import ModelChoice, known_to_answer
from cxr.web.page.events import AT_ONCE

# Waits until typing pauses, then sends what stands in the box by that time.
DEBOUNCE = """(text, isReworded) => new Promise((send) => {
    clearTimeout(window.cxrChips);
    const typed = () => document.querySelector("#prompt textarea")?.value ?? text;
    window.cxrChips = setTimeout(() => send([typed(), isReworded]), 250);
})"""
MAX_CHIPS = 12  # of one kind and reason; a long text in another language would fill the page
# A sign and a word for each kind, as colour alone does not reach everybody; what needs an answer comes first.
KINDS = {"conflicting": ("!", "Conflicting"), "understood": ("✓", "Understood"), "ignored": ("–", "Ignored")}


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


def describe_sent(prompt: str, sent: str) -> str:
    """HTML of the text that the model gets; "" if it is the prompt itself."""
    return "" if sent == prompt else f'<p class="cxr-hint">Sent to the model: “{escape(sent)}”</p>'


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

    def describe(self, prompt: str | None, is_reworded: object = False) -> tuple[str, Any]:
        """Read the prompt as it stands. Returns values for (chips, reword button).

        Args:
            prompt: what was typed.
            is_reworded: whether the model gets it in its own words.
        """
        compiled, own = self._compile(prompt)
        if is_reworded is True:
            above = describe_sent(own, reword(own, compiled.form))
        else:
            above = "" if "absent" in find_form(compiled.form).says else describe_denials(own)
        can_reword = bool(compiled.text) and compiled.text != own
        return _live(above + describe_chips(compiled)), gr.Button(visible=can_reword)

    def reword(self, prompt: str | None) -> str:
        """The prompt in the model's own form."""
        compiled, own = self._compile(prompt)
        return compiled.text or own

    def _compile(self, prompt: str | None) -> tuple[CompiledPrompt, str]:
        text = (prompt or "")[:MAX_PROMPT_CHARACTERS]
        form = prompt_form_of(known_to_answer(self.choice).model)
        return compile_prompt(text, form), " ".join(parse_prompt(text).text.split())


def add_prompt_chips(prompt: gr.Textbox, is_reworded: gr.Checkbox, choice: ModelChoice) -> None:
    """Put chips, switch and button below the prompt box and connect them; to be called where they shall stand.

    Args:
        prompt: the box.
        is_reworded: the switch "Reword before generating", not yet rendered.
        choice: which model will read the prompt.
    """
    handlers = PromptChips(choice)
    chips = gr.HTML(_live(""), elem_id="prompt-chips", padding=False)
    with gr.Row(elem_id="reword-row"):
        is_reworded.render()  # type: ignore[no-untyped-call]
        button = gr.Button("Reword for the model", visible=False, size="sm", elem_id="reword", scale=0, min_width=180)
    gr.on(
        [prompt.change, is_reworded.change],
        handlers.describe,
        inputs=[prompt, is_reworded],
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
