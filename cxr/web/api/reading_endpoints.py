"""Endpoints that read: prompts, pictures that this program made, and the table of models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from cxr.folders.foreign_image import read_foreign
from cxr.images.pixels import to_8_bits
from cxr.images.reading import read_grey
from cxr.images.recipe_file import find_differences, read_recipe_file
from cxr.models.preset_table import PRESETS
from cxr.models.presets import find_preset, prompt_form_of
from cxr.prompts import Finding, asked_labels, compile_prompt, misread_findings
from cxr.prompts.rewording import to_type_again, with_sent_prompt
from cxr.request.errors import CxrError, DataError
from cxr.request.recipe import BEGINNING_IN_RECIPES, Recipe, needed_picture
from cxr.request.settings import API_SETTINGS, REGION, SETTINGS, ImageSettings
from cxr.web.api.parameters import ANY_PICTURE, picture_path
from cxr.web.jobs.image_orders import ImageOrders
from cxr.web.jobs.image_state import region_facts
from cxr.web.jobs.job import OVER, Facts
from cxr.web.jobs.model_choice import known_to_answer, loaded_info
from cxr.web.page.shared_events import errors_for_users
from cxr.web.server.temporary import temp_root
from cxr.web.server.uploads import discard_upload

Result = TypeVar("Result")
READERS_AT_ONCE = 2
PRESET_FACTS = ("name", "hub_id", "resolution", "license", "data_terms", "gated", "prompt_form", "default_adapter")


class ReadingEndpoints:
    """What programs call to read something.

    Args:
        orders: ``/verify`` puts a request into the queue with them.
    """

    def __init__(self, orders: ImageOrders) -> None:
        self.orders, self.choice = orders, orders.choice
        self.readers = asyncio.Semaphore(READERS_AT_ONCE)

    async def parse(self, prompt: str) -> Facts:
        """Say what is understood of a prompt, what this model ignores, and what it reads in its place.

        Args:
            prompt: what the images should show.
        Returns:
            A dictionary: prompt, form, sent_prompt, findings, sex, age, view, denied, chips with label, kind, reason.
        """
        return await self._read(lambda: self._parse(prompt))

    async def models(self) -> Facts:
        """List the base models that this program knows, and which one answers here.

        Returns:
            A dictionary: models with name, resolution, licence, data terms and defaults; answering with the model, its
            LoRA and their hashes, null while it is not loaded.
        """
        return await self._read(self._models)

    async def restore(self, picture: object) -> Facts:
        """Read the settings out of a picture that this program made; nothing of its pixels is decoded.

        Args:
            picture: a PNG that this program wrote, as it was written.
        Returns:
            A dictionary: settings for /generate; recipe, whole; differences from what is loaded here, null if unknown;
            needs, a sentence, where the picture began from another.
        """
        return await self._read(lambda: self._with_picture(picture, self._restore))

    async def receipt(self, picture: object) -> Facts:
        """Compare what was asked of a picture with what a small network sees in it. Not a diagnosis.

        Args:
            picture: a PNG that this program wrote, as it was written.
        Returns:
            A dictionary: prompt, as_asked, rows with label, asked, seen, ceiling, judgeable; notes.
        """
        return await self._read(lambda: self._with_picture(picture, self._receipt))

    async def verify(self, picture: object, init_image: object = None, asker: gr.Request | None = None) -> Facts:
        """Make a picture again from its recipe, and say whether it is the same, pixel for pixel.

        Args:
            picture: a PNG that this program wrote, as it was written.
            init_image: the picture that it began from, if there was one; its recipe has the hash.
            asker: filled in by gradio; who asks.
        Returns:
            A dictionary: is_same; largest_difference in grey levels, null if the sizes differ; differences of what is
            loaded here from what made it.
        """
        with errors_for_users(on_page=False):
            recipe, levels = await self._read(lambda: self._with_picture(picture, _recipe_and_levels))
            begun_from = None
            if init_image is not None:
                begun_from = await self.orders.reader.picture(picture_path(init_image, "init_image", ANY_PICTURE))
            job = self.orders.submit(asker, recipe.request_from(begun_from))
            async with contextlib.aclosing(job.follow()) as states:
                async for _ in states:
                    pass
            if (state := job.state) is None or not state.images or state.info is None or state.stage not in OVER:
                raise DataError("the picture was not made again: the request was stopped")
            differences = find_differences(recipe, state.info)
            return await self._read(lambda: _compared(levels, state.images[0].path, differences))

    async def detect(self, picture: object) -> Facts:
        """Say whether a picture is synthetic, and what that rests on; "nothing found" does not mean that it is real.

        Args:
            picture: any PNG, JPEG or DICOM file.
        Returns:
            A dictionary: verdict; evidence, each with kind (proof, fault, claim or remark) and text.
        """
        with errors_for_users(on_page=False):
            found = await self.orders.reader.detection(picture_path(picture, "picture", ANY_PICTURE))
            return {name: value for name, value in found.values.items() if name != "path"}

    async def _read(self, work: Callable[[], Result]) -> Result:
        """Do something in a thread, a few calls at a time."""
        with errors_for_users(on_page=False):
            async with self.readers:
                return await asyncio.to_thread(work)

    def _with_picture(self, picture: object, read: Callable[[Path], Result]) -> Result:
        path = picture_path(picture, "picture")
        try:
            return read(path)
        finally:
            discard_upload(path)

    def _parse(self, prompt: object) -> Facts:
        text = SETTINGS["prompt"].check(prompt)
        form = prompt_form_of(known_to_answer(self.choice).model)
        labels, sent = asked_labels(text), with_sent_prompt(ImageSettings(text, reword=True), form)
        return {
            "prompt": text,
            "form": form,
            "sent_prompt": sent.model_prompt,
            **region_facts(sent),
            "findings": None if labels.findings is None else list(labels.findings),
            "sides": dict(labels.sides),
            "sex": labels.sex,
            "age": labels.age,
            "view": labels.view,
            "denied": [Finding(name).label for name in misread_findings(text)],
            "chips": [asdict(chip) for chip in compile_prompt(text, form).chips],
        }

    def _models(self) -> Facts:
        rows = [
            {name: getattr(preset, name) for name in PRESET_FACTS} | {"defaults": dict(preset.defaults)}
            for preset in PRESETS.values()
        ]
        with contextlib.suppress(CxrError):
            chosen = find_preset(self.choice.model).name
            rows = [row | {"is_chosen": row["name"] == chosen} for row in rows]
        info = loaded_info(self.choice)
        return {"models": rows, "answering": asdict(info) if info else None}

    def _restore(self, path: Path) -> Facts:
        recipe, info = read_recipe_file(path, temp_root()), loaded_info(self.choice)
        typed = to_type_again(recipe, prompt_form_of(recipe.model))
        begun = BEGINNING_IN_RECIPES if recipe.is_derived else REGION if typed.surrounding_prompt else ()
        settings = {name: getattr(typed, name) for name in (*API_SETTINGS, *begun) if name != "num_images"}
        needs = {"needs": f"{needed_picture(recipe)}; give it as init_image"} if recipe.is_derived else {}
        return needs | {
            "settings": settings,
            "recipe": recipe.values,
            "differences": find_differences(recipe, info) if info else None,
        }

    def _receipt(self, path: Path) -> Facts:
        from cxr.judges.receipt import embedded_judge, read_receipt  # torch takes seconds to import

        recipe, levels = _recipe_and_levels(path)
        if (judge := embedded_judge()) is None:
            raise DataError("this installation has no network that reads images")
        (receipt,) = read_receipt(levels[None], recipe.prompt, *judge, sent_prompt=recipe.sent_prompt)
        facts = {"prompt": recipe.prompt, "as_asked": receipt.as_asked}
        return facts | {"rows": receipt.facts(), "notes": list(receipt.notes)}


def _recipe_and_levels(path: Path) -> tuple[Recipe, NDArray[np.uint8]]:
    recipe = read_recipe_file(path, temp_root())
    levels, _, _ = read_foreign(path, "the picture")
    return recipe, to_8_bits(levels)


def _compared(levels: NDArray[np.uint8], path: Path, differences: list[str]) -> Facts:
    made = read_grey(path)
    largest = int(np.abs(made.astype(np.int16) - levels).max()) if made.shape == levels.shape else None
    return {"is_same": largest == 0, "largest_difference": largest, "differences": differences}
