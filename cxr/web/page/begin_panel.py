"""The panel "Start from a picture": which picture images begin from, how far they may leave it, and the region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from cxr.images.png import data_address
from cxr.images.squares import fit_square
from cxr.prompts.halves import side_of
from cxr.request.errors import RequestError
from cxr.request.init_image import SHA256, InitImage
from cxr.request.mask_cells import CELLS, check_cells, read_mask_cells
from cxr.request.settings import SETTINGS
from cxr.web.page.image_form import number
from cxr.web.page.scripts import BEGIN, BEGIN_TEMPLATE
from cxr.web.page.shared_events import AT_ONCE, QUEUED, Values, errors_for_users, sent_with
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.uploads import MAGIC

TITLE = SETTINGS["init_image"].label
IN_USE = f"{TITLE} · in use"
SHOWN_SIDE = 384  # pixels
MAX_SENT = 4  # pictures that a page may go back to
NOTHING = {"sha256": "", "cells": "", "around": ""}


@dataclass(frozen=True)
class BeginPanel:
    """The widgets: what is folded, the pictures that this page has sent, what is asked for, and the strength.

    ``region`` holds the hash of the picture that images begin from, empty for none, and the cells; in place of the hash
    it may hold the prompt of the picture that is made around them. The picture of the hash may still be missing:
    recipes name one, and do not hold it. ``sent`` holds what finds each picture by its hash.
    """

    accordion: gr.Accordion
    sent: gr.State
    region: gr.HTML
    strength: gr.Number
    reader: PictureReader

    @property
    def inputs(self) -> list[Block]:
        """What a request needs, in the order of `beginning_values`."""
        return [self.sent, self.region, self.strength]

    @property
    def filled(self) -> list[Block]:
        """What the settings of a picture fill, in the order of `begun_values`."""
        return [self.accordion, self.region, self.strength]

    async def choose(self, path: str, sent: Mapping[str, str], region: object) -> Values:
        """Take an uploaded picture, or one that this page made. Returns values for `connect`'s outputs.

        Args:
            path: of it.
            sent: pictures that this page has sent before.
            region: what was asked for until now; cells that were painted over the same picture stay.
        """
        with errors_for_users():
            picture = await self.reader.picture(Path(path))
        sha256, cells, _ = _read(region)
        value = NOTHING | {"sha256": picture.sha256, "cells": cells if sha256 == picture.sha256 else ""}
        others = {name: secret for name, secret in sent.items() if name != picture.sha256}
        sent = dict([*others.items(), (picture.sha256, self.reader.keep(picture))][-MAX_SENT:])
        return gr.Accordion(label=IN_USE, open=True), sent, gr.HTML(value, picture=_shown(picture))

    def connect(self, file: gr.UploadButton, viewer: gr.HTML) -> None:
        """Connect what a picture can come from.

        Args:
            file: the button for pictures of one's own.
            viewer: it sends the paths of pictures of this page.
        """
        before, outputs = [self.sent, self.region], [self.accordion, self.sent, self.region]

        async def choose_file(path: str, sent: Mapping[str, str], region: object) -> Values:
            return *await self.choose(path, sent, region), None

        async def choose_result(sent: Mapping[str, str], region: object, event: gr.EventData) -> Values:
            return await self.choose(str(sent_with(event, "path") or ""), sent, region)

        file.upload(choose_file, [file, *before], [*outputs, file], **QUEUED)
        viewer.begin(choose_result, before, outputs, **QUEUED)
        self.region.change(lambda region: _titled(_is_used(region)), self.region, self.accordion, **AT_ONCE)


def build_begin_panel(reader: PictureReader) -> tuple[BeginPanel, gr.UploadButton]:
    """Make the panel where it stands.

    Args:
        reader: reads pictures.
    Returns:
        It, and the button for pictures of one's own.
    """
    with gr.Accordion(TITLE, open=False, elem_id="begin") as accordion, gr.Row(elem_id="begin-row"):
        sent = gr.State({})
        region = gr.HTML(
            NOTHING,
            html_template=BEGIN_TEMPLATE,
            js_on_load=BEGIN,
            apply_default_css=False,
            elem_id="begin-region",
            picture={"sha256": "", "url": ""},
            cells=CELLS,
        )
        with gr.Column(elem_id="begin-choice", min_width=240):
            file = gr.UploadButton("Choose a PNG, JPEG or DICOM file", file_types=[*MAGIC], elem_id="begin-file")
            strength = number("strength")
    return BeginPanel(accordion, sent, region, strength, reader), file


def beginning_values(
    reader: PictureReader, sent: Mapping[str, str], region: object, strength: object
) -> dict[str, Any]:
    """The values of a request that begins from the picture of the panel, or has another around its region; else none.

    Args:
        reader: keeps pictures.
    Raises:
        RequestError: a picture is asked for, and it is not the one that is here.
    """
    sha256, cells, around = _read(region)
    if not sha256:
        return {"mask_cells": cells, "surrounding_prompt": around} if around else {}
    if (picture := reader.find(sent.get(sha256, ""))) is None:
        raise RequestError(f"needs the picture with hash {sha256[:12]}…; choose that file", field="init_image")
    return {"init_image": picture, "strength": strength, "mask_cells": cells}


def begun_values(settings: Mapping[str, object]) -> Values:
    """Values for `BeginPanel.filled`, from the settings of a picture.

    Args:
        settings: by name; those of a picture that began from another hold that one's hash.
    Raises:
        RequestError: a value is not allowed.
    """
    sha256, around = settings.get("init_image_sha256", ""), settings.get("surrounding_prompt", "")
    if not sha256 and not around:
        return _titled(False), NOTHING, gr.skip()
    cells = check_cells(settings.get("mask_cells", ""))
    if not sha256:
        around = SETTINGS["surrounding_prompt"].check(around)
        return _titled(True), NOTHING | {"cells": cells, "around": around}, gr.skip()
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise RequestError("is not the hash of a picture", field="init_image")
    strength = SETTINGS["strength"].check(settings.get("strength", SETTINGS["strength"].default))
    return _titled(True), NOTHING | {"sha256": sha256, "cells": cells}, strength


def describe_beginning(settings: Mapping[str, object]) -> str:
    """One line about a picture that began from another, or that was made around a region of it."""
    cells = len(read_mask_cells(settings["mask_cells"]))
    if around := settings.get("surrounding_prompt"):
        if side := side_of(str(settings["mask_cells"])):
            return f"Made in the patient's {side} half of the picture of “{around}”."
        return f"Made in {cells} of {CELLS**2} cells of the picture of “{around}”."
    where = f", {cells} of {CELLS**2} cells made anew" if cells else ""
    return f"Derived from a picture: strength {settings['strength']:g}{where}."


def whole_picture(region: object) -> Values:
    """Values for (accordion, region) once a picture has been made: the next one is made whole again.

    Args:
        region: of the panel; one of a picture that images begin from stays.
    """
    return (_titled(False), NOTHING) if _read(region)[2] else (gr.skip(), gr.skip())


def _is_used(region: object) -> bool:
    """Whether a value of the region asks for more than images that begin from noise alone."""
    sha256, _, around = _read(region)
    return bool(sha256 or around)


def _titled(in_use: bool) -> gr.Accordion:
    return gr.Accordion(label=IN_USE if in_use else TITLE)


def _read(region: object) -> tuple[str, str, str]:
    """The hash, the cells and what lies around them, of a value of the region."""
    values: Mapping[str, object] = region if isinstance(region, Mapping) else {}
    sha256, cells, around = (text if isinstance(text := values.get(name), str) else "" for name in NOTHING)
    return sha256, cells, around


def _shown(picture: InitImage) -> dict[str, str]:
    """The picture as the model sees it, for the browser."""
    return {"sha256": picture.sha256, "url": data_address(fit_square(picture.pixels, SHOWN_SIDE))}
