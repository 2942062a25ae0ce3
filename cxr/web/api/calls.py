"""Calls of endpoints, before gradio sees them: is there such an endpoint, does it take such values, is there room.

The job table itself refuses what is too much, however it comes; here programs are told with the HTTP status for it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gradio as gr

from cxr.request.errors import RequestError
from cxr.web.jobs.table import JobTable
from cxr.web.server.limits import BusyError
from cxr.web.server.refusal import Refusal
from cxr.web.server.visitors import Visitor

# Gradio's ways in: its page and its clients join the queue by number, others call by name, with values in order or, in
# version 2, by name.
WAY_IN = re.compile(r".*/gradio_api/(?:(?P<join>queue/join)|call/(?P<named>v2/)?(?P<endpoint>[^/]+))/?")
CANCEL = re.compile(r".*/gradio_api/cancel/?")
STREAM = re.compile(r".*/gradio_api/(?:queue/data|call/(?:v2/)?[^/]+/(?P<event>[^/]+))/?")


class Calls:
    """What may be called, and by whom.

    Args:
        page: its public endpoints.
        jobs: those of all visitors.
    """

    def __init__(self, page: gr.Blocks, jobs: JobTable) -> None:
        self.page, self.jobs = page, jobs

    @cached_property
    def parameters(self) -> dict[str, list[dict[str, Any]]]:
        """The parameters of each endpoint, as gradio describes them."""
        described: Any = self.page.get_api_info()
        return {path.strip("/"): api["parameters"] for path, api in described["named_endpoints"].items()}

    def completed(self, path: str, body: bytes) -> bytes:
        """The body of a call with the defaults of what it lacks at its end, as clients of older versions send it.

        Args:
            path: of the request.
            body: of the request, which ``check`` has let through.
        """
        way_in = WAY_IN.fullmatch(path)
        if way_in is None or way_in["join"] or way_in["named"]:
            return body
        values, parameters = _read_json(body), self.parameters[way_in["endpoint"]]
        if not isinstance(data := values.get("data"), list) or len(data) >= len(parameters):
            return body
        defaults = [parameter["parameter_default"] for parameter in parameters[len(data) :]]
        return json.dumps({**values, "data": [*data, *defaults]}).encode()

    def check(self, path: str, body: bytes, address: str) -> bool:
        """Refuse a call that cannot be answered.

        Args:
            path: of the request; others than `WAY_IN` are let through.
            body: of the request.
            address: of the visitor.
        Returns:
            Whether it is a call.
        Raises:
            Refusal: with 404, 422 or 503.
        """
        way_in = WAY_IN.fullmatch(path)
        if way_in is None:
            return False
        values = _read_json(body)
        if way_in["join"]:
            number = values.get("fn_index")
            function = self.page.fns.get(number) if isinstance(number, int) else None
            if function is None or function.api_visibility != "public":
                return True  # the page's own events say it in their own words
        else:
            self._check_values(way_in["endpoint"], values, by_name=bool(way_in["named"]))
        session = values.get("session_hash") if not way_in["named"] else None
        try:
            self.jobs.check_room(Visitor(session if isinstance(session, str) else "", address))
        except BusyError as error:
            raise Refusal(503, str(error), str(error)) from error
        except RequestError as error:
            # Of the refusals of a queue, this is the one whose sentence gradio's client passes on.
            said = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": str(error)}
            raise Refusal(422, str(error), [said]) from error
        return True

    def _check_values(self, endpoint: str, values: dict[str, Any], *, by_name: bool) -> None:
        """Refuse an unknown endpoint, and values that it does not take or that are missing."""
        if (parameters := self.parameters.get(endpoint)) is None:
            raise _wrong(404, f"there is no such endpoint; use {_listed([f'/{name}' for name in self.parameters])}")
        names = [parameter["parameter_name"] for parameter in parameters]
        takes = f"/{endpoint} takes {_listed(names)}"
        if by_name:
            if unknown := sorted(values.keys() - {*names, "oauth_token"}):
                raise _wrong(422, f"there is no parameter “{unknown[0][:40]}”; {takes}")
            for parameter in parameters:
                if not parameter["parameter_has_default"] and parameter["parameter_name"] not in values:
                    raise _wrong(422, f"{parameter['parameter_name']} is missing; {takes}")
        elif isinstance(data := values.get("data"), list) and not (
            len(data) <= len(names) and all(parameter["parameter_has_default"] for parameter in parameters[len(data) :])
        ):
            raise _wrong(422, f"data has {len(data)} of {len(names)} values; {takes}, in this order")

    def cancels(self, path: str, body: bytes) -> bool:
        """End the job that a request cancels, if it does; gradio would end all jobs of the same client with it."""
        if CANCEL.fullmatch(path) is None:
            return False
        event = _read_json(body).get("event_id")
        return isinstance(event, str) and self.jobs.end_event(event)


def event_of(answer: bytes) -> str:
    """The id of the event that a call has become, from the answer to it; empty if it was refused."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(answer).get("event_id", ""))
    return ""


def stream_of(path: str, query_session: str) -> tuple[str, bool] | None:
    """What a request listens to: a session or, by its id, one event, and whether it is the latter; None for others."""
    if (stream := STREAM.fullmatch(path)) is None:
        return None
    return (stream["event"], True) if stream["event"] else (query_session, False)


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise _wrong(422, "the request is not an object in JSON")
    return values


def _wrong(status: int, sentence: str) -> Refusal:
    return Refusal(status, sentence, sentence)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
