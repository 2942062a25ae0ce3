"""From checked arguments to a running server: environment, temporary files, launch.

Nothing here imports gradio or torch before the server is launched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from cxr.request.errors import CxrError
from cxr.web.jobs.model_choice import ModelChoice, answering
from cxr.web.jobs.table import JobTable
from cxr.web.server.arguments import ServerSettings
from cxr.web.server.headers import SecurityHeaders
from cxr.web.server.hosts import Names, allowed_hosts
from cxr.web.server.logs import keep_values_out_of_logs
from cxr.web.server.temporary import (
    keep_sweeping,
    keep_what_is_there,
    make_private_folder,
    remove_private_folders,
    temp_root,
)

if TYPE_CHECKING:
    import gradio as gr
    from starlette.applications import Starlette

SPARE_THREADS = 32
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


def end_on_signals() -> None:
    """Let signals end the program in order, from before there is a temporary folder; by default most would leave it."""
    for name in ENDING_SIGNALS:
        number = getattr(signal, name, None)  # Windows has two of them
        if number and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: sys.exit(0))


def prepare_environment() -> None:
    """Set what gradio reads when imported: no telemetry, a private temporary folder, no proxy to this machine."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if not os.environ.get("SPACE_ID"):
        # A visitor's address is the one that connects, not one that stands in a header; a proxy can be named here.
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    if urllib.request.getproxies():
        # gradio calls its own page at the start, which a proxy cannot reach.
        kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ["no_proxy"] = ",".join(filter(None, [kept, "localhost", "127.0.0.1", "::1"]))
    make_private_folder()


def launch_options(settings: ServerSettings, page: gr.Blocks, jobs: JobTable) -> dict[str, Any]:
    """The arguments of ``Blocks.launch``, with the choices that keep clinical text private.

    Args:
        settings: where the page is served, and to whom.
        page: as ``build_page`` gives it.
        jobs: the table that it was built with.
    """
    from starlette.middleware import Middleware

    from cxr.web.api.calls import Calls
    from cxr.web.page.theme import CSS, FAVICON, HEAD, build_theme
    from cxr.web.server.door import Door

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
            "middleware": [Middleware(Door, Calls(page, jobs, mcp=settings.mcp))],
            "lifespan": partial(_outermost, allowed_hosts(settings.host, settings.share, settings.allowed_hosts)),
        },
        # gradio keeps up to half a megabyte of each page and of each call of a program; this is for how many.
        "state_session_capacity": 200,
    }


@contextlib.asynccontextmanager
async def _outermost(hosts: Iterable[str], app: Starlette) -> AsyncIterator[None]:
    """Put what every answer has to pass around all of gradio, before the first request comes."""
    assert app.middleware_stack is not None, "a server that starts has built it"
    app.middleware_stack = SecurityHeaders(Names(app.middleware_stack, hosts))
    yield


def serve(page: gr.Blocks, settings: ServerSettings, jobs: JobTable) -> None:
    """Launch the page, load the model beside it, and stay until interrupted; then end all jobs."""
    if settings.is_public and settings.auth is None and not os.environ.get("SPACE_ID"):
        sys.stderr.write("Anyone who reaches this address can use the page; --auth USER:PASSWORD makes them sign in.\n")
    keep_values_out_of_logs()
    try:
        page.launch(**launch_options(settings, page, jobs), prevent_thread_lock=True, quiet=True)
    except ValueError:
        # gradio calls its own page, and gives up when a busy machine takes more than three seconds. It serves by then.
        if not page.is_running:
            raise
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        sys.stderr.write(
            f"app.py: cannot serve on {address}: it is in use or not this machine's; choose another --port or --host\n"
        )
        raise SystemExit(2) from error
    sys.stdout.write(f"CXR Studio is at {page.local_url}\n")
    sys.stdout.flush()
    keep_what_is_there(temp_root())
    keep_sweeping(temp_root())
    threading.Thread(target=_warm_up, args=(settings.choice,), daemon=True, name="model-warm-up").start()
    with contextlib.suppress(SystemExit):
        page.block_thread()
    jobs.close()
    page.close(verbose=False)
    _end()


def _end() -> None:
    """End the process at once: threads that are inside torch would abort it while Python's own end takes its time."""
    remove_private_folders()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _warm_up(choice: ModelChoice) -> None:
    try:
        answering(choice)
    except CxrError as error:
        sys.stderr.write(f"{error}\n")  # the page stays up and says the same to whoever asks for an image
