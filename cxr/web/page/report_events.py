"""Events of the step "Report": a finished data set -> a job that measures it -> widgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import gradio as gr

from cxr.request.errors import RequestError
from cxr.web.jobs.dataset_order import DatasetJob, DatasetState
from cxr.web.jobs.job import OVER, Job
from cxr.web.jobs.report_job import ReportJob, ReportOrder, ReportState, make_report
from cxr.web.jobs.table import JobTable
from cxr.web.page import panels, report_panels
from cxr.web.page.shared_events import Values, buttons, errors_for_users, show_job, show_stop
from cxr.web.server.limits import Limits
from cxr.web.server.visitors import visitor_of

NO_SET = "there is no finished data set on this page; make one in the step before"


class ReportEvents:
    """What the events of the step do. Its jobs have a table of their own: measuring needs no turn at the model.

    Args:
        limits: how many may wait.
        reference: folder of real films that a data set can be compared with; None for none.
    """

    def __init__(self, limits: Limits, reference: Path | None = None) -> None:
        self.reference = reference
        self.jobs = JobTable(limits.queue, limits.jobs_per_client)

    def start(self, asker: gr.Request | None, dataset: DatasetJob | None, compares: object) -> Values:
        """Start to measure the data set of the page.

        Args:
            dataset: the job that made it.
            compares: whether it is compared with the real films.
        Returns:
            Values for (job, then as `show`).
        """
        with errors_for_users():
            state = dataset.state if dataset else None
            if dataset is None or not isinstance(state, DatasetState) or state.stage != "finished" or not state.archive:
                raise RequestError(NO_SET)
            failed = state.progress.failed if state.progress else 0
            reference = self.reference if compares is True else None
            order = ReportOrder(dataset.order.folder, state.archive, failed, reference)
            job: ReportJob = Job(order, visitor_of(asker))
            self.jobs.submit(job, make_report(order, job))
        waiting = panels.panel("Waiting…", tone="busy")
        return job, waiting, *buttons(is_running=True), gr.DownloadButton(value=None, interactive=False), ""

    async def run(self, job: ReportJob | None) -> AsyncGenerator[Values, None]:
        """Show how far a job is. Yields values as `show`."""
        async for widgets in show_job(job, self.show, 5):
            yield widgets

    def show(self, state: ReportState, _: ReportState | None) -> Values:
        """The page for a state, whatever it shows.

        Returns:
            Values for (status, measure button, stop button, download button, report).
        """
        is_over, is_finished = state.stage in OVER, state.stage == "finished"
        return (
            report_panels.describe_state(state),
            *(buttons(is_running=False) if is_over else (gr.skip(), gr.skip())),
            gr.DownloadButton(value=str(state.archive), interactive=True) if is_finished else gr.skip(),
            report_panels.describe_report(state) if is_finished else gr.skip(),
        )

    def stop(self, job: ReportJob | None) -> Values:
        """Ask a job to end. Returns values for (status, measure button, stop button)."""
        return show_stop(job, panels.NEVER_BEGUN)
