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

from cxr.web.server.refusal import Refusal

ALLOW_HOST_FLAG = "--allowed-host"
ALLOW_HOST_VARIABLE = "CXR_ALLOWED_HOSTS"
SHARED = "*.gradio.live"
HUB_SPACES = "*.hf.space"
MAX_NAME_CHARACTERS = 100
_NO_HOST = re.compile(r"[@/\\?#\s]")  # what an address may have around a host, and a Host header never has
_NAME = re.compile(r"[a-z0-9*]([a-z0-9*._-]{0,251}[a-z0-9])?")


def allowed_hosts(
    host: str, share: bool, names: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """All names that the server answers to, besides addresses; ``*`` stands for anything.

    Args:
        host: that it listens on.
        share: whether it has a public link.
        names: that whoever started it allows.
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

    An address is always right: a browser that asks for it has not been led here by a name.

    Args:
        header: Host of the request, with or without a port; without it, no browser asks.
        allowed: as `allowed_hosts` gives them.
    Raises:
        Refusal: the name is not one of them.
    """
    name = header if _NO_HOST.search(header) else host_name(header)
    if not header or _is_address(name) or any(fnmatchcase(name, pattern) for pattern in allowed):
        return
    shown = "".join(character for character in name[:MAX_NAME_CHARACTERS] if character.isprintable())
    raise Refusal(403, f"this server does not answer to the name “{shown}”; allow it with {ALLOW_HOST_FLAG} {shown}")


def host_name(header: str) -> str:
    """The name or address in a Host header, without its port; empty if there is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_host_name(text: str) -> bool:
    """Whether a text can stand in a list of names: no ``http://``, no port, no path."""
    return bool(_NAME.fullmatch(text.lower()))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
