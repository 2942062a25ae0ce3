"""A picture that the page shows, as DICOM beside it."""

from __future__ import annotations

from pathlib import Path

from cxr.request.errors import OutputError, RequestError
from cxr.web.server.temporary import temp_root

GONE = "this picture is no longer on the server; make it again from its seed"


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
    from cxr.prompts import asked_labels

    picture = Path(path).resolve()
    runs = (temp_root() / "runs").resolve()
    is_ours = picture.is_relative_to(runs) and picture.parent.name == "images" and picture.suffix == ".png"
    if not is_ours or not picture.is_file():
        raise RequestError(GONE)
    recipe = read_recipe(picture)
    patient = SyntheticPatient(f"SYN{recipe.seed}", asked_labels(recipe.prompt))
    data = encode_dicom(read_levels(picture), recipe, patient, recipe.bit_depth)
    target = picture.parent.parent / f"{picture.stem}.dcm"
    try:
        target.write_bytes(data)
    except OSError as error:
        raise OutputError(f"the DICOM file cannot be written: {reason_of(error)}") from error
    return target
