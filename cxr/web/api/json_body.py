"""The JSON that programs send, read as strictly as the standard demands, and how they learn what is wrong.

Of files that a call names only what lies in the folder for uploads is allowed: gradio itself would fetch any address.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxr.metrics.result import JsonObject
from cxr.web.server.refusal import Refusal
from cxr.web.server.temporary import temp_root

MAX_PATH_CHARACTERS = 1_000
NOT_UPLOADED = "a file is named that was not uploaded to this page; send it to /gradio_api/upload first"
# What gradio's table of a file holds besides its path; it fails at values of other kinds.
KINDS: dict[str, type | tuple[type, ...]] = {
    "meta": dict,
    "url": (str, type(None)),
    "orig_name": (str, type(None)),
    "mime_type": (str, type(None)),
    "size": (int, type(None)),
    "is_stream": bool,
}


def wrong(status: int, sentence: str) -> Refusal:
    """A refusal whose sentence programs find in ``detail``."""
    return Refusal(status, sentence, sentence)


def read_json(body: bytes) -> JsonObject:
    """An object.

    Raises:
        Refusal: it is not one, or holds a number or a text that JSON does not allow.
    """
    try:
        values = json.loads(body, parse_constant=_refuse_number, parse_float=_finite)
        json.dumps(values, ensure_ascii=False).encode()  # half a character cannot be written
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise wrong(422, "the request is not a JSON object")
    return values


def _finite(text: str) -> float:
    return number if math.isfinite(number := float(text)) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise wrong(422, f"{text[:40]} is not a valid JSON number")


def check_uploads(values: object) -> None:
    """Refuse values with a file that was not uploaded.

    Args:
        values: of a call, as JSON gives them.
    Raises:
        Refusal: with 422.
    """
    for table in _tables(values):
        if "path" in table and "meta" in table and not _is_upload(table):
            raise wrong(422, NOT_UPLOADED)


def _tables(values: object) -> Iterator[Mapping[str, object]]:
    left = [values]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _is_upload(table: Mapping[str, object]) -> bool:
    path = table["path"]
    if not isinstance(path, str) or not all(isinstance(table[name], KINDS[name]) for name in KINDS if name in table):
        return False
    if len(path) > MAX_PATH_CHARACTERS or "\0" in path:
        return False
    # Links are left as they are: nothing in that folder is one.
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(temp_root()))  # noqa: PTH100
