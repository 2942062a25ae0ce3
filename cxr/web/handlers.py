"""Widget values -> request, results -> widgets. What a user is meant to see of an error becomes ``gr.Error``."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr

from cxr.request.errors import CxrError
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo
from cxr.request.settings import API_SETTINGS, BY_MODEL, LABELS, SETTINGS
from cxr.web import clients, status
from cxr.web.adapter_card import describe_adapters
from cxr.web.dataset_jobs import DatasetJob
from cxr.web.examples import Example
from cxr.web.form import values_of
from cxr.web.jobs import Job, run_job
from cxr.web.limits import Limits, find_resolution
from cxr.web.model_choice import ModelChoice, answering, load_model_for
from cxr.web.receipt import describe_receipts
from cxr.web.threads import iterate_in_thread, watch_client
from cxr.web.view import JobView, gallery_items, grid_shape

RANDOM_SEED_LIMIT = 2**31  # ten digits are enough to be unique and short enough to be copied by hand
ERROR_DURATION_S = 20
MAX_MESSAGE_CHARACTERS = 600
FAILED = "That did not work"
BUSY = "Its queue is full and nothing was started. Nothing you typed is lost; try again in a minute."
CRASHED = "Something went wrong inside the program; its log holds the details. Nothing you typed is lost."


@contextlib.contextmanager
def errors_for_users(*, on_page: bool = True) -> Iterator[None]:
    """Turn errors that were written for users into gradio's; leave faults of the program with their trace.

    Args:
        on_page: the page takes a message for HTML, and it may repeat what stands in a file of somebody else's.
    """
    try:
        yield
    except CxrError as error:
        # Programs know the parameters, people the labels.
        message = error.described(LABELS if on_page else {})
        if len(message) > MAX_MESSAGE_CHARACTERS:  # it repeats what was given
            message = message[:MAX_MESSAGE_CHARACTERS] + " …"
        message = escape(message, quote=False) if on_page else message
        raise gr.Error(message, ERROR_DURATION_S, title=FAILED, print_exception=False) from error


def tell_errors(
    job: Job | DatasetJob, updates: Generator[tuple[Any, ...], None, None]
) -> Generator[tuple[Any, ...], None, None]:
    """Pass on a job's updates of the page; an error goes into its status panel, the first of five widgets, as well.

    Args:
        job: is told of a fault of the program.
        updates: closed with this generator.
    """
    try:
        yield from updates
    except CxrError as error:
        yield status.panel(FAILED, tone="bad", notes=[error.described(LABELS)]), *(gr.skip(),) * 4
        with errors_for_users():
            raise
    except Exception:
        job.crashed = True
        raise


class Handlers:
    """What the page's events do.

    Args:
        choice: which model and LoRA answer.
        examples: the shipped pictures, in the order in which they are shown.
        limits: what one visitor may ask for.
    """

    def __init__(self, choice: ModelChoice, examples: Sequence[Example], limits: Limits = Limits()) -> None:  # noqa: B008
        self.choice = choice
        self.examples = examples
        self.limits = limits

    def describe_model(self) -> Generator[str, None, None]:
        """Say which model answers; waits for it if it is still being loaded."""
        yield status.describe_model(self.choice)
        try:
            info = load_model_for(answering(self.choice)).info
        except CxrError as error:
            yield status.describe_model(self.choice, problem=str(error))
        else:
            yield status.describe_model(self.choice, info)

    def open_page(self) -> Generator[tuple[Any, ...], None, None]:
        """Say all that depends on the model that answers; one event, as each would wait for it in a thread of its own.

        Yields:
            Values for (model line, LoRA cards, the settings that depend on the model).
        """
        for line in self.describe_model():
            yield line, gr.skip(), *(gr.skip(),) * len(BY_MODEL)
        yield gr.skip(), self.describe_adapters(), *self.settings_of_stand_in()

    def loaded_model(self) -> ModelInfo | None:
        """The model that answers, or None if there is none."""
        try:
            return load_model_for(answering(self.choice)).info
        except CxrError:
            return None

    def describe_adapters(self) -> str:
        """The cards of the loaded LoRAs; waits for the model, whose own line tells if it cannot be loaded."""
        try:
            return describe_adapters(load_model_for(answering(self.choice)).adapters)
        except CxrError:
            return ""

    def settings_of_stand_in(self) -> tuple[Any, ...]:
        """The settings `BY_MODEL` for the model that answers in place of the chosen one; else nothing changes."""
        with contextlib.suppress(CxrError):
            if answering(self.choice) != self.choice:
                return tuple(SETTINGS[name].default for name in BY_MODEL)
        return (gr.skip(),) * len(BY_MODEL)

    def start(
        self,
        prompt: str,
        negative_prompt: str,
        seed: int,
        randomise: bool,
        *settings: Any,
    ) -> tuple[Any, ...]:
        """Check what was typed and get the page ready; a mistake is said before anything on the page changes.

        Args:
            prompt: what the images should show.
            negative_prompt: may be empty.
            seed: of the first image.
            randomise: take another seed instead.
            settings: the request's other values, in the order of the form.
        Returns:
            Values for (job, seed, status, gallery, ZIP button, facts, generate button, stop button, receipt).
        """
        if randomise:
            seed = secrets.randbelow(RANDOM_SEED_LIMIT)
        with errors_for_users():
            values = (prompt, negative_prompt, seed, *settings)
            request = GenerationRequest(**dict(zip(API_SETTINGS, values, strict=True)))
            self.limits.check_request(request, find_resolution(self.choice.model))
            clients.refuse_if_busy(self.limits.jobs_per_client)
        waiting = status.panel("Waiting for the model…", tone="busy")
        columns, rows = grid_shape(request.num_images)
        gallery = gr.Gallery(value=None, columns=columns, rows=rows, selected_index=None)
        idle_zip = gr.DownloadButton(value=None, interactive=False)
        buttons = gr.Button(interactive=False), gr.Button(interactive=True)
        no_receipt = gr.HTML("", visible=False)
        return Job(request), request.seed, waiting, gallery, idle_zip, None, *buttons, no_receipt

    def run(self, job: Job) -> Generator[tuple[Any, ...], None, None]:
        """Make the images of a job and show them as they form.

        Yields:
            Values for (status, gallery, ZIP button, facts, model line).
        """
        if job.started or job.stop.is_set():
            # Stopped while it waited in the queue, or a newer request of the same page has come first.
            yield (gr.skip(),) * 5
            return
        job.started = True
        view = JobView(self.choice)
        try:
            yield from tell_errors(job, self._updates(job, view))
        finally:
            job.ended = True
            view.remove_previews()

    def _updates(self, job: Job, view: JobView) -> Generator[tuple[Any, ...], None, None]:
        with contextlib.closing(run_job(job.request, self.choice, job.stop, self.limits.job_s)) as states:
            for state in states:
                job.last_state = state
                yield view.show(state)

    def stop(self, job: Job | None) -> tuple[Any, ...]:
        """Ask a job to end. Returns values for (status, generate button, stop button)."""
        if job is None:
            return (gr.skip(),) * 3
        job.stop.set()
        if job.started:
            return status.panel("Stopping…", tone="busy"), gr.skip(), gr.Button(interactive=False)
        clients.leave_queue(self.run)
        return status.panel("Stopped before it began"), gr.Button(interactive=True), gr.Button(interactive=False)

    def settle(self, job: Job | None) -> tuple[Any, ...]:
        """Give the buttons back when a job is over, show its receipt, and say so if it never ran or broke.

        Returns:
            Values for (status, generate button, stop button, receipt).
        """
        panel: Any = gr.skip()
        if job is not None and job.crashed:
            panel = status.panel(FAILED, tone="bad", notes=[CRASHED])
        elif job is not None and not job.started and not job.stop.is_set():
            panel = status.panel("The model is busy", tone="bad", notes=[BUSY])
        text = describe_receipts(job.last_state) if job is not None and job.last_state else ""
        receipt = gr.HTML(text, visible=True) if text else gr.skip()
        return panel, gr.Button(interactive=True), gr.Button(interactive=False), receipt

    def fill_from_example(self, event: gr.SelectData) -> tuple[Any, ...]:
        """Fill the whole form with the recipe of the picture that was clicked."""
        return values_of(self.examples[event.index].recipe)

    async def generate(
        self,
        prompt: str,
        negative_prompt: str,
        seed: int,
        num_inference_steps: int,
        num_images: int,
        guidance_scale: float,
        adapter_weight: float,
        guidance_stop: float = GenerationRequest.guidance_stop,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by this default
    ) -> AsyncGenerator[tuple[list[tuple[str, str]], str | None, dict[str, Any]], None]:
        """Make synthetic chest radiographs from a description. Not for diagnosis.

        Image k is made from seed + k, so every image can be made again by itself. Results arrive one image at a time;
        the last one also has the ZIP.

        Args:
            prompt: what the images should show, for example "A 55-year-old man with pneumonia"; up to 2,000 characters.
            negative_prompt: what they should not show; may be empty.
            seed: seed of the first image, 0 to 2**53 - 1.
            num_inference_steps: denoising steps, 1 to 100.
            num_images: images to make, 1 to 64.
            guidance_scale: how closely to follow the prompt, 1 (no guidance) to 20.
            adapter_weight: strength of the clinical LoRA, 0 (the base model alone) to 2.
            guidance_stop: share of the steps after which guidance ends, 0 to 1; fewer guided steps are quicker.
            progress: filled in by gradio; the share of denoising steps that are done.
        Returns:
            Lossless grey PNGs with their seed as caption; the path of a ZIP with the same files, metadata.jsonl and
            manifest.json; a dictionary of facts: seeds, seconds, model, adapter, failures, notes.
        """
        with errors_for_users(on_page=False):
            request = GenerationRequest(
                prompt=prompt,
                negative_prompt=negative_prompt,
                seed=seed,
                num_inference_steps=num_inference_steps,
                num_images=num_images,
                guidance_scale=guidance_scale,
                adapter_weight=adapter_weight,
                guidance_stop=guidance_stop,
            )
            self.limits.check_request(request, find_resolution(self.choice.model))
            num_shown = 0
            states = iterate_in_thread(run_job(request, self.choice, limit_s=self.limits.job_s), watch_client())
            async with contextlib.aclosing(states):
                async for state in states:
                    if state.progress is not None:
                        progress(state.progress.fraction, desc=f"image {state.progress.image_index + 1}")
                    if state.stage in ("finished", "stopped"):
                        yield gallery_items(state), str(state.archive), state.facts
                    elif num_shown < len(state.images) < request.num_images:
                        # The last image comes together with the ZIP.
                        num_shown = len(state.images)
                        yield gallery_items(state), None, state.facts
