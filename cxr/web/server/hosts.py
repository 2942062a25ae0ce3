"""The names that the server answers to, so that no web site can point its own name at this machine (DNS rebinding).

Starlette's ``TrustedHostMiddleware`` cannot be given addresses with colons, and does not say what to do.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cxr.request.messages import printable
from cxr.web.server.refusal import Refusal

ALLOW_HOST_FLAG = "--allowed-host"
ALLOW_HOST_VARIABLE = "CXR_ALLOWED_HOSTS"
SHARED = "*.gradio.live"
HUB_SPACES = "*.hf.space"
MAX_NAME_CHARACTERS = 100
_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:@/\\?#\s,]*)(:\d{0,5})?", re.ASCII)  # a name or an address, and a port
_NAME = re.compile(r"[a-z0-9*]([a-z0-9*._-]{0,251}[a-z0-9])?")


def allowed_hosts(
    host: str, share: bool, names: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """All names that the server answers to, besides addresses; ``*`` stands for anything.

    Args:
        host: that it listens on.
        share: whether it has a public link.
        names: allowed by whoever started it.
        environment: holds the names of a Space, and of a proxy if GRADIO_ROOT_PATH is a whole address.
    """
    own = socket.gethostname().lower()
    found = {"localhost", own, f"{own}.local", host.lower(), *(name.lower() for name in names)}
    found |= {
        environment.get("SPACE_HOST", "").lower(),
        host_name(urlsplit(environment.get("GRADIO_ROOT_PATH", "")).netloc),
    }
    if share:
        found.add(SHARED)
    if environment.get("SPACE_ID"):
        found.add(HUB_SPACES)
    return tuple(sorted(found - {""}))


def check_host(header: str, allowed: Iterable[str]) -> None:
    """Refuse a request for another name.

    An address is always allowed: a browser that asks for one has not been led here by a name.

    Args:
        header: Host of the request, with or without a port; without it, no browser asks.
        allowed: as `allowed_hosts` gives them.
    Raises:
        Refusal: the name is not one of them.
    """
    name = _name_in(header) or header
    if not header or _address_of(name) or any(fnmatchcase(name, pattern) for pattern in allowed):
        return
    shown = printable(name[:MAX_NAME_CHARACTERS])
    raise Refusal(403, f"this server does not answer to the name “{shown}”; allow it with {ALLOW_HOST_FLAG} {shown}")


def is_own_page(origin: str, host: str, allowed: Iterable[str]) -> bool:
    """Whether a page may read what is answered to it: one of this server, this machine or an allowed name.

    A Space and a public link are open to all pages; a server that only this machine or its network can
    reach is not.

    Args:
        origin: Origin of the request.
        host: its Host.
        allowed: as `allowed_hosts` gives them.
    """
    names = tuple(allowed)
    own, page = _name_in(host), _name_in(origin.partition("://")[2])
    if not own or not page:
        return False
    if HUB_SPACES in names or fnmatchcase(own, SHARED):
        return True
    is_here = _is_this_machine(own) and _is_this_machine(page)
    return page == own or is_here or any(fnmatchcase(page, name) for name in names if name != SHARED)


def host_name(header: str) -> str:
    """The name or address in the part of an address that names a host, without its port; empty if there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def is_host_name(text: str) -> bool:
    """Whether a text can stand in a list of names: no ``http://``, no port, no path."""
    return bool(_NAME.fullmatch(text.lower()))


class Names:
    """ASGI middleware, the outermost: no name but the server's own, and no answer that pages of other sites may read.

    Gradio's own answers to what browsers ask before a request (CORS) are made before its other middleware is asked.

    Args:
        hosts: names that the server answers to.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, tuple(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, without its Origin if that is another site's, or answer it with 403 and one sentence."""
        headers = Headers(scope=scope)
        host, origin = (", ".join(headers.getlist(name)) for name in ("host", "origin"))
        try:
            check_host(host, self.hosts)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)
            return
        if origin and not is_own_page(origin, host, self.hosts):
            scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"origin"]}
        await self.app(scope, receive, send)


def _name_in(header: str) -> str:
    """As `host_name`, of nothing but a host and its port."""
    return host_name(header) if _HOST.fullmatch(header) else ""


def _is_this_machine(name: str) -> bool:
    address = _address_of(name)
    return address.is_loopback or address.is_unspecified if address else name == "localhost"


def _address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
