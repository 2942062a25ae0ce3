"""From the command line to a running server: arguments, environment, temporary files, launch.

Nothing here imports gradio or torch before the arguments are checked, so that a mistyped flag is answered at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

from cxr.commands.options import add_model_options
from cxr.request.errors import CxrError
from cxr.web.jobs.model_choice import ModelChoice, answering
from cxr.web.jobs.table import JobTable
from cxr.web.server.environment import ALLOW_FLAG, find_danger
from cxr.web.server.hosts import ALLOW_HOST_FLAG, ALLOW_HOST_VARIABLE, allowed_hosts, is_host_name
from cxr.web.server.limits import Limits, default_limits
from cxr.web.server.logs import keep_values_out_of_logs
from cxr.web.server.temporary import keep_sweeping, make_private_folder, temp_root

DEFAULT_PORT = 7860
HOST_VARIABLE, PORT_VARIABLE = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"
SPARE_THREADS = 32
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
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
    """Where the page is served, to whom, which model answers, and what it may be asked for."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    share: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)
    choice: ModelChoice = field(default_factory=ModelChoice)
    limits: Limits = field(default_factory=Limits)
    allowed_hosts: tuple[str, ...] = ()
    mcp: bool = False

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
    parser = _OneLineParser(
        prog="app.py",
        description="Serve CXR Studio: clinical text in, synthetic chest radiographs out.",
        epilog="The page is reachable from this machine only, unless its address or --share says otherwise.",
        allow_abbrev=False,
    )
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
    add_model_options(parser)
    parser.add_argument(
        ALLOW_HOST_FLAG,
        type=_host_names,
        default=os.environ.get(ALLOW_HOST_VARIABLE, ""),
        metavar="NAME[,NAME]",
        help="names to answer to besides this machine's own, for example that of a proxy, or *.example.org "
        f"(default: {ALLOW_HOST_VARIABLE})",
    )
    parser.add_argument(ALLOW_FLAG, action="store_true", help="start although GRADIO_* variables open the page further")
    parser.add_argument("--mcp", action="store_true", help="let assistants call the endpoints, as an MCP server")
    _add_limits(parser, default_limits())
    chosen = parser.parse_args(arguments)
    if (danger := find_danger(os.environ)) and not chosen.allow_gradio_variables:
        parser.error(danger)
    if chosen.mcp and find_spec("mcp") is None:
        parser.error("--mcp needs the package mcp, which is not installed; install it with pip install 'gradio[mcp]'")
    choice = ModelChoice(chosen.model, chosen.adapter)
    limits = Limits(**{name: getattr(chosen, f"max_{name}") for name in LIMIT_HELP})
    return ServerSettings(
        chosen.host, chosen.port, chosen.share, chosen.auth, choice, limits, chosen.allowed_host, chosen.mcp
    )


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


def prepare_environment() -> None:
    """Set what gradio reads at import: no telemetry, and a private folder for temporary files."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported; spinning threads slow all down
    if not os.environ.get("SPACE_ID"):
        # A visitor's address is the one that connects, not one that stands in a header; who has a proxy names it here.
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    make_private_folder()


def launch_options(settings: ServerSettings, page: Any, jobs: JobTable) -> dict[str, Any]:
    """Everything that ``Blocks.launch`` is told, with the choices that keep clinical text private.

    Args:
        settings: where the page is served, and to whom.
        page: as ``build_page`` gives it.
        jobs: the table that it was built with.
    """
    from starlette.middleware import Middleware

    from cxr.web.api.calls import Calls
    from cxr.web.page.theme import CSS, FAVICON, HEAD, build_theme
    from cxr.web.server.door import Door
    from cxr.web.server.headers import SecurityHeaders

    hosts = allowed_hosts(settings.host, settings.share, settings.allowed_hosts)
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": settings.share,
        "auth": settings.auth,
        "theme": build_theme(),
        "css": CSS,
        "head": HEAD,
        "favicon_path": FAVICON,
        "footer_links": ["api"],
        "run_history": False,  # else prompts stay in the visitor's browser
        "enable_monitoring": False,
        "strict_cors": True,
        "ssr_mode": False,
        "mcp_server": settings.mcp,
        "max_file_size": "5mb",
        "max_threads": settings.limits.queue + SPARE_THREADS,  # each job that waits is an event that gradio runs
        "app_kwargs": {
            "middleware": [Middleware(SecurityHeaders), Middleware(Door, Calls(page, jobs, mcp=settings.mcp), hosts)]
        },
        "state_session_capacity": 500,
    }


def serve(page: Any, settings: ServerSettings, jobs: JobTable) -> None:
    """Launch the page, load the model beside it, and stay until interrupted; then end all jobs."""
    if settings.is_public and settings.auth is None and not os.environ.get("SPACE_ID"):
        sys.stderr.write("Anyone who reaches this address can use the page; --auth USER:PASSWORD makes them sign in.\n")
    for name in ENDING_SIGNALS:  # by default most of them would leave the temporary files behind
        number = getattr(signal, name, None)  # Windows has two of them
        if number and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: sys.exit(0))
    keep_values_out_of_logs()
    try:
        _, url, _ = page.launch(**launch_options(settings, page, jobs), prevent_thread_lock=True, quiet=True)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        sys.stderr.write(
            f"app.py: cannot serve on {address}: it is in use or not this machine's; choose another --port\n"
        )
        raise SystemExit(2) from error
    sys.stdout.write(f"CXR Studio is at {url}\n")
    sys.stdout.flush()
    keep_sweeping(temp_root())
    threading.Thread(target=_warm_up, args=(settings.choice,), daemon=True, name="model-warm-up").start()
    try:
        page.block_thread()
    finally:
        jobs.close()


def _warm_up(choice: ModelChoice) -> None:
    try:
        answering(choice)
    except CxrError as error:
        sys.stderr.write(f"{error}\n")  # the page stays up and says the same to whoever asks for an image


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid port; use a whole number from 1 to 65535")
    return int(text)


def _host_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if wrong := [name for name in names if not is_host_name(name)]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not a host name; give it as images.example.org")
    return names


def _count(text: str, low: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; use a whole number from {low} to 1,000,000")
    return int(text)


def _credentials(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        # What was given is not repeated: it may be half of a password.
        raise argparse.ArgumentTypeError("use USER:PASSWORD, both not empty")
    return user, password
