"""The JSON that programs send, read as strictly as the standard demands, and how they learn what is wrong."""

from __future__ import annotations

import json
import math

from cxr.metrics.result import JsonObject
from cxr.web.server.refusal import Refusal


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
