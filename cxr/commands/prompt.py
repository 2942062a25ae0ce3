"""The ``prompt`` command: what a prompt is read as, and how it is put to a model."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from cxr.commands.options import Commands, add_command, say_result
from cxr.labels.vocabulary import labels_of
from cxr.prompts.compilation import compile_prompt
from cxr.prompts.forms import FORMS
from cxr.prompts.parsing import parse_prompt
from cxr.prompts.rewording import describe_sent, with_sent_prompt
from cxr.request.settings import ImageSettings

DESCRIPTION = """\
Read a clinical prompt and write it in the form that a model was trained with.

The first line is the prompt for the model; of findings on one side, a second line says what each half of
the picture gets. The lines after it say what was understood, what this model cannot be told, and what
contradicts itself. No image is made.
"""
MARKS = {"understood": "+", "ignored": "-", "conflicting": "!"}


def add_prompt_parser(commands: Commands) -> None:
    forms = "\n".join(f"  {form.name:<10} {form.description}" for form in FORMS.values())
    summary = "show how a prompt is understood"
    parser = add_command(commands, "prompt", _prompt, summary, DESCRIPTION, f"forms:\n{forms}")
    parser.add_argument("text", metavar="TEXT", help="the prompt, in quotes")
    parser.add_argument("--form", default="caption", metavar="FORM", help="how to write it (default caption)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def _prompt(arguments: argparse.Namespace) -> int:
    compiled = compile_prompt(arguments.text, arguments.form)
    if arguments.json:
        record = {"compiled": asdict(compiled), "parsed": asdict(parse_prompt(arguments.text))}
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
        return 0
    say_result(compiled.text)
    if labels_of(compiled.text).sides:
        sent = with_sent_prompt(ImageSettings(compiled.text, reword=True), arguments.form)
        if sent.surrounding_prompt:
            say_result(f"= sent to the model: {describe_sent(sent)}")
    for chip in compiled.chips:
        say_result(f"{MARKS[chip.kind]} {chip.kind}: {chip.label}" + (f" ({chip.reason})" if chip.reason else ""))
    return 0
