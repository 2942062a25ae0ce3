"""Why the server does not take a request."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response


class Refusal(Exception):  # noqa: N818  it is an answer, not a fault
    """Why a request is not taken.

    Args:
        status: HTTP status that says so.
        reason: one sentence.
        detail: replaces it in an answer for programs, as JSON.
    """

    def __init__(self, status: int, reason: str, detail: object = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.detail = status, reason, detail

    def response(self) -> Response:
        if self.detail is None:
            return PlainTextResponse(self.reason, self.status)
        return JSONResponse({"detail": self.detail}, self.status)
