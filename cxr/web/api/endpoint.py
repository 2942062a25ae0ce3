"""An endpoint that takes the settings of a request: its parameters are those of the table."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from cxr.request.settings import API_SETTINGS, SETTINGS, describe_settings

Result = TypeVar("Result")
Endpoint = Callable[..., AsyncGenerator[Result, None]]
PLACE = "settings: of the request, by name."  # this line of a docstring becomes one for each parameter
IN_TABLE = re.compile(r"(\w+): as the table says\.")  # and this one what the table says of the setting


def takes_settings(handler: Endpoint[Result]) -> Endpoint[Result]:
    """Give an endpoint a parameter for each setting of the API in place of its first one, ``settings``.

    gradio and its clients take names and descriptions from a function's signature and docstring. All but the prompt
    have defaults; that of the seed draws one.

    Args:
        handler: a method; takes a table of the values as ``settings``, and what else it has parameters for.
    """
    own = inspect.signature(handler)
    others = [parameter for name, parameter in own.parameters.items() if name != "settings"]
    signature = own.replace(parameters=[others[0], *map(_parameter, API_SETTINGS), *others[1:]])

    @functools.wraps(handler)
    async def endpoint(*values: object, **named: object) -> AsyncGenerator[Result, None]:
        bound = signature.bind(*values, **named).arguments
        settings = {name: bound.pop(name) for name in API_SETTINGS if name in bound}
        async with contextlib.aclosing(handler(settings=settings, **bound)) as results:
            async for result in results:
                yield result

    documented: Any = endpoint
    documented.__signature__ = signature
    text = (handler.__doc__ or "").replace(PLACE, ("\n" + " " * 12).join(describe_settings(API_SETTINGS)))
    documented.__doc__ = IN_TABLE.sub(lambda found: describe_settings([found[1]])[0], text)
    return endpoint


def _parameter(name: str) -> inspect.Parameter:
    default = {"prompt": inspect.Parameter.empty, "seed": None}.get(name, SETTINGS[name].default)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
