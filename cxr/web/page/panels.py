"""The small pieces of HTML on the page. Whatever came from a user or a file is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

from cxr.lora.facts import card_rows
from cxr.request.messages import duration, plural
from cxr.request.model_info import AdapterInfo, ModelInfo
from cxr.request.recipe import PYTORCH
from cxr.request.settings import SETTINGS
from cxr.web.jobs.image_state import ImageState, sent_note
from cxr.web.jobs.job import Waiting
from cxr.web.jobs.model_choice import STAND_IN, ModelChoice, is_stand_in
from cxr.web.server.limits import Limits

Tone = Literal["idle", "quiet", "busy", "good", "bad"]

HEADER = """
<header class="cxr-header">
  <h1><span class="cxr-mark" aria-hidden="true"></span>CXR Studio</h1>
  <p class="cxr-badge">Synthetic<span> images</span>. Not for diagnosis.</p>
</header>
"""

ABOUT = """
<p class="cxr-about">Describe a chest radiograph in words; get synthetic ones, each with a seed that makes it again.
Every image comes out of a generative model and shows no real person. One that begins from a picture is derived from it
and says so; use no picture of a patient on somebody else's server. Do not enter patient data. Prompts are not logged;
images stay on this server for about an hour and carry their whole recipe in the PNG.</p>
"""


def describe_limits(limits: Limits) -> str:
    """What one visitor may ask of this server, as a list."""
    count = SETTINGS["num_images"]
    lines = [f"{count.high:g} images for each request"]
    if limits.pixel_steps:
        lines.append(f"{limits.pixel_steps:,} million pixel-steps (images × steps × width × height) for each request")
    if limits.job_s:
        lines.append(f"{limits.job_s:,} seconds of the model for each request; what is finished then is kept")
    if limits.jobs_per_client:
        lines.append(f"{limits.jobs_per_client:,} requests of one visitor at a time")
    if limits.dataset_images:
        lines.append(f"{limits.dataset_images:,} images for each data set")
    lines.append(f"{limits.queue:,} requests may wait for the model")
    return "<ul class='cxr-about'>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def panel(title: str, detail: str = "", fraction: float = 0.0, tone: Tone = "quiet", notes: Sequence[str] = ()) -> str:
    """The status panel: always the same height, whatever it says.

    Args:
        title: what is going on, in a few words.
        detail: at the right end, for example the time left.
        fraction: share of the work done, 0 to 1.
        tone: colours; "good" and "bad" are also read out by screen readers.
        notes: sentences below the bar.
    """
    percent = round(100 * min(max(fraction, 0.0), 1.0))
    # Reading out every step would overwhelm; screen readers announce outcomes and notes only.
    live = ' role="status"' if tone in ("good", "bad") else ""
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<div class="cxr-status cxr-{tone}">'
        f'<div class="cxr-line"{live}><strong>{escape(title)}</strong><span>{escape(detail)}</span></div>'
        f'<div class="cxr-bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        f'<ul class="cxr-notes" aria-live="polite">{lines}</ul></div>'
    )


def hint(text: str, *, is_bad: bool = False) -> str:
    """One quiet line."""
    return f'<p class="cxr-hint{" cxr-bad" * is_bad}">{escape(text)}</p>'


def alert(text: str) -> str:
    """One line about what went wrong, which screen readers read out at once."""
    return f'<p class="cxr-hint cxr-bad" role="alert">{escape(text)}.</p>'


IDLE = panel("Ready", tone="idle", notes=["Press Generate, or Enter in the prompt."])
LOADING = panel("Loading the model…", "a few seconds", tone="busy")
WAITING = panel("Waiting for the model…", tone="busy")
NEVER_BEGUN = panel("Stopped before it started")


def describe_state(state: ImageState) -> str:
    failed = [f"Seed {failure.seed} failed: {failure.reason}" for failure in state.failures]
    # What was sent stands below the prompt, and beside each picture.
    notes = [*failed, *(note for note in state.notes if note != sent_note(state.request))]
    count = len(state.images)
    if state.stage == "loading":
        return LOADING
    if state.stage == "finished":
        title = f"{plural(count, 'image')} ready" + (f", {len(failed)} failed" if failed else "")
        return panel(title, f"{state.elapsed_s:.1f} s", 1.0, "bad" if failed else "good", notes)
    if state.stage == "stopped":
        kept = f"{plural(count, 'image')} kept" if count else "no image was finished"
        return panel(f"Stopped: {kept}", "", state.num_settled / state.request.num_images, "quiet", notes)
    return _describe_running(state, notes)


def waiting(state: Waiting) -> str:
    """The status panel of a job whose turn has not come."""
    if not state.ahead:
        return WAITING
    before = f"{plural(state.ahead, 'request')} before this one"
    detail = "" if state.seconds is None else f"about {duration(state.seconds)}"
    return panel(f"Waiting: {before}", detail, tone="busy")


def describe_model(choice: ModelChoice, info: ModelInfo | None = None, problem: str = "") -> str:
    """The line that says which model and which LoRA answer."""
    if problem:
        return f'<p class="cxr-model cxr-bad"><b>Model not available.</b> {escape(problem)}</p>'
    if info is None:
        text = f"Model <b>{escape(_short(choice.model or 'embedded'))}</b> · loading…"
    else:
        adapter = "no LoRA" if info.adapter == "none" else f"LoRA <b>{escape(info.adapter)}</b>"
        text = (
            f"Model <b>{escape(info.model)}</b> · {adapter} · {info.resolution} × {info.resolution} px · "
            f"{escape(info.scheduler.removesuffix('Scheduler'))} · {escape(info.weight_dtype)} on {escape(info.device)}"
        )
        if info.engine != PYTORCH:
            text += f" · {escape(info.engine)}"
        if is_stand_in(choice, info):
            return f'<p class="cxr-model cxr-bad"><b>{STAND_IN}</b> {text}</p>'
    return f'<p class="cxr-model">{text}</p>'


def draw_adapters(infos: Sequence[AdapterInfo]) -> str:
    """One folded card for each LoRA, which says what it says about itself; empty if there are none."""
    return "".join(_adapter_card(info) for info in infos)


def _adapter_card(info: AdapterInfo) -> str:
    rows = card_rows(info)
    facts = dict(rows)
    short = f"rank {facts['Rank']} · alpha {facts['Alpha']} · base {facts['Base model']} · licence {facts['Licence']}"
    lines = "".join(f'<tr><th scope="row">{escape(what)}</th><td>{escape(fact)}</td></tr>' for what, fact in rows)
    return (
        f'<details class="cxr-receipt"><summary>LoRA {escape(info.name)}<span>{escape(short)}</span></summary>'
        f'<div class="cxr-scroll"><table><tbody>{lines}</tbody></table></div></details>'
    )


def _describe_running(state: ImageState, notes: Sequence[str]) -> str:
    progress, request = state.progress, state.request
    if progress is None:
        done = state.num_settled
        return panel(f"Image {done}/{request.num_images} is done", "", done / request.num_images, "busy", notes)
    image = f"Image {progress.image_index + 1}/{progress.num_images}"
    title = f"{image} · step {progress.step}/{progress.num_inference_steps}"
    detail = "" if progress.remaining_s is None else f"{duration(progress.remaining_s)} left"
    return panel(title, detail, progress.fraction, "busy", notes)


def _short(model: str) -> str:
    return model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]  # never a whole path of this machine
