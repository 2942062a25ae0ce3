"""Who asks: the network address that a request comes from, and the page or program at it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ticket:
    """Goes with a request from the door to its event; gradio's id of the event is known when it is answered."""

    event: str = ""


@dataclass(frozen=True)
class Visitor:
    """A page or a program that asks for something; who shares the session or the address is the same visitor.

    Args:
        session: gradio's name for the page or the program that listens; of a plain HTTP call, its event id.
        address: network address; empty where nobody asks over a network.
        ticket: of the request.
    """

    session: str = ""
    address: str = ""
    ticket: Ticket = field(default_factory=Ticket, compare=False)

    def is_same(self, other: Visitor) -> bool:
        """Whether both count as one, where requests are counted."""
        same_session = bool(self.session) and self.session == other.session
        return same_session or (bool(self.address) and self.address == other.address)


def visitor_of(request: Any) -> Visitor:
    """The visitor of an event, from its ``gr.Request``; None is nobody."""
    if request is None:
        return Visitor()
    ticket = getattr(request.state, "ticket", None) or Ticket()
    return Visitor(request.session_hash or "", address_of(request), ticket)


def address_of(request: Any) -> str:
    """The network address of a visitor.

    A Space is reached through a proxy, which writes the visitor's address at the end of X-Forwarded-For, perhaps
    followed by private addresses of further proxies. What stands before it was sent by the visitor, and anywhere else
    all of it may have been.

    Args:
        request: has ``client`` and ``headers``, as Starlette's and gradio's requests do.
    """
    peer = request.client.host if request.client else ""
    if not os.environ.get("SPACE_ID"):
        return str(peer)
    for part in reversed(request.headers.get("x-forwarded-for", "").split(",")):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(part.strip())
            if address.is_global:
                return str(address)
    return str(peer)
