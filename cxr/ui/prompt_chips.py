"""Under the prompt box: what was understood, what this model ignores, what contradicts itself, and "Reword"."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from cxr.compiler import Chip, CompiledPrompt, compile_prompt, find_form, parse_prompt
from cxr.errors import CxrError
from cxr.presets import PRESETS, find_preset
from cxr.schema import MAX_PROMPT_CHARACTERS
from cxr.ui.events import AT_ONCE
from cxr.ui.jobs import ModelChoice

MAX_CHIPS = 12  # of one kind and reason; a long text in another language would fill the page
# A sign and a word for each kind: colour alone does not reach everybody.
KINDS = {"understood": ("✓", "Understood"), "ignored": ("–", "Ignored"), "conflicting": ("!", "Conflicting")}


def form_of(choice: ModelChoice) -> str:
    """The name of the form in which the chosen model reads prompts; "plain" where nobody has said."""
    try:
        preset = find_preset(choice.model)
    except CxrError:  # the model line says so
        return "plain"
    own = "caption" if preset is PRESETS["embedded"] else "plain"
    return find_form(getattr(preset, "prompt_form", own)).name


def describe_chips(compiled: CompiledPrompt) -> str:
    """HTML of all chips, one line for each kind and reason; "" without chips."""
    groups: dict[tuple[str, str], list[Chip]] = {}
    for chip in compiled.chips:
        groups.setdefault((chip.kind, chip.reason), []).append(chip)
    return "".join(_group(kind, reason, chips) for (kind, reason), chips in groups.items())


def _group(kind: str, reason: str, chips: list[Chip]) -> str:
    mark, word = KINDS[kind]
    items = "".join(f"<li>{escape(chip.label)}</li>" for chip in chips[:MAX_CHIPS])
    more = f"<small>and {len(chips) - MAX_CHIPS:,} more</small>" if len(chips) > MAX_CHIPS else ""
    why = f"<small>{escape(reason)}</small>" if reason else ""
    return (
        f'<div class="cxr-chips cxr-{kind}"><b><span aria-hidden="true">{mark}</span> {word}</b>'
        f"<ul>{items}</ul>{more}{why}</div>"
    )


class PromptChips:
    """What the events of the prompt box do.

    Args:
        choice: which model will read the prompt.
    """

    def __init__(self, choice: ModelChoice) -> None:
        self.form = form_of(choice)

    def describe(self, prompt: str | None) -> tuple[str, Any]:
        """Read the prompt as it stands. Returns values for (chips, reword button)."""
        compiled, own = self._compile(prompt)
        return _live(describe_chips(compiled)), gr.Button(visible=bool(compiled.text) and compiled.text != own)

    def reword(self, prompt: str | None) -> str:
        """The prompt in the model's own form."""
        compiled, own = self._compile(prompt)
        return compiled.text or own

    def _compile(self, prompt: str | None) -> tuple[CompiledPrompt, str]:
        text = (prompt or "")[:MAX_PROMPT_CHARACTERS]
        return compile_prompt(text, self.form), " ".join(parse_prompt(text).text.split())


def add_prompt_chips(prompt: gr.Textbox, choice: ModelChoice) -> None:
    """Put the chips and the button below the prompt box and connect them; to be called where they shall stand."""
    handlers = PromptChips(choice)
    chips = gr.HTML(_live(""), elem_id="prompt-chips", padding=False)
    button = gr.Button("Reword for the model", visible=False, size="sm", elem_id="reword")
    # While one answer is on its way only the newest text waits: typing is never answered letter by letter.
    prompt.change(
        handlers.describe,
        inputs=prompt,
        outputs=[chips, button],
        trigger_mode="always_last",
        concurrency_limit=None,
        **AT_ONCE,
    )
    button.click(handlers.reword, inputs=prompt, outputs=prompt, concurrency_limit=None, **AT_ONCE)


def _live(rows: str) -> str:
    return f'<div class="cxr-chip-rows" aria-live="polite">{rows}</div>'
