"""The last step of a data set: its widgets, and what each event calls."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from cxr.web.page import report_panels
from cxr.web.page.report_events import ReportEvents
from cxr.web.page.shared_events import AT_ONCE, QUEUED, buttons

FEWEST_IMAGES = 20  # as `cxr.evaluate.image_set` has it, which would bring torch to the start of the page


@dataclass(frozen=True)
class ReportStep:
    compares: gr.Checkbox
    measure_button: gr.Button
    stop_button: gr.Button
    status: gr.HTML
    download: gr.DownloadButton
    report: gr.HTML

    def connect(self, events: ReportEvents, dataset: gr.State) -> None:
        """Let the buttons measure the data set of the page.

        Args:
            dataset: holds the job that made it.
        """
        job = gr.State(None)
        start_stop = [self.measure_button, self.stop_button]
        shown = [self.status, *start_stop, self.download, self.report]
        started = self.measure_button.click(
            events.start, inputs=[dataset, self.compares], outputs=[job, *shown], **QUEUED
        )
        ran = started.success(events.run, inputs=job, outputs=shown, trigger_mode="multiple", **QUEUED)
        ran.failure(lambda: buttons(is_running=False), outputs=start_stop, trigger_mode="multiple", **AT_ONCE)
        self.stop_button.click(events.stop, inputs=job, outputs=[self.status, *start_stop], **AT_ONCE)


def build_report_step(events: ReportEvents) -> ReportStep:
    """Make the widgets; to be called inside the step that holds them."""
    name = events.reference.name if events.reference else ""
    compares = gr.Checkbox(
        bool(name),
        label=f"Compare with the real films in “{name}”",
        info=f"From {FEWEST_IMAGES} images, and {2 * FEWEST_IMAGES} films of patients that the judges have not seen.",
        visible=bool(name),
    )
    measure_button = gr.Button("Measure the data set", variant="primary", elem_id="measure")
    with gr.Row(elem_classes="status-row"):
        status = gr.HTML(report_panels.IDLE, elem_id="report-status", scale=1)
        stop_button = gr.Button("Stop", variant="stop", interactive=False, scale=0, min_width=76, elem_id="report-stop")
    report = gr.HTML("", elem_id="report")
    download = gr.DownloadButton("Download the report", interactive=False, elem_id="report-zip")
    return ReportStep(compares, measure_button, stop_button, status, download, report)
