"""Under the prompt box: what was understood, what this model ignores, what contradicts itself, "Reword" and "Undo"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr

from cxr.models.presets import prompt_form_of
from cxr.prompts import Chip, CompiledPrompt, Finding, compile_prompt, find_form, misread_findings, parse_prompt
from cxr.prompts.rewording import describe_sent, with_sent_prompt
from cxr.request.setting import MAX_PROMPT_CHARACTERS
from cxr.request.settings import SETTINGS, ImageSettings
from cxr.web.jobs.model_choice import ModelChoice, known_to_answer
from cxr.web.page.image_form import PLACEHOLDER
from cxr.web.page.prompt_builder import Choices, PromptBuilder, check_age, read_choices, sides_are_known, write_choices
from cxr.web.page.shared_events import AT_ONCE, QUEUED, Values, errors_for_users

# Waits until typing pauses, then sends what stands in the box by that time.
DEBOUNCE = """(text, isReworded) => new Promise((send) => {
    clearTimeout(window.cxrChips);
    const typed = () => document.querySelector("#prompt textarea")?.value ?? text;
    window.cxrChips = setTimeout(() => send([typed(), isReworded]), 250);
})"""
MAX_CHIPS = 12  # of one kind and reason; a long text in another language would fill the page
# A sign and a word for each kind, as not everybody sees the colours; what needs action comes first.
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


def sent_line(prompt: str, form: str) -> str:
    """HTML of what a model of that form gets; "" if it is the prompt itself, or if there is none."""
    if not prompt:
        return ""
    sent = with_sent_prompt(ImageSettings(prompt, reword=True), form)
    if sent.model_prompt == prompt:
        return ""
    return f'<p class="cxr-hint">Sent to the model: {escape(describe_sent(sent))}</p>'


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

    def describe(self, prompt: str | None, is_reworded: object = False) -> tuple[str, gr.Button]:
        """Read the prompt as it stands. Returns values for (chips, reword button).

        Args:
            prompt: what was typed.
            is_reworded: whether the model gets it in its own words.
        """
        html, can_reword = self.read(prompt, is_reworded)
        return html, gr.Button(interactive=can_reword)

    def read(self, prompt: str | None, is_reworded: object = False) -> tuple[str, bool]:
        """HTML of the chips, and whether the model has other words for the prompt; arguments as of `describe`."""
        compiled, own = self._compile(prompt)
        rows = describe_chips(compiled)
        if is_reworded is True:
            rows += sent_line(own, compiled.form)
        elif "absent" not in find_form(compiled.form).says:
            rows = describe_denials(own) + rows
        return _live(rows), bool(compiled.text) and compiled.text != own

    def reword(self, prompt: str | None) -> str:
        """The prompt in the model's own form."""
        compiled, own = self._compile(prompt)
        return compiled.text or own

    def rewritten(self, prompt: str | None) -> tuple[str, str, gr.Button]:
        """Reword the prompt. Returns values for (prompt, prompt before, undo button)."""
        return self.reword(prompt), prompt or "", gr.Button(interactive=True)

    def _compile(self, prompt: str | None) -> tuple[CompiledPrompt, str]:
        text = (prompt or "")[:MAX_PROMPT_CHARACTERS]
        form = prompt_form_of(known_to_answer(self.choice).model)
        return compile_prompt(text, form), " ".join(parse_prompt(text).text.split())

    def switches(self, prompt: str | None) -> Values:
        """What the prompt builder has to show for a prompt. Returns values for ``PromptBuilder.widgets``."""
        choices = read_choices(prompt or "")
        form = find_form(prompt_form_of(known_to_answer(self.choice).model))
        side = gr.Radio(value=choices.side, visible=sides_are_known(choices.findings, form))
        return [*choices.findings], choices.sex, choices.age, choices.view, side

    def switched(
        self, prompt: str | None, findings: Sequence[str], sex: str, age: object, view: str, side: str
    ) -> tuple[str, str, gr.Button]:
        """The prompt after a switch of the builder. Returns values for (prompt, prompt before, undo button)."""
        with errors_for_users():
            choices = Choices(tuple(findings), sex, check_age(age), view, side)
        return write_choices(prompt or "", choices), prompt or "", gr.Button(interactive=True)


@dataclass(frozen=True)
class ChipWidgets:
    """What stands below the prompt box, and the text that "Undo" brings back."""

    chips: gr.HTML
    reword: gr.Button
    undo: gr.Button
    before: gr.State


def build_prompt_chips(choice: ModelChoice) -> ChipWidgets:
    """Make the row below the prompt box, which at first holds the example prompt.

    Args:
        choice: which model will read the prompt.
    """
    html, can_reword = PromptChips(choice).read(PLACEHOLDER, SETTINGS["reword"].default)
    with gr.Row(elem_id="chips-row"):
        chips = gr.HTML(html, elem_id="prompt-chips", padding=False)
        reword = gr.Button("Reword", interactive=can_reword, size="sm", elem_id="reword", scale=0, min_width=76)
        undo = gr.Button("Undo", interactive=False, size="sm", elem_id="undo", scale=0, min_width=64)
    return ChipWidgets(chips, reword, undo, gr.State(""))


def connect_prompt_chips(
    row: ChipWidgets, prompt: gr.Textbox, is_reworded: gr.Checkbox, builder: PromptBuilder, choice: ModelChoice
) -> None:
    """Let the chips and the builder follow the prompt, and the prompt the buttons and the builder.

    Args:
        row: below the box.
        is_reworded: the switch "Reword before generating".
        builder: the switches that say the same as the prompt.
        choice: which model will read the prompt.
    """
    handlers = PromptChips(choice)
    gr.on(
        [prompt.change, is_reworded.change],
        lambda text, reworded: (*handlers.describe(text, reworded), *handlers.switches(text)),
        inputs=[prompt, is_reworded],
        outputs=[row.chips, row.reword, *builder.widgets],
        js=DEBOUNCE,
        trigger_mode="multiple",
        concurrency_limit=None,
        **AT_ONCE,
    )
    changed = [prompt, row.before, row.undo]
    row.reword.click(handlers.rewritten, inputs=prompt, outputs=changed, concurrency_limit=None, **AT_ONCE)
    row.undo.click(
        lambda text: (text, gr.Button(interactive=False)),
        inputs=row.before,
        outputs=[prompt, row.undo],
        concurrency_limit=None,
        **AT_ONCE,
    )
    gr.on(
        [widget.input for widget in builder.widgets],
        handlers.switched,
        inputs=[prompt, *builder.widgets],
        outputs=changed,
        trigger_mode="always_last",
        **QUEUED,
    )


def _live(rows: str) -> str:
    # A long list can be scrolled with the keyboard, too.
    focus = ' tabindex="0" role="group" aria-label="What was read in the prompt"' if rows else ""
    return f'<div class="cxr-chip-rows" aria-live="polite"{focus}>{rows}</div>'
