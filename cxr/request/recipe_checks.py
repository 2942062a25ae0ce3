"""What the values of a recipe may be, whoever wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from cxr.request.errors import RequestError
from cxr.request.messages import shown

NAMED_BY_USERS = ("model", "adapter")  # a folder may have any name
MAX_NAME_CHARACTERS = 2_500  # eight LoRAs, each with the longest name that a file may have, fit in
MAX_LIBRARIES = 40
MAX_VERSION_CHARACTERS = 100


def check_name(name: str, value: object) -> None:
    """Refuse anything but a short text without control characters; each check raises a RequestError with its field."""
    if isinstance(value, str) and not value.isprintable() and name not in NAMED_BY_USERS:
        raise RequestError(f"is {shown(value)}; a name has no control characters", field=name)
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARACTERS:
        raise RequestError(f"is {shown(value)}; a name has at most {MAX_NAME_CHARACTERS:,} characters", field=name)


def check_count(name: str, value: object, low: int, high: int) -> None:
    """Refuse anything but a whole number in this range, ends included."""
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
        or not all(isinstance(text, str) and len(text) <= MAX_VERSION_CHARACTERS for text in chain(*versions.items()))
    ):
        raise RequestError("is not a table of packages and their versions", field="library_versions")
