"""Events of the viewer and of the strip of examples: what the browser sends about a picture -> widgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from cxr.request.errors import OutputError, RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import API_SETTINGS, SETTINGS
from cxr.web.jobs.job import Facts
from cxr.web.page.begin_panel import begun_values
from cxr.web.page.image_form import PLACEHOLDER, form_values
from cxr.web.page.shared_events import Values, errors_for_users, sent_with
from cxr.web.page.stage_data import file_value
from cxr.web.page.twins import twin_of
from cxr.web.server.temporary import temp_root

GONE = "this picture is no longer on the server; make it again from its seed"


def fill(event: gr.EventData) -> Values:
    """Fill all that a request is read from with the settings that the page sends: those of a picture, an example or a
    link. Returns values for the form and for ``BeginPanel.filled``.

    Args:
        event: holds ``settings`` by name, missing ones are the program's own; and ``randomise``.
    """
    with errors_for_users():
        settings = _read_settings(sent_with(event, "settings"))
        begun = begun_values(settings)
    return *form_values(settings, randomise=sent_with(event, "randomise") is True), *begun


def twin_values(event: gr.EventData) -> Values:
    """What `fill` would give for the twin of a picture, which is made without filling the form: that stays as it is.

    Args:
        event: holds ``settings`` of the picture by name, and ``twin``, what shall differ from them.
    """
    with errors_for_users():
        settings = twin_of(_read_settings(sent_with(event, "settings")), str(sent_with(event, "twin")))
        _, *begun = begun_values(settings)
    return *form_values(settings), *begun


def use_seed(event: gr.EventData) -> tuple[int, bool]:
    """Keep a picture's seed for the next one. Returns values for (seed, randomise).

    Args:
        event: holds ``seed``.
    """
    with errors_for_users():
        return SETTINGS["seed"].check(sent_with(event, "seed")), False


def dicom(event: gr.EventData) -> Facts:
    """Write a picture of this page as DICOM. Returns the file, for the browser.

    Args:
        event: holds ``path``, of a picture that was shown.
    """
    with errors_for_users():
        return file_value(write_picture(str(sent_with(event, "path") or "")))


def write_picture(path: str) -> Path:
    """Write an image of a job as a DICOM file beside it; the same image gives the same bytes.

    Args:
        path: of the PNG, as the page knows it; only those that this program wrote itself are read.
    Raises:
        RequestError: there is no such image.
        OutputError: the disk refused the file.
    """
    from cxr.folders.dicom import SyntheticPatient, encode_dicom
    from cxr.images.guarded import reason_of
    from cxr.images.png import read_recipe
    from cxr.images.reading import read_levels
    from cxr.prompts import labels_asked_by

    picture = Path(path).resolve()
    runs = (temp_root() / "runs").resolve()
    is_ours = picture.is_relative_to(runs) and picture.parent.name == "images" and picture.suffix == ".png"
    if not is_ours or not picture.is_file():
        raise RequestError(GONE)
    recipe = read_recipe(picture)
    patient = SyntheticPatient(f"SYN{recipe.seed}", labels_asked_by(recipe))
    data = encode_dicom(read_levels(picture), recipe, patient, recipe.bit_depth)
    target = picture.parent.parent / f"{picture.stem}.dcm"
    try:
        target.write_bytes(data)
    except OSError as error:
        raise OutputError(f"the DICOM file cannot be written: {reason_of(error)}") from error
    return target


def _read_settings(values: object) -> dict[str, object]:
    """The settings of one image, checked; those of a picture that it began from are left for `begun_values`."""
    if not isinstance(values, Mapping):
        raise RequestError("the settings are not a table; nothing was changed")
    sent = {name: values[name] for name in API_SETTINGS if values.get(name, "") != ""}
    usual = {name: SETTINGS[name].default for name in API_SETTINGS} | {"prompt": PLACEHOLDER}
    request = GenerationRequest(**usual | sent)
    return {**values, **{name: getattr(request, name) for name in API_SETTINGS}}
