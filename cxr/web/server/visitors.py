"""Who asks: the network address that a request comes from, and the page or program at it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr
    from starlette.requests import HTTPConnection

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass
class Ticket:
    """Goes with a request from the door to its event; gradio's id of the event is known when it is answered."""

    address: str = ""
    event: str = ""


@dataclass(frozen=True)
class Visitor:
    """A page or a program that asks for something; who shares the session or the address is the same visitor.

    Args:
        session: gradio's name for the page or the program that listens; of a plain HTTP call, its event id.
        address: network address; empty for requests that come from no network.
    """

    session: str = ""
    address: str = ""
    ticket: Ticket = field(default_factory=Ticket, compare=False)

    def is_same(self, other: Visitor) -> bool:
        """Whether both count as the same visitor."""
        same_session = bool(self.session) and self.session == other.session
        return same_session or (bool(self.address) and self.address == other.address)


def visitor_of(request: gr.Request | None) -> Visitor:
    """The visitor of an event, from its ``gr.Request``, if there is one."""
    if request is None:
        return Visitor()
    ticket = getattr(request.state, "ticket", None) or Ticket(address_of(request))
    return Visitor(request.session_hash or "", ticket.address, ticket)


def address_of(request: HTTPConnection | gr.Request) -> str:
    """The network address of a visitor; of IPv6 the network, as whoever has one address there has 2^64.

    A Space is reached through a proxy, which writes the visitor's address at the end of X-Forwarded-For, perhaps with a
    port, perhaps followed by private addresses of further proxies. What stands before it was sent by the visitor, and
    anywhere else all of it may have been.

    Args:
        request: has ``client`` and ``headers``, as Starlette's and gradio's requests do.
    """
    peer = request.client.host if request.client else ""
    if os.environ.get("SPACE_ID"):
        # A header may come twice: the visitor's own first, then the proxy's.
        headers = [value for name, value in request.headers.items() if name.lower() == "x-forwarded-for"]
        for part in reversed(",".join(headers).split(",")):
            if (address := _read_address(part)) is not None and address.is_global:
                return _network_of(address)
    return _network_of(address) if (address := _read_address(peer)) else str(peer)


def _read_address(text: str) -> Address | None:
    """An address as proxies write it: 8.8.8.8, 8.8.8.8:4711, [2606:4700::1]:443, "::ffff:8.8.8.8"; None for others."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    for part in (text, text.rpartition(":")[0]):
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(part)
            return getattr(address, "ipv4_mapped", None) or address
    return None


def _network_of(address: Address) -> str:
    if address.version == 4 or not address.is_global:
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
