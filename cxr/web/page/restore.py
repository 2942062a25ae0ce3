"""A picture that this program made -> the settings that made it, in the form again."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import gradio as gr

from cxr.images.recipe_file import find_differences, read_recipe_file
from cxr.models.presets import prompt_form_of
from cxr.prompts.rewording import to_type_again
from cxr.request.errors import CxrError
from cxr.request.messages import as_sentence
from cxr.request.model_info import ModelInfo, where_to_find
from cxr.request.recipe import Recipe, needed_picture
from cxr.request.settings import API_SETTINGS, BEGINNING, REGION, SETTINGS
from cxr.web.page import panels
from cxr.web.page.begin_panel import TITLE as BEGIN
from cxr.web.page.begin_panel import BeginPanel, begun_values
from cxr.web.page.image_form import ImageForm, values_of
from cxr.web.page.shared_events import PRIVATE, Values
from cxr.web.server.temporary import temp_root
from cxr.web.server.uploads import discard_upload

SUFFIXES = (".png", ".jpg", ".jpeg")
TITLE = "Restore settings"
UNSURE = "The image may come out differently"


def describe(recipe: Recipe, info: ModelInfo | None) -> str:
    """What the page says about a recipe that has been restored, as HTML."""
    lines = [f"Settings of the image with seed {recipe.seed} are in the form."]
    if info is None:
        lines.append("The model in use here is not known yet, so they could not be compared.")
    elif differences := find_differences(recipe, info):
        lines.append(f"{UNSURE}: it was made with {', '.join(differences)}.")
        if found := where_to_find(recipe.model_revision, recipe.adapter_sha256):
            lines.append(f"{as_sentence(found)}.")
    if recipe.is_derived:
        lines.append(f"{as_sentence(needed_picture(recipe))}; choose that under “{BEGIN}”.")
    if as_typed(recipe).surrounding_prompt:
        lines.append(f"Only a region of it was made so; what lies around is in “{BEGIN}”.")
    for name, value in recipe.image_settings.items():
        usual = SETTINGS[name].default
        if name not in (*API_SETTINGS, *BEGINNING, *REGION, "sent_prompt") and value != usual:
            lines.append(f"Its {SETTINGS[name].label.lower()}: {value}; the page makes images with {usual}.")
    return "".join(f'<p class="cxr-hint">{escape(line)}</p>' for line in lines)


def as_typed(recipe: Recipe) -> Recipe:
    """What the form has to hold to make the image again: findings on one side need no region there."""
    return to_type_again(recipe, prompt_form_of(recipe.model))


def refusal(error: CxrError) -> str:
    """What the page says about a picture that gives no settings, as HTML."""
    return panels.alert(f"{as_sentence(str(error))}. Nothing was changed")


def build_restore(form: ImageForm, find_info: Callable[[], ModelInfo | None], begin: BeginPanel) -> None:
    """Make the accordion with the field for a picture, and its event.

    Args:
        form: what is filled.
        find_info: gives the loaded model, or None.
        begin: what is filled as well if the picture began from another.
    """
    filled = [*form.everything, *begin.filled]
    with gr.Accordion(TITLE, open=False, elem_id="restore"):
        file = gr.UploadButton("Choose a PNG made by this program", file_types=list(SUFFIXES), elem_id="restore-file")
        said = gr.HTML("", elem_id="restore-said")

    def restore(path: str) -> Values:
        try:
            recipe = read_recipe_file(Path(path), temp_root())
        except CxrError as error:
            return *(gr.skip() for _ in filled), refusal(error), None
        finally:
            discard_upload(Path(path))  # it may show a person, and is not needed any longer
        typed = as_typed(recipe)
        begun = recipe.values | {name: getattr(typed, name) for name in REGION}
        return *values_of(recipe), *begun_values(begun), describe(recipe, find_info()), None

    file.upload(restore, inputs=file, outputs=[*filled, said, file], concurrency_limit=2, **PRIVATE)
