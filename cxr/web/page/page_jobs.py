"""The image jobs of one page: what it shows now, what waits behind it, and the list of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from cxr.request.messages import duration, plural, shorten
from cxr.web.jobs.image_state import ImageJob
from cxr.web.jobs.job import Waiting
from cxr.web.jobs.table import JobTable

MAX_KEPT = 32  # jobs that a reloaded page continues
MAX_PROMPT_CHARACTERS = 60
CANCEL = """element.addEventListener("click", (event) => {
    const id = event.target.dataset?.cancel;
    if (id) trigger("cancel", { id });
});"""


@dataclass(eq=False)
class PageJobs:
    """Jobs in the order of their requests, shown one after another, each to its end.

    Args:
        jobs: those that are not forgotten yet.
        num_shown: of these, how many were shown to their end.
        is_followed: whether the page follows one of them.
    """

    jobs: list[ImageJob] = field(default_factory=list)
    num_shown: int = 0
    is_followed: bool = False

    def add(self, job: ImageJob) -> None:
        """Add a job, and forget those that were shown, except the last ones with pictures."""
        kept = [one for one in self.jobs[: self.num_shown] if one.state is not None][-MAX_KEPT:]
        self.jobs = [*kept, *self.jobs[self.num_shown :], job]
        self.num_shown = len(kept)

    def next_job(self) -> ImageJob | None:
        """The one that is shown now, or next."""
        return self.jobs[self.num_shown] if self.num_shown < len(self.jobs) else None

    @property
    def last_shown(self) -> ImageJob | None:
        """The one that was shown to its end last; those that never began have nothing to show."""
        return next((job for job in reversed(self.jobs[: self.num_shown]) if job.state is not None), None)

    @property
    def unended(self) -> list[ImageJob]:
        """Those that wait or run."""
        return [job for job in self.jobs if not job.has_ended]

    @property
    def id(self) -> str:
        """Ids of those that wait, run or have pictures, for a page that is loaded again; with commas between."""
        found = [job for job in self.jobs if job.state is not None or not job.has_ended]
        return ",".join(job.id for job in found[-MAX_KEPT:])

    def find_waiting(self, job_id: object) -> ImageJob | None:
        """One whose turn has not come, by its id."""
        return next((job for job in self.unended if job.id == job_id and job.began_s is None), None)


def describe_queue(mine: PageJobs | None, table: JobTable) -> str:
    """The requests of a page that wait, each with its place, the time until its turn, and a button; or nothing."""
    places = [(job, place) for job in (mine.unended if mine else ()) if (place := table.place_of(job))]
    if not places:
        return ""
    rows = "".join(_row(job, place) for job, place in places)
    count = "1 request waits" if len(places) == 1 else f"{len(places)} requests wait"
    return f'<section class="cxr-queue" aria-label="Waiting requests"><h2>{count}</h2><ul>{rows}</ul></section>'


def _row(job: ImageJob, place: Waiting) -> str:
    request = job.order
    before = f"{place.ahead} before it" if place.ahead else "next"
    seconds = "" if place.seconds is None else f", in about {duration(place.seconds)}"
    what = f"{plural(request.num_images, 'image')}: {shorten(request.prompt, MAX_PROMPT_CHARACTERS)}"
    return (
        f"<li><span><b>{before}{seconds}</b> {escape(what)}</span>"
        f'<button type="button" data-cancel="{job.id}" aria-label="Cancel {escape(what)}">Cancel</button></li>'
    )
