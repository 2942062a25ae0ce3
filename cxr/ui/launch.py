"""From the command line to a running server: arguments, environment, temporary files, launch.

Nothing here imports gradio or torch before the arguments are checked, so that a mistyped flag is answered at once.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cxr.errors import CxrError
from cxr.ui.jobs import ModelChoice, answering
from cxr.ui.limits import MAX_QUEUE, Limits, default_dataset_images

DEFAULT_PORT = 7860
TEMP_PREFIX = "cxr-studio-"
TEMP_LIFETIME_S = 24 * 3600  # folders that a killed server left behind are removed after a day
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerSettings:
    """Where the page is served, to whom, which model answers, and what it may be asked for."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    share: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)
    choice: ModelChoice = field(default_factory=ModelChoice)
    limits: Limits = field(default_factory=Limits)

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
        epilog="The page is reachable from this machine only, unless --host or --share says otherwise.",
        allow_abbrev=False,
    )
    # A Space is reached through its host's proxy, never through the loopback address.
    default_host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"  # noqa: S104
    parser.add_argument("--host", default=default_host, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port to listen on (default: %(default)s)")
    parser.add_argument("--share", action="store_true", help="also open a public gradio.live link")
    parser.add_argument("--auth", type=_credentials, metavar="USER:PASSWORD", help="ask visitors to sign in")
    parser.add_argument(
        "--model",
        default=os.environ.get("CXR_MODEL") or None,
        help="base model: a name that “python -m cxr models” lists, a folder in diffusers format, or "
        "owner/name[@revision] of the Hugging Face Hub (default: CXR_MODEL, else embedded)",
    )
    parser.add_argument(
        "--adapter",
        default=os.environ.get("CXR_ADAPTER") or "default",
        help="LoRA: a name in lora_weights/, local:PATH, hub:owner/name/FILE, “none”, or “default” for the model's own "
        "(default: CXR_ADAPTER, else default)",
    )
    parser.add_argument(
        "--max-dataset-images",
        type=_count,
        # argparse checks a default that is text as if it had been given.
        default=os.environ.get("CXR_MAX_DATASET_IMAGES") or default_dataset_images(),
        metavar="N",
        help="images of one data set; 0 leaves data sets out (default: CXR_MAX_DATASET_IMAGES, else %(default)s)",
    )
    parser.add_argument(
        "--max-queue",
        type=partial(_count, low=1),
        default=os.environ.get("CXR_MAX_QUEUE") or MAX_QUEUE,
        metavar="N",
        help="requests that may wait for the model (default: CXR_MAX_QUEUE, else %(default)s)",
    )
    given = parser.parse_args(arguments)
    choice, limits = ModelChoice(given.model, given.adapter), Limits(given.max_dataset_images, given.max_queue)
    return ServerSettings(given.host, given.port, given.share, given.auth, choice, limits)


def prepare_environment() -> None:
    """Set what gradio reads at import: no telemetry, and a private folder for temporary files."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported; spinning threads slow all down
    sweep_old_folders()
    if not os.environ.get("GRADIO_TEMP_DIR"):
        folder = tempfile.mkdtemp(prefix=TEMP_PREFIX)  # readable by this user only
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def sweep_old_folders() -> None:
    """Remove the temporary folders of servers that were killed and could not clean up."""
    oldest_s = time.time() - TEMP_LIFETIME_S
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMP_PREFIX}*"):
        try:
            if folder.is_symlink() or not folder.is_dir():
                continue
            # A server at work keeps making folders inside, so a recent one within means that it is in use.
            if max(path.lstat().st_mtime for path in (folder, *folder.rglob("*"))) < oldest_s:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # another user's, or gone in the meantime


def launch_options(settings: ServerSettings) -> dict[str, Any]:
    """Everything that ``Blocks.launch`` is told, with the choices that keep clinical text private."""
    from cxr.ui.theme import CSS, FAVICON, HEAD, build_theme

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
        "mcp_server": False,
        "max_file_size": "1mb",  # the page takes plans only; the upload route is open for more
        "state_session_capacity": 500,
    }


def serve(demo: Any, settings: ServerSettings) -> None:
    """Launch the page, load the model beside it, and stay until interrupted."""
    if settings.is_public and settings.auth is None and not os.environ.get("SPACE_ID"):
        sys.stderr.write("Anyone who reaches this address can use the page; --auth USER:PASSWORD makes them sign in.\n")
    try:
        _, url, _ = demo.launch(**launch_options(settings), prevent_thread_lock=True, quiet=True)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        sys.stderr.write(
            f"app.py: cannot serve on {address}: it is in use or not this machine's; choose another --port\n"
        )
        raise SystemExit(2) from error
    sys.stdout.write(f"CXR Studio is at {url}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # by default it would leave the temporary files behind
    threading.Thread(target=_warm_up, args=(settings.choice,), daemon=True, name="model-warm-up").start()
    demo.block_thread()


def _warm_up(choice: ModelChoice) -> None:
    try:
        answering(choice)
    except CxrError as error:
        sys.stderr.write(f"{error}\n")  # the page stays up and says the same to whoever asks for an image


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; use a whole number from 1 to 65535")
    return int(text)


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
