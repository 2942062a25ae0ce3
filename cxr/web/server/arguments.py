"""The command line of ``app.py``: where the page is served, to whom, and its limits.

Nothing here imports gradio or torch, so that a mistyped flag is answered at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from cxr.commands.options import add_model_options
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.server.environment import ALLOW_FLAG, find_danger, find_ignored
from cxr.web.server.hosts import ALLOW_HOST_FLAG, ALLOW_HOST_VARIABLE, is_host_name
from cxr.web.server.limits import Limits, default_limits

DEFAULT_PORT = 7860
HOST_VARIABLE, PORT_VARIABLE = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
REFERENCE_FLAG = "--reference"
LIMIT_HELP = {
    "dataset_images": "images of one data set; 0 leaves data sets out",
    "queue": "requests that may wait for the model",
    "pixel_steps": "millions of pixel-steps (images × steps × width × height) of one request; 0 for no limit",
    "dataset_pixel_steps": "millions of pixel-steps of one data set; 0 for no limit",
    "jobs_per_client": "requests of one visitor that wait or run; 0 for no limit",
    "job_s": "seconds that one request may take, what is finished is kept; 0 for no limit",
}


@dataclass(frozen=True)
class ServerSettings:
    """Where the page is served, to whom, with which model and limits."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    share: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)
    choice: ModelChoice = field(default_factory=ModelChoice)
    limits: Limits = field(default_factory=Limits)
    allowed_hosts: tuple[str, ...] = ()
    mcp: bool = False
    reference: Path | None = None

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the page."""
        return self.share or self.host not in LOOPBACK_HOSTS


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; the usage text would bury it."""
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments(arguments: Sequence[str]) -> ServerSettings:
    """Read the command line of ``app.py``; a wrong flag ends the program with one line and exit code 2."""
    parser = _build_parser()
    chosen = parser.parse_args(arguments)
    if (danger := find_danger(os.environ)) and not chosen.allow_gradio_variables:
        parser.error(danger)
    for remark in find_ignored(os.environ):
        sys.stderr.write(f"{parser.prog}: {remark}\n")
    if chosen.mcp and find_spec("mcp") is None:
        parser.error("--mcp needs the package mcp, which is not installed; install it with pip install 'gradio[mcp]'")
    choice = ModelChoice(chosen.model, chosen.adapter)
    limits = Limits(**{name: getattr(chosen, f"max_{name}") for name in LIMIT_HELP})
    settings = ServerSettings(
        chosen.host,
        chosen.port,
        chosen.share,
        chosen.auth,
        choice,
        limits,
        chosen.allowed_host,
        chosen.mcp,
        chosen.reference,
    )
    if settings.reference and settings.is_public:
        parser.error(
            f"{REFERENCE_FLAG} would show real films to other machines; leave out either it or --share and --host"
        )
    return settings


def _build_parser() -> _OneLineParser:
    parser = _OneLineParser(
        prog="app.py",
        description="Serve CXR Studio: clinical text in, synthetic chest radiographs out.",
        epilog="The page is reachable from this machine only, unless its address or --share says otherwise.",
        allow_abbrev=False,
    )
    _add_address(parser)
    add_model_options(parser)
    parser.add_argument(
        ALLOW_HOST_FLAG,
        type=_host_names,
        default=os.environ.get(ALLOW_HOST_VARIABLE, ""),
        metavar="NAME[,NAME]",
        help="names to answer to besides this machine's own, for example that of a proxy, or *.example.org "
        f"(default: {ALLOW_HOST_VARIABLE})",
    )
    parser.add_argument(ALLOW_FLAG, action="store_true", help="start even if GRADIO_* variables open the page further")
    parser.add_argument("--mcp", action="store_true", help="let assistants call the endpoints, as an MCP server")
    parser.add_argument(
        REFERENCE_FLAG,
        type=_folder,
        metavar="DIR",
        help="real films that the page compares data sets with; only where no other machine reaches the page",
    )
    _add_limits(parser, default_limits())
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    """Where the page is served, and to whom."""
    # A Space is reached through its host's proxy, never through the loopback address.
    usual_host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"  # noqa: S104
    # argparse checks a default that is text as if it had been given.
    parser.add_argument(
        "--host",
        default=os.environ.get(HOST_VARIABLE) or usual_host,
        help=f"address to listen on (default: ${HOST_VARIABLE}, else {usual_host})",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get(PORT_VARIABLE) or DEFAULT_PORT,
        help=f"port to listen on (default: ${PORT_VARIABLE}, else {DEFAULT_PORT})",
    )
    parser.add_argument("--share", action="store_true", help="also open a public gradio.live link")
    parser.add_argument("--auth", type=_credentials, metavar="USER:PASSWORD", help="ask visitors to sign in")


def _add_limits(parser: argparse.ArgumentParser, defaults: Limits) -> None:
    """One flag and one environment variable for each limit."""
    for name, text in LIMIT_HELP.items():
        variable = f"CXR_MAX_{name.upper()}"
        parser.add_argument(
            f"--max-{name.replace('_', '-')}",
            type=partial(_count, low=1 if name == "queue" else 0),
            default=os.environ.get(variable) or getattr(defaults, name),
            metavar="N",
            help=f"{text} (default: {variable}, else %(default)s)",
        )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid port; use a whole number from 1 to 65535")
    return int(text)


def _host_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if wrong := [name for name in names if not is_host_name(name)]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not a host name; give it as images.example.org")
    return names


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; name one that holds images")
    return Path(text)


def _count(text: str, low: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; use a whole number from {low} to 1,000,000")
    return int(text)


def _credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        # The value is not repeated: it may be part of a password.
        raise argparse.ArgumentTypeError("use USER:PASSWORD, both not empty")
    return user, password
