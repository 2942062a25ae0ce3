"""Events of a plan that is being written: widget values -> plan, counts, what is wrong -> widgets."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan import Plan
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.models.presets import prompt_form_of
from cxr.request.errors import CxrError
from cxr.request.messages import as_sentence
from cxr.request.settings import LABELS
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.pace import Pace
from cxr.web.jobs.plan_cells import Table, find_wrong_cells
from cxr.web.jobs.plan_text import (
    FIELDS,
    NAME,
    SPLITS,
    Rows,
    fields_of_text,
    plan_of_fields,
    plan_of_text,
    text_of_fields,
    text_of_file,
)
from cxr.web.page import dataset_panels
from cxr.web.page.dataset_form import ROWS, SHARES, TABLE, TEXT
from cxr.web.page.image_form import DEFAULTS
from cxr.web.page.shared_events import Values, errors_for_users
from cxr.web.server.limits import Limits, find_resolution

CHECK = 3  # step
STAYS_TEXT = "The plan stays text"
NOT_IN_THE_TABLE = "It has parts that the table cannot hold, such as prompts, a grid or a negative prompt."
RIGHT = {TABLE: "Nothing is wrong with this table.", TEXT: "Nothing is wrong with this text."}


class PlanEvents:
    """What the events of the first three steps do.

    Args:
        choice: which model and LoRA answer.
        limits: what one visitor may ask for.
    """

    def __init__(self, choice: ModelChoice, limits: Limits) -> None:
        self.choice, self.limits = choice, limits
        self.form = prompt_form_of(choice.model)
        self.max_images = limits.dataset_images
        self.pace = Pace()

    def read_form(self, kind: str, rows: Table, text: str, name: str, seed: int, *numbers: float) -> Plan:
        """The plan of the form, whose values come in the order of ``DatasetForm``, the gate left out."""
        if kind == TEXT:
            return plan_of_text(text, self.max_images)
        return plan_of_fields(rows, name, seed, numbers[: len(FIELDS)], numbers[len(FIELDS) :], self.max_images)

    def check_limits(self, plan: Plan) -> Plan:
        """The same plan, if it is not too much for this server."""
        self.limits.check_steps(plan.num_steps(self.form), find_resolution(self.choice.model), is_dataset=True)
        return plan

    def default_plan(self) -> Plan:
        """The plan that the form holds when the page opens."""
        table = [dict(zip(KEYS, row, strict=True)) for row in ROWS]
        settings: list[float] = [DEFAULTS[name] for name in FIELDS]
        return plan_of_fields(table, NAME, 0, settings, SHARES, MAX_TOTAL_IMAGES)

    def fill(self, path: str, rows: Table) -> Values:
        """Fill the table and the fields with an uploaded plan, or the text if they cannot hold it.

        Args:
            rows: of the table as it is.
        Returns:
            Values for the widgets of ``DatasetForm.filled``.
        """
        with errors_for_users():
            text = text_of_file(Path(path))
            fields = fields_of_text(text, self.max_images)
        return _text_only(text, rows) if fields is None else _in_fields(fields)

    def turn(self, kind: str, rows: Table, text: str, name: str, seed: int, *numbers: float) -> Values:
        """Write the plan in the other way, so that table and text are always the same one.

        Args:
            kind: the way that was just chosen.
            rows: of the table.
            text: of the plan, as it was left.
            seed: of the first image.
            numbers: settings and shares; all of it are the values of ``DatasetForm.filled``.
        Returns:
            Values for the widgets of ``DatasetForm.filled``; a text that the table cannot hold stays text.
        """
        if kind == TEXT:
            return _text_only(text_of_fields(rows, name, seed, numbers[: len(FIELDS)], numbers[len(FIELDS) :]), rows)
        if not str(text or "").strip():
            return TABLE, *_text_only(text, rows)[1:]
        try:
            fields = fields_of_text(text, self.max_images)
            said = NOT_IN_THE_TABLE
        except CxrError as error:
            fields, said = None, f"The plan stays text, as it cannot be read: {error.described(LABELS)}"
        if fields is not None:
            return _in_fields(fields)
        gr.Warning(escape(said, quote=False), title=STAYS_TEXT)
        return _text_only(text, rows)

    def describe(self, kind: str, rows: Table, text: str, name: str, seed: int, *numbers: float) -> tuple[str, str]:
        """Say what the plan comes to while it is being written. Returns values for (counts, what is wrong)."""
        try:
            plan = self.check_limits(self.read_form(kind, rows, text, name, seed, *numbers))
        except CxrError as error:
            wrong = [*find_wrong_cells(rows)] if kind == TABLE else []
            said = list(dict.fromkeys([one.problem for one in wrong] or [error.described(LABELS)]))
            marks = [(one.row, _column_of(rows[one.row], one.column)) for one in wrong]
            sentences = [as_sentence(problem) for problem in said]
            return dataset_panels.NO_PLAN, dataset_panels.describe_problems(sentences, marks)
        return self.describe_plan(plan), dataset_panels.describe_problems([], right=RIGHT[kind])

    def check(self, *form: Any) -> Values:
        """Say what would be made. Returns values for (plan, its counts, what the step shows, the steps)."""
        *plan_values, gate = form
        with errors_for_users():
            plan = self.check_limits(self.read_form(*plan_values))
        said = dataset_panels.describe_check(plan, self._estimate(plan, dataset_panels.MEASURING), gate is True)
        return plan, self.describe_plan(plan), said, gr.Walkthrough(selected=CHECK)

    def describe_plan(self, plan: Plan) -> str:
        """A plan in numbers, with time and size as far as they are known."""
        return dataset_panels.describe_counts(plan, self._estimate(plan))

    def _estimate(self, plan: Plan, unknown: str = "") -> str:
        known = self.pace.known(plan, self.form)
        return dataset_panels.describe_estimate(known) if known else unknown


def _text_only(text: str, rows: Table) -> Values:
    """Values for ``DatasetForm.filled`` of a plan that is text; the table stays as it is.

    Skipping the table would make gradio build it anew, and it would forget how its values are read.
    """
    table = [[*row.values()] for row in rows]
    return TEXT, table, text, *(gr.skip(),) * (2 + len(FIELDS) + len(SPLITS))


def _in_fields(fields: tuple[Rows, str, int, list[float], list[float]]) -> Values:
    """Values for ``DatasetForm.filled`` of a plan that the table and the fields hold."""
    rows, name, seed, settings, shares = fields
    return TABLE, rows, gr.skip(), name, seed, *settings, *shares


def _column_of(row: Mapping[str, object], column: str) -> int:
    """Place of a column in the table, from 0; the first for one that is missing."""
    names = [str(key).strip().lower() for key in row]
    return names.index(column) if column in names else 0
