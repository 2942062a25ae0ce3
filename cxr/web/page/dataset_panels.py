"""What the page says about a data set: its plan in numbers, and how far it is. What users wrote is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from cxr.web.jobs.dataset_job import COUNTED, TURN_S, DatasetState
from cxr.web.jobs.plan_text import SPLITS
from cxr.web.page import panels

if TYPE_CHECKING:
    from cxr.dataset.estimate import Estimate
    from cxr.dataset.plan import Plan

MEASURING = "measuring the time…"
TITLES = {"findings": "Findings", "sex": "Sex", "view": "View", "split": "Split"}
MAX_NAME_CHARACTERS = 60
TURNS_HINT = (
    f"Other requests wait {TURN_S:.0f} seconds at most for a data set. What is finished is kept for about an hour; "
    "while this page is open, “Make the data set” goes on with the same plan."
)


def idle(max_images: int) -> str:
    """The panel before anything has happened."""
    hint = f"Edit the table or upload a plan, check it, then make the data set: up to {max_images:,} images."
    return panels.panel("Ready", tone="idle", notes=[hint])


def describe_plan(plan: Plan, time_and_disk: str = "") -> str:
    """Images by finding, sex, view and split, as tables beside one another."""
    name = plan.name if len(plan.name) <= MAX_NAME_CHARACTERS else plan.name[:MAX_NAME_CHARACTERS] + "…"
    detail = f"<span>{escape(time_and_disk)}</span>" if time_and_disk else ""
    tables = "".join(_table(TITLES[of], _in_order(plan.counts(of))) for of in COUNTED)
    return (
        f'<section class="cxr-plan"><p><b>{escape(name)}</b> · {panels.images(len(plan.images))}{detail}</p>'
        f'<div class="cxr-counts">{tables}</div></section>'
    )


def describe_estimate(taken: Estimate) -> str:
    """Time and disk in a few words."""
    return f"about {panels.seconds(taken.seconds)} here, {max(taken.size_bytes / 1e6, 0.1):,.1f} MB"


def describe_state(state: DatasetState) -> str:
    """The status panel for a job."""
    if state.stage == "loading":
        return panels.panel("Loading the model…", "a few seconds", tone="busy")
    progress = state.progress
    if progress is None:
        return panels.panel("Beginning…", tone="busy")
    if state.stage == "stopped":
        return describe_stopped(state)
    notes = []
    if progress.rejected:
        notes.append(f"{progress.rejected:,} {'image was' if progress.rejected == 1 else 'images were'} made again.")
    if progress.failed:
        notes.append(f"{progress.failed:,} could not be made with any of their seeds.")
    of = f"{progress.finished:,} of {state.total:,} images"
    fraction = (progress.finished + progress.failed) / state.total
    if state.stage == "finished":
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        seconds = state.facts["seconds"] if state.facts else 0.0
        title = f"{panels.images(progress.finished)} ready{failed}"
        return panels.panel(title, f"{seconds:.1f} s", 1.0, "bad" if failed else "good", notes)
    if state.stage == "waiting":
        return panels.panel(f"{of}, waiting", "", fraction, "busy", ["Others have asked for images; their turn now."])
    left = "" if progress.remaining_s is None else f"{panels.seconds(progress.remaining_s)} left"
    return panels.panel(of, left, fraction, "busy", notes)


def describe_stopped(state: DatasetState | None) -> str:
    """The panel of a job that was stopped."""
    if state is None or state.progress is None:
        return panels.panel("Stopped before it began")
    finished = state.progress.finished
    note = "These are kept: “Make the data set” goes on with the same plan." if finished else ""
    title = f"Stopped at {finished:,} of {state.total:,} images"
    return panels.panel(title, "", finished / state.total, "quiet", [note] if note else [])


def _in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """As people expect them: train before test, F before M, findings by the alphabet."""
    order = {name: number for number, name in enumerate((*SPLITS, "PA", "AP"))}
    return {name: counts[name] for name in sorted(counts, key=lambda name: (order.get(name, 0), name))}


def _table(title: str, counts: Mapping[str, int]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{count:,}</td></tr>'
        for name, count in counts.items()
    )
    return f"<table><thead><tr><th colspan=2>{escape(title)}</th></tr></thead><tbody>{rows}</tbody></table>"
