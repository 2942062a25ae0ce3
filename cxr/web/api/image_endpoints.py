"""The endpoints ``/generate`` and ``/compare``: values -> jobs -> images and facts."""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from cxr.prompts import asked_labels
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.setting import check_switch
from cxr.request.settings import SETTINGS
from cxr.web.api.endpoint import takes_settings
from cxr.web.api.parameters import read_beginning
from cxr.web.jobs.compare_job import CompareJob, CompareState, compare_images
from cxr.web.jobs.image_orders import RANDOM_SEED_LIMIT, ImageOrders
from cxr.web.jobs.job import OVER, Facts, Job
from cxr.web.page.shared_events import errors_for_users
from cxr.web.page.stage_data import gallery_items
from cxr.web.page.twins import region_between
from cxr.web.server.visitors import visitor_of

Images = list[tuple[str, str]]
STRENGTH, WEIGHT = (SETTINGS[name].default for name in ("strength", "adapter_weight"))


class ImageEndpoints:
    """What programs call for images.

    Args:
        orders: put requests into the queue.
    """

    def __init__(self, orders: ImageOrders) -> None:
        self.orders = orders

    @takes_settings
    async def generate(
        self,
        settings: Mapping[str, Any],
        init_image: object = None,
        strength: float = STRENGTH,
        mask_cells: object = "",
        mask: object = None,
        surrounding_prompt: object = "",
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by this default
        asker: gr.Request | None = None,
    ) -> AsyncGenerator[tuple[Images, str | None, Facts], None]:
        """Make synthetic chest radiographs from a description. Not for diagnosis.

        Image k is made from seed + k, so every image can be made again by itself. Results arrive one image at a time;
        the last one also has the ZIP.

        Args:
            settings: of the request, by name.
            init_image: as the table says. Null for none.
            strength: as the table says.
            mask_cells: as the table says. Empty for the whole picture.
            mask: a picture in which that region is white, in place of mask_cells.
            surrounding_prompt: as the table says. Empty for none.
            progress: filled in by gradio; the share of denoising steps that are done.
            asker: filled in by gradio; who asks.
        Returns:
            Lossless grey PNGs with their seed as caption; the path of a ZIP with the same files, metadata.jsonl and
            manifest.json; a dictionary of facts: seeds, prompt, negative_prompt, as_asked, seconds, model, adapter,
            failures, notes.
        """
        with errors_for_users(on_page=False):
            self.orders.jobs.check_room(visitor_of(asker))  # before a picture is read
            begun = await read_beginning(self.orders.reader, init_image, strength, mask_cells, mask, surrounding_prompt)
            request = GenerationRequest(**_with_seed(settings), **begun)
            num_sent = 0
            async with contextlib.aclosing(self.orders.submit(asker, request).follow()) as states:
                async for state in states:
                    if state.progress is not None:
                        progress(state.progress.fraction, desc=f"image {state.progress.image_index + 1}")
                    # The last image comes together with the ZIP; several may have come at once.
                    for number in range(num_sent + 1, min(len(state.images), request.num_images - 1) + 1):
                        num_sent, part = number, replace(state, images=state.images[:number])
                        yield gallery_items(part), None, part.facts
                    if state.stage in OVER:
                        yield gallery_items(state), str(state.archive) if state.archive else None, state.facts

    async def compare(
        self,
        prompt: str,
        other_prompt: str = "",
        seed: int | None = None,
        adapter_weight: float = WEIGHT,
        other_adapter_weight: float | None = None,
        region: bool = False,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by this default
        asker: gr.Request | None = None,
    ) -> tuple[Images, Facts]:
        """Make two synthetic chest radiographs from one seed, and a map of their difference. Not for diagnosis.

        Args:
            prompt: of the first image.
            other_prompt: of the second image; empty for the same.
            seed: of both; null draws one.
            adapter_weight: of the LoRA in the first image.
            other_adapter_weight: of the LoRA in the second image; null for the same.
            region: whether the second image equals the first except where the findings that differ show.
            progress: filled in by gradio; the share of the work that is done.
            asker: filled in by gradio; who asks.
        Returns:
            Both images and the map, grey 128 where they are equal and half a level for each level that the second is
            brighter; a dictionary of facts: those of both images, the mean and the largest difference in grey levels.
        """
        with errors_for_users(on_page=False):
            usual = self.orders.choice.defaults
            values = _with_seed({"prompt": prompt, "seed": seed, "adapter_weight": adapter_weight, **usual})
            first = GenerationRequest(**values)
            changed: dict[str, Any] = {"prompt": other_prompt} if other_prompt != "" else {}
            changed |= {} if other_adapter_weight is None else {"adapter_weight": other_adapter_weight}
            second = replace(first, **changed)
            if check_switch(region, "region"):
                second = replace(second, **_same_around(first, second))
            first_steps, second_steps = (self.orders.as_read(one).num_steps_in_all for one in (first, second))
            num_steps = first_steps + second_steps
            self.orders.check_limits(replace(first, num_images=math.ceil(num_steps / first_steps)))
            job: CompareJob = Job((first, second), visitor_of(asker), num_steps)
            self.orders.jobs.submit(job, compare_images(first, second, self.orders.choice, job))
            state = CompareState()
            async with contextlib.aclosing(job.follow()) as states:
                async for state in states:
                    progress(state.fraction)
            return state.gallery, state.facts or {}


def _same_around(first: GenerationRequest, second: GenerationRequest) -> dict[str, Any]:
    """The request for a second image that equals the first except in the region where their findings differ."""
    if second.adapter_weight != first.adapter_weight:
        raise RequestError("changes the whole image; leave it out, or region", field="other_adapter_weight")
    if asked_labels(first.prompt).sides or asked_labels(second.prompt).sides:
        raise RequestError("cannot be used where a prompt names a side, which is a region already", field="region")
    try:
        return region_between(first.prompt, second.prompt)
    except RequestError as error:
        raise RequestError(f"cannot be made: {error}", field="region") from error


def _with_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings; a missing seed is drawn."""
    seed = settings.get("seed")
    return {**settings, "seed": secrets.randbelow(RANDOM_SEED_LIMIT) if seed is None else seed}
