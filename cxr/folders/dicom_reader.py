"""DICOM files -> what this program has written into them, and what other files say about their patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxr.folders.dicom import ASKED_FOR, PRIVATE_CREATOR, PRIVATE_GROUP, RECIPE_ELEMENT, SIDES
from cxr.images.dicom_pixels import open_dicom, refusing_damage
from cxr.images.guarded import quiet_libraries
from cxr.request.errors import DataError, RequestError
from cxr.request.events import GreyLevels
from cxr.request.recipe import Recipe

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_PIXELS = 16_777_216  # 4,096 x 4,096: more than any model makes


def read_recipe_text(dataset: Dataset) -> str | None:
    """What stands in the place of a recipe, whoever wrote it; None if nothing does."""
    try:
        return str(dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[RECIPE_ELEMENT].value)
    except (KeyError, AttributeError):
        return None


def read_dicom_recipe(dataset: Dataset) -> Recipe:
    """The recipe of an object that ``encode_dicom`` made.

    Raises:
        DataError: it carries none.
    """
    if (text := read_recipe_text(dataset)) is None:
        raise DataError("the DICOM object holds no recipe; only those written by this program do")
    try:
        return Recipe.from_json(text)
    except RequestError as error:
        raise DataError(f"the DICOM object holds a recipe that this version cannot read: {error}") from error


def read_dicom(path: Path) -> tuple[GreyLevels, Recipe, int]:
    """Read an object that ``encode_dicom`` made, or one that says so.

    Returns:
        [H, W] uint8 or uint16 as they are stored, the recipe of the image that they come from, and Bits Stored.
    Raises:
        DataError: the file cannot be read as DICOM, or holds no recipe.
    """
    with refusing_damage(path):
        dataset = open_dicom(path)
        recipe = read_dicom_recipe(dataset)
        rows, columns = dataset.get("Rows"), dataset.get("Columns")
        if (rows, columns) != (recipe.height, recipe.width) or recipe.height * recipe.width > MAX_PIXELS:
            raise DataError(
                f"is {columns} x {rows} pixels, its recipe says {recipe.width} x {recipe.height}", path=path
            )
        return dataset.pixel_array, recipe, int(dataset.BitsStored)


def read_dicom_facts(path: Path) -> dict[str, str]:
    """What a DICOM file says about its patient and, if it is of this program, what was asked for; else "".

    Returns:
        patient_id, prompt, findings, sides, age, sex and view, in the spelling of tables.
    Raises:
        DataError: it cannot be read, or holds a recipe that cannot.
    """
    names = {"patient_id": "PatientID", "age": "PatientAge", "sex": "PatientSex", "view": "ViewPosition"}
    with quiet_libraries(), refusing_damage(path):
        dataset = open_dicom(path, with_pixels=False)
        facts = {name: str(dataset.get(keyword) or "").strip() for name, keyword in names.items()}
        is_ours = dataset.get("SyntheticData") == "YES" and dataset.get("Manufacturer") == "CXR Studio"
        comments = str(dataset.get("ImageComments") or "") if is_ours else ""
        findings, _, sides = comments.partition(SIDES)
        return facts | {
            "prompt": read_dicom_recipe(dataset).prompt if is_ours else "",
            "findings": findings.removeprefix(ASKED_FOR) if findings.startswith(ASKED_FOR) else "",
            "sides": sides,
        }
