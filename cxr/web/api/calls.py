"""Checks calls of endpoints before gradio sees them: whether the endpoint exists, takes such values and has room.

The job table itself refuses a job when there are too many, whoever sends it; here programs get the HTTP status.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import gradio as gr

from cxr.metrics.result import JsonObject
from cxr.request.errors import RequestError
from cxr.request.messages import printable
from cxr.web.api.json_body import check_uploads, read_json, wrong
from cxr.web.jobs.table import JobTable
from cxr.web.server.limits import BusyError
from cxr.web.server.refusal import Refusal
from cxr.web.server.visitors import Visitor

# Gradio's ways in: its page and its clients join the queue by number, others call by name, with values in order or, in
# version 2, by name; and the page runs small events at once.
WAYS_IN = re.compile(
    r".*/gradio_api/(?:(?P<join>queue/join)|call/v2/(?P<named>[^/]+)|call/(?P<listed>[^/]+)|(?P<direct>(?:run|api)/[^/]+)"
    r"|(?P<server>component_server)|(?P<cancel>cancel)|(?P<reset>reset))/?"
)
STREAM = re.compile(r".*/gradio_api/(?:queue/data|call/(?:v2/)?[^/]+/(?P<event>[^/]+))/?")
MCP = re.compile(r".*/gradio_api/mcp(/.*)?")
USE_THE_MODEL = ("generate", "dataset", "compare", "verify", "sheet")  # they ask for a place in the model's queue
INSIDE = re.compile(r".*/gradio_api/.*")

JSON = "application/json"
OPTIONAL_TEXT, OPTIONAL_NUMBER = (str, type(None)), (int, type(None))
EVENT_FIELDS = {"data": (list,), "event_data": (object,), "trigger_id": OPTIONAL_NUMBER}
# What each way takes; other fields are left out.
FIELDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "join": {"session_hash": (str,), "fn_index": (int,), **EVENT_FIELDS},
    "direct": {"session_hash": OPTIONAL_TEXT, "fn_index": OPTIONAL_NUMBER, **EVENT_FIELDS},
    "listed": {"data": (list,), "session_hash": OPTIONAL_TEXT},
    "server": {"session_hash": (str,), "component_id": (int,), "fn_name": (str,), "data": (object,)},
    "cancel": {"session_hash": (str,), "fn_index": (int,), "event_id": (str,)},
    "reset": {"event_id": (str,)},
}
IN_WORDS = {str: "text", int: "a whole number", list: "a list"}


class Parameter(TypedDict):
    """What gradio says about a parameter, as far as it is needed here."""

    parameter_name: str
    parameter_has_default: bool
    parameter_default: object


@dataclass(frozen=True)
class Call:
    """What a request asks for.

    Args:
        body: of the request, in gradio's own words.
        cancels: the id of the event that it ends.
        is_direct: it is run at once, and answered when it has ended.
        session: whose stream tells the page of it; empty for calls that have no stream or one of their own.
    """

    body: bytes
    cancels: str = ""
    is_direct: bool = False
    session: str = ""


class Calls:
    """What may be called, and by whom.

    Args:
        page: its public endpoints.
        mcp: whether assistants may call them.
    """

    def __init__(self, page: gr.Blocks, jobs: JobTable, mcp: bool = False) -> None:
        self.page, self.jobs, self.mcp = page, jobs, mcp

    @cached_property
    def parameters(self) -> dict[str, list[Parameter]]:
        """The parameters of each endpoint."""
        described: Any = self.page.get_api_info()
        return {path.strip("/"): api["parameters"] for path, api in described["named_endpoints"].items()}

    def check(self, path: str, kind: str, body: bytes, address: str) -> Call:
        """Refuse a call that cannot be answered.

        Args:
            path: of the request; one that is not in `WAYS_IN` is let through unless it is part of gradio's interface.
            kind: content type of the request.
        Raises:
            Refusal: with 404, 415, 422 or 503.
        """
        if (found := WAYS_IN.fullmatch(path)) is None:
            if INSIDE.fullmatch(path) and not (self.mcp and MCP.fullmatch(path)):
                raise wrong(404, "nothing can be sent to this address")
            return Call(body)
        if kind.partition(";")[0].strip().lower() != JSON:
            raise wrong(415, f"the request does not have the content type {JSON}")
        way = str(found.lastgroup)
        values = read_json(body)
        check_uploads(values)
        session = values.get("session_hash")
        if way == "named":
            endpoint = self._check_named(found["named"], values)
        elif way == "listed":
            endpoint = self._check_listed(found["listed"], values := _known_fields(way, values))
        else:
            endpoint = self._check_event(way, values := _known_fields(way, values))
        if endpoint in USE_THE_MODEL:
            self._check_room(Visitor(session if isinstance(session, str) and way != "named" else "", address))
        cancels = values["event_id"] if way == "cancel" else ""
        joins = values["session_hash"] if way == "join" else ""
        return Call(json.dumps(values).encode(), cancels, is_direct=way in ("direct", "server"), session=joins)

    def _check_named(self, endpoint: str, values: JsonObject) -> str:
        """The endpoint, if it takes the values."""
        names, takes = self._parameters_of(endpoint)
        values.pop("oauth_token", None)  # gradio's clients may send one; no endpoint takes it
        if unknown := sorted(values.keys() - {*names}):
            raise wrong(422, f"there is no parameter “{printable(unknown[0][:40])}”; {takes}")
        for parameter in self.parameters[endpoint]:
            if not parameter["parameter_has_default"] and parameter["parameter_name"] not in values:
                raise wrong(422, f"{parameter['parameter_name']} is missing; {takes}")
        return endpoint

    def _check_listed(self, endpoint: str, values: JsonObject) -> str:
        """The endpoint; missing last values are added, as clients of older versions do not know these parameters."""
        names, takes = self._parameters_of(endpoint)
        left = self.parameters[endpoint][len(values["data"]) :]
        if len(values["data"]) > len(names) or not all(parameter["parameter_has_default"] for parameter in left):
            raise wrong(422, f"data has {len(values['data'])} of {len(names)} values; {takes}, in this order")
        values["data"] += [parameter["parameter_default"] for parameter in left]
        return endpoint

    def _check_event(self, way: str, values: JsonObject) -> str:
        """The endpoint of an event of the page, or an empty text if it is none."""
        if way not in ("join", "direct"):
            return ""
        number = values.get("fn_index")
        function = self.page.fns.get(number) if number is not None else None
        if function is None or (way == "direct" and function.queue):
            raise wrong(404, "there is no such event on this page; load it again, or use /gradio_api/call")
        if len(values["data"]) != len(function.inputs):
            raise wrong(422, f"data has {len(values['data'])} of {len(function.inputs)} values")
        return str(function.api_name) if function.api_visibility == "public" else ""

    def _parameters_of(self, endpoint: str) -> tuple[list[str], str]:
        if (parameters := self.parameters.get(endpoint)) is None:
            raise wrong(404, f"there is no such endpoint; use {', '.join(f'/{name}' for name in self.parameters)}")
        names = [parameter["parameter_name"] for parameter in parameters]
        return names, f"/{endpoint} takes {', '.join(names)}" if names else f"/{endpoint} takes no values"

    def _check_room(self, visitor: Visitor) -> None:
        try:
            self.jobs.check_room(visitor)
        except BusyError as error:
            raise wrong(503, str(error)) from error
        except RequestError as error:
            # The only kind of queue refusal whose sentence gradio's client passes on.
            said = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": str(error)}
            raise Refusal(422, str(error), [said]) from error


def event_of(answer: bytes) -> str:
    """The id of the event that a call has become, from the answer to it; empty if it was refused."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(answer).get("event_id", ""))
    return ""


def stream_of(path: str, query_session: str) -> tuple[str, bool] | None:
    """What a request listens to: a session or, by its id, one event, and whether it is the latter; None for others."""
    if (stream := STREAM.fullmatch(path)) is None:
        return None
    if not stream["event"] and not query_session:
        raise wrong(422, "session_hash is missing")
    return (stream["event"], True) if stream["event"] else (query_session, False)


def _known_fields(way: str, values: JsonObject) -> JsonObject:
    """The fields of a way in that are present."""
    for name, kinds in FIELDS[way].items():
        if object not in kinds and type(values.get(name)) not in kinds:
            problem = "not allowed" if name in values else "missing"
            raise wrong(422, f"{name} is {problem}; use {IN_WORDS[kinds[0]]}")
    return {name: values[name] for name in FIELDS[way] if name in values}
