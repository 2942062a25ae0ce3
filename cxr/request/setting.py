"""One row of the table of settings: what a value may be, and how one that may not is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import numpy as np

from cxr.request.errors import RequestError
from cxr.request.init_image import InitImage
from cxr.request.mask_cells import ALLOWED, check_cells
from cxr.request.messages import shown

MAX_PROMPT_CHARACTERS = 2_000
MAX_NUMBER_CHARACTERS = 40
MAX_SEED = 2**53 - 1  # the largest integer that JSON and JavaScript keep exactly
MAX_THREADS = 1_024
_IN_WORDS = {"cells": ALLOWED, "picture": "a PNG, JPEG or DICOM file"}
# Control characters and halves of characters; line breaks and tabs are ordinary in pasted text.
_CONTROL = re.compile(r"[^\t\n\r -~\xa0-\ud7ff\ue000-\U0010ffff]")


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Args:
        name: of the field of a request and of a recipe, the API's parameter and a plan's key.
        kind: of its value.
        label: on the page.
        help: what it is, for users of the command line and of the API.
        default: used if no value is given; a text without one must not be empty.
        low: lowest value of a number.
        high: highest value of a number.
        step: between two values on the page.
        notes: what an end of the range means, by the value.
        choices: all values of a choice.
        flag: option of ``generate``; None where it has none.
        metavar: name of the value in the help of the command line.
        column: in a CSV of prompts; None where it has none.
        before: value of images that were made before the setting existed; None for settings as old as recipes.
        in_api: whether it is a parameter of ``/generate``.
        by_model: whether a model may have a default of its own.
        varies: whether images that are made together may have different values.
        variable: of the environment, which says the default.
    """

    name: str
    kind: Literal["text", "whole number", "number", "choice", "switch", "name", "picture", "cells"]
    label: str
    help: str
    default: Any = None
    low: float = 0
    high: float = 0
    step: float = 1
    _: KW_ONLY
    notes: Mapping[float, str] = field(default_factory=dict)
    choices: tuple[int, ...] = ()
    flag: str | None = None
    metavar: str | None = None
    column: str | None = None
    before: Any = None
    in_api: bool = True
    by_model: bool = False
    varies: bool = False
    variable: str | None = None

    @property
    def range(self) -> str:
        """The allowed values in words: "1 (no guidance) to 20"."""
        if self.kind == "text":
            return f"at most {MAX_PROMPT_CHARACTERS:,} characters"
        if self.kind == "switch":
            return "true or false"
        if self.kind == "choice":
            return " or ".join(map(str, self.choices))
        if self.kind in _IN_WORDS:
            return _IN_WORDS[self.kind]
        ends = [f"{end:g} ({self.notes[end]})" if end in self.notes else f"{end:g}" for end in (self.low, self.high)]
        return " to ".join(ends) if self.high < MAX_SEED else f"{self.low:g} to 2**53 - 1"

    def check(self, value: object, high: float | None = None) -> Any:
        """The value, whatever kind of number it came as, as a plain str, bool, int or float.

        Args:
            value: anything.
            high: highest allowed value in place of the setting's own.
        Raises:
            RequestError: it is not of the kind or outside the range; its field is the setting.
        """
        if self.kind == "text":
            return self._check_text(value)
        if self.kind == "switch":
            return check_switch(value, self.name)
        if self.kind == "cells":
            return check_cells(value)
        if self.kind == "picture":
            if value is not None and not isinstance(value, InitImage):
                raise RequestError(f"is {type(value).__name__}; give {self.range}", field=self.name)
            return value
        if self.kind == "choice":
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value not in self.choices:
                raise RequestError(f"is {shown(value)}; use {self.range}", field=self.name)
            return int(value)
        return self._check_number(value, self.high if high is None else high)

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise RequestError(f"is {type(value).__name__}; give text", field=self.name)
        if self.default is None and not value.strip():
            raise RequestError(
                "is empty; describe the image, for example “A 55-year-old man with pneumonia”", field=self.name
            )
        if len(value) > MAX_PROMPT_CHARACTERS:
            raise RequestError(f"has {len(value):,} characters; use {self.range}", field=self.name)
        if found := _CONTROL.search(value):
            raise RequestError(f"holds the control character U+{ord(found[0]):04X}; remove it", field=self.name)
        return value

    def _check_number(self, value: object, high: float) -> int | float:
        allowed = f"use a {self.kind} from {self.low:,} to {high:,}"
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise RequestError(f"is {shown(value)}; {allowed}", field=self.name)
        # `not (low <= x)` also refuses NaN; comparing the value itself keeps integers above 2**53 exact, and comes
        # before float(), which fails for integers of hundreds of digits.
        if not self.low <= value <= high or (self.kind == "whole number" and value != int(value)):
            text = "too large" if isinstance(value, int) and abs(value) > 10**30 else value
            raise RequestError(f"is {text}; {allowed}", field=self.name)
        return float(value) if self.kind == "number" else int(value)


def parse_number(text: str) -> int | float:
    """Read a number as exactly as it was typed; its range is for the setting to check.

    Raises:
        ValueError: not a number.
    """
    try:
        # Far longer ones are out of every range, and int() of many digits is slow.
        return int(text) if len(text) <= MAX_NUMBER_CHARACTERS else float(text)
    except ValueError:
        return float(text)


def check_switch(value: object, name: str) -> bool:
    """True or false, and nothing that counts as one of them.

    Raises:
        RequestError: it is neither; its field is the name.
    """
    if not isinstance(value, bool):
        raise RequestError(f"is {shown(value)}; use true or false", field=name)
    return value
