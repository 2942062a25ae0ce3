"""What the page says about a data set: its plan in numbers, and how far it is. What users wrote is escaped here."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.images.png import data_address, read_recipe
from cxr.images.reading import read_grey
from cxr.request.errors import DataError
from cxr.request.messages import duration, plural, shorten
from cxr.web.jobs.dataset_job import TURN_S
from cxr.web.jobs.dataset_order import DatasetState
from cxr.web.jobs.plan_text import SPLITS
from cxr.web.page import panels

if TYPE_CHECKING:
    from cxr.dataset.estimate import Estimate
    from cxr.dataset.plan import Plan

MEASURING = "measuring the time…"
TITLES = {"findings": "Findings", "sex": "Sex", "view": "View", "side": "Side", "split": "Split"}
MAX_NAME_CHARACTERS, MAX_PROMPT_CHARACTERS = 60, 160
NUM_PROMPTS = 6
PICTURE_SIZE = 128  # pixels
TURNS_HINT = (
    f"Other requests wait at most {TURN_S:.0f} seconds for a data set. What is finished is kept for about an hour; "
    "while this page is open, “Make the data set” goes on with the same plan."
)


# Shown instead of the counts while the plan is wrong: those of the last valid plan would mislead.
NO_PLAN = (
    '<section class="cxr-plan"><p><b>No plan yet</b></p>'
    '<p class="cxr-hint">The counts appear once nothing is wrong with it.</p></section>'
)
IDLE = panels.panel("Not started", tone="idle", notes=["“Make the data set” in the step “Check” starts it."])


def describe_problems(problems: Sequence[str], cells: Iterable[tuple[int, int]] = (), right: str = "") -> str:
    """What is wrong with a plan, below the table.

    Args:
        problems: one sentence each.
        cells: row and column, from 0, of those that are marked in the table.
        right: what is said where nothing is wrong.
    """
    marks = ", ".join(f'#cohort [data-row="{row:d}"][data-col="{column:d}"]' for row, column in cells)
    style = f"<style>{marks} {{ box-shadow: inset 0 0 0 2px var(--cxr-bad); }}</style>" if marks else ""
    lines = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    said = f'<ul class="cxr-wrong">{lines}</ul>' if lines else f'<p class="cxr-hint">{escape(right)}</p>'
    focus = ' tabindex="0" role="group" aria-label="What is wrong with the plan"' if lines else ""
    return f'<div class="cxr-problems" aria-live="polite"{focus}>{style}{said}</div>'


def describe_check(plan: Plan, time_and_disk: str, gate: bool) -> str:
    """What would be made, before it is: time and size, and the first prompts."""
    prompts = list(dict.fromkeys(image.request.prompt for image in plan.images))
    items = "".join(f"<li>{escape(shorten(prompt, MAX_PROMPT_CHARACTERS))}</li>" for prompt in prompts[:NUM_PROMPTS])
    again = " Images that do not show what was asked are made again, which takes longer." if gate else ""
    count = plural(len(plan.images), "image")
    notes = "".join(f'<p class="cxr-hint">{escape(note)}</p>' for note in plan.notes)
    heading = "The first prompts:" if len(prompts) > NUM_PROMPTS else "All prompts:"
    return (
        f'<section class="cxr-plan"><p><b>{count}</b><span>{escape(time_and_disk)}</span></p>'
        f'<p class="cxr-hint">{heading}</p>'
        f'<ul class="cxr-prompts">{items}</ul>{notes}<p class="cxr-hint">{TURNS_HINT}{again}</p></section>'
    )


def show_pictures(paths: Sequence[Path]) -> str:
    """The images that were finished last, small, the newest first; their prompts are their names."""
    shown = [picture for path in paths if (picture := _picture(path))]
    if not shown:
        return ""
    items = "".join(f'<li><img src="{src}" alt="{escape(alt)}" width="96" height="96"></li>' for src, alt in shown)
    return f'<ul class="cxr-pictures" aria-label="The newest images">{items}</ul>'


@functools.lru_cache(maxsize=256)
def _picture(path: Path) -> tuple[str, str] | None:
    """A small copy as a data address, so that the file is not needed later; None if it is gone."""
    try:
        pixels, prompt = read_grey(path), read_recipe(path).prompt
    except (DataError, OSError):
        return None
    return data_address(pixels, PICTURE_SIZE), shorten(prompt, MAX_PROMPT_CHARACTERS)


def describe_counts(plan: Plan, time_and_disk: str = "") -> str:
    """Images by finding, sex, view and split, as tables beside one another."""
    name = shorten(plan.name, MAX_NAME_CHARACTERS)
    count, detail = plural(len(plan.images), "image"), f"<span>{escape(time_and_disk)}</span>" if time_and_disk else ""
    tables = "".join(_table(TITLES[of], _in_order(plan.counts(of))) for of in plan.tables)
    return (
        f'<section class="cxr-plan"><p><b>{escape(name)}</b> · {count}{detail}</p>'
        f'<div class="cxr-counts">{tables}</div></section>'
    )


def describe_estimate(taken: Estimate) -> str:
    """Time and disk in a few words."""
    return f"about {duration(taken.seconds)} here, {max(taken.size_bytes / 1e6, 0.1):,.1f} MB"


def describe_state(state: DatasetState) -> str:
    if state.stage == "loading":
        return panels.LOADING
    progress = state.progress
    if progress is None:
        return panels.panel("Starting…", tone="busy")
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
        title = f"{plural(progress.finished, 'image')} ready{failed}"
        return panels.panel(title, f"{state.seconds:.1f} s", 1.0, "bad" if failed else "good", notes)
    if state.num_read is not None and state.stage != "waiting":
        title = f"{of} made"
        notes.append(f"Reading what is seen in them: {state.num_read:,} of {progress.finished:,}.")
        return panels.panel(title, "", state.num_read / max(progress.finished, 1), "busy", notes)
    if state.stage == "waiting":
        return panels.panel(f"{of}, waiting", "", fraction, "busy", ["Others have asked for images; it is their turn."])
    left = "" if progress.remaining_s is None else f"{duration(progress.remaining_s)} left"
    return panels.panel(of, left, fraction, "busy", notes)


def describe_stopped(state: DatasetState | None) -> str:
    """The panel of a job that was stopped."""
    if state is None or state.progress is None:
        return panels.NEVER_BEGUN
    finished = state.progress.finished
    note = "The ZIP holds these; “Make the data set” goes on with the same plan." if finished else ""
    title = f"Stopped at {finished:,} of {state.total:,} images"
    return panels.panel(title, "", finished / state.total, "quiet", [note] if note else [])


def _in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """In the order people expect: train before test, F before M, findings alphabetically."""
    order = {name: number for number, name in enumerate((*SPLITS, "PA", "AP"))}
    return {name: counts[name] for name in sorted(counts, key=lambda name: (order.get(name, 0), name))}


def _table(title: str, counts: Mapping[str, int]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{count:,}</td></tr>'
        for name, count in counts.items()
    )
    return f"<table><thead><tr><th colspan=2>{escape(title)}</th></tr></thead><tbody>{rows}</tbody></table>"
