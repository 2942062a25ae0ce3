"""What the values of a recipe may be, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from cxr.request.errors import RequestError
from cxr.request.init_image import SHA256
from cxr.request.messages import shown
from cxr.request.notices import COMPOSITE_SOURCE_TYPE, DIGITAL_SOURCE_TYPE
from cxr.request.setting import MAX_THREADS

NAMED_BY_USERS = ("model", "adapter")  # a folder may have any name
MAX_NAME_CHARACTERS = 2_500  # eight LoRAs, each with the longest name that a file may have, fit in
MAX_LIBRARIES = 40
MAX_VERSION_CHARACTERS = 100
MAX_PIXELS = 99_999  # of a side
MAX_MICRO_BATCH_SIZE = 64
RANGES = {
    "width": (1, MAX_PIXELS),
    "height": (1, MAX_PIXELS),
    "micro_batch_size": (1, MAX_MICRO_BATCH_SIZE),
    "num_threads": (0, MAX_THREADS),
}


def check_name(name: str, value: object) -> None:
    """Refuse anything but a short text without control characters; each check raises a RequestError with its field."""
    if value == "" and name in NAMED_BY_USERS:
        raise RequestError("is empty", field=name)
    if isinstance(value, str) and not (is_encodable(value) if name in NAMED_BY_USERS else value.isprintable()):
        raise RequestError(f"is {shown(value)}; a name has no control characters", field=name)
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARACTERS:
        raise RequestError(f"is {shown(value)}; a name has at most {MAX_NAME_CHARACTERS:,} characters", field=name)


def is_encodable(text: str) -> bool:
    """Whether files can hold the text: JSON can name halves of characters, which UTF-8 has not."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_counts(recipe: object) -> None:
    """Refuse anything but whole numbers for the size, the batch and the threads, each in its range, ends included."""
    for name, (low, high) in RANGES.items():
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise RequestError(f"is {shown(value)}; use a whole number from {low:,} to {high:,}", field=name)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse what is not one of the choices."""
    if value not in choices:
        raise RequestError(f"is {shown(value)}; use {', '.join(choices)}", field=name)


def check_versions(versions: object) -> None:
    """Refuse anything but a table of texts of reasonable size."""
    if (
        not isinstance(versions, dict)
        or len(versions) > MAX_LIBRARIES
        or not all(
            isinstance(text, str) and len(text) <= MAX_VERSION_CHARACTERS and is_encodable(text)
            for text in chain(*versions.items())
        )
    ):
        raise RequestError("is not a table of packages and their versions", field="library_versions")


def check_beginning(sha256: str, surrounding_prompt: str, digital_source_type: str, given: Sequence[str]) -> None:
    """Refuse what does not go with the picture that an image began from, or with there being none.

    Args:
        sha256: of that picture; empty if there was none.
        given: settings that say nothing of the image, and that it has all the same.
    """
    if not sha256:
        if given:
            raise RequestError("is given without a picture that the image began from", field=given[0])
        check_choice("digital_source_type", digital_source_type, (DIGITAL_SOURCE_TYPE,))
        return
    if not SHA256.fullmatch(sha256):
        raise RequestError(f"is {shown(sha256)}; it is not a SHA-256", field="init_image_sha256")
    if surrounding_prompt:
        raise RequestError(
            "is given together with the hash of a picture; a recipe has one of them", field="surrounding_prompt"
        )
    if digital_source_type != COMPOSITE_SOURCE_TYPE:
        raise RequestError(f"is not {COMPOSITE_SOURCE_TYPE}", field="digital_source_type")
