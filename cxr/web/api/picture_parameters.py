"""Parameters of endpoints that say from which picture images begin."""

from __future__ import annotations

from typing import Any

from gradio.components import Component

from cxr.request.errors import RequestError
from cxr.request.settings import SETTINGS
from cxr.web.api.parameters import parameter, picture_parameter, picture_path
from cxr.web.server.init_upload import PictureReader

ANY_PICTURE = "a PNG, JPEG or DICOM file, or a picture of this page"


def beginning_parameters() -> list[Component]:
    """The parameters, in the order of `read_beginning`."""
    strength, cells, around = (SETTINGS[name] for name in ("strength", "mask_cells", "surrounding_prompt"))
    only = "only with init_image"
    text = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}]}
    return [
        picture_parameter("init_image", f"{SETTINGS['init_image'].help}; {ANY_PICTURE}; null for none", optional=True),
        parameter(
            "strength",
            "number",
            f"{strength.help}; {strength.range}; {only}",
            strength.default,
            example=strength.default,
        ),
        parameter(
            "mask_cells",
            "string",
            f"{cells.help}; {cells.range}; {only} or surrounding_prompt",
            "",
            example="",
            schema=text,
        ),
        picture_parameter(
            "mask", f"picture in which the region is white, in place of mask_cells; {only}", optional=True
        ),
        parameter("surrounding_prompt", "string", f"{around.help}; only with mask_cells", "", example=""),
    ]


async def read_beginning(
    reader: PictureReader, init_image: object, strength: object, mask_cells: object, mask: object, around: object
) -> dict[str, Any]:
    """The values of a request that say from which picture it begins, from those of an endpoint.

    Args:
        reader: reads the files.
        init_image: an uploaded file, or None.
        strength: for the request to check.
        mask_cells: for the request to check.
        mask: an uploaded file, or None.
        around: the surrounding prompt, for the request to check.
    Raises:
        CxrError: a file is not a picture, or the region is named twice.
    """
    values: dict[str, Any] = {"strength": strength, "mask_cells": mask_cells, "surrounding_prompt": around}
    if init_image is None:
        if mask is not None:
            raise RequestError("only applies where images begin from a picture; give init_image as well", field="mask")
        return values
    if mask is not None and mask_cells:
        raise RequestError("names the region a second time; use mask or mask_cells", field="mask")
    values["init_image"] = await reader.picture(picture_path(init_image, "init_image", ANY_PICTURE))
    if mask is not None:
        values["mask_cells"] = await reader.mask(picture_path(mask, "mask", ANY_PICTURE), values["init_image"])
    return values
