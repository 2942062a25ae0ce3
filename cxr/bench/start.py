"""How long a start takes: until the page answers, and until the first picture, in new processes."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr.bench.rounds import PROMPT, Spread, beside_goal, check_runs, last_line
from cxr.request.errors import GenerationError

APP = Path(__file__).parents[2] / "app.py"
POLL_S = 0.02
LONGEST_S = 600.0
IMPORT_GRADIO = "import time; began = time.perf_counter(); import gradio; print(time.perf_counter() - began)"
# Beyond gradio's own import, and from the start of the process.
GOAL_PAGE_S, GOAL_PICTURE_S = 1.5, 6.0


@dataclass(frozen=True)
class StartBench:
    """Seconds of some starts.

    Args:
        gradio_s: gradio's own import.
        page_s: from ``python app.py`` to a page that answers.
        picture_s: from there, too, to the first picture, which is asked for as soon as the page answers.
        cpu_s: of the processor in that time; less than ``picture_s`` where other programs run.
    """

    gradio_s: tuple[float, ...]
    page_s: tuple[float, ...]
    picture_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def beyond_gradio(self) -> Spread:
        """What the page takes besides, round by round."""
        return Spread.of([page - own for page, own in zip(self.page_s, self.gradio_s, strict=True)])


def measure_start(model: str, adapter: str, runs: int) -> StartBench:
    """Start the page some times and end it again.

    Args:
        model: as ``app.py`` takes it.
        adapter: as ``app.py`` takes it.
        runs: how often, 1 to 100.
    Raises:
        RequestError: ``runs`` is outside its range.
        GenerationError: the page does not start, or makes no picture.
    """
    check_runs(runs)
    if not APP.is_file():
        raise GenerationError("app.py is not there: bench --start needs a checkout of the repository")
    rounds = [(_import_gradio(), *_one_start(model, adapter)) for _ in range(runs)]
    gradio_s, page_s, picture_s, cpu_s = zip(*rounds, strict=True)
    return StartBench(gradio_s, page_s, picture_s, cpu_s)


def start_fresh(model: str | None, adapter: str | None) -> None:
    """Make one image in a new process.

    Raises:
        GenerationError: that process failed.
    """
    code = (
        "import sys; from cxr.bench.roofline import make_bench_images; from cxr.generate.model import load_model; "
        "make_bench_images(load_model(*[value or None for value in sys.argv[1:]]))"
    )
    _run_python(code, model or "", adapter or "none", failure="a new process could not make an image")


def format_start(result: StartBench) -> str:
    beyond, picture = result.beyond_gradio, Spread.of(result.picture_s)
    page_goal = beside_goal(beyond.median, GOAL_PAGE_S, is_upper_limit=True)
    picture_goal = beside_goal(picture.median, GOAL_PICTURE_S, is_upper_limit=True)
    return "\n".join(
        [
            f"Seconds in new processes: median of {len(result.page_s)} (lowest–highest).",
            f"  import of gradio                    {Spread.of(result.gradio_s):.2f}",
            f"  python app.py to a page that answers {Spread.of(result.page_s):.2f}",
            f"    beyond gradio's import            {beyond:.2f}{page_goal}",
            f"  python app.py to the first picture  {picture:.2f}{picture_goal}",
            f"    of it processor time              {Spread.of(result.cpu_s):.2f}",
        ]
    )


def _import_gradio() -> float:
    return float(_run_python(IMPORT_GRADIO, failure="gradio cannot be imported"))


def _run_python(code: str, *arguments: str, failure: str) -> str:
    """What a new interpreter writes to standard output."""
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603  our own
    if done.returncode:
        raise GenerationError(f"{failure}: {last_line(done.stderr)}")
    return done.stdout


def _one_start(model: str, adapter: str) -> tuple[float, float, float]:
    """Seconds to the page, to the first picture, and of the processor."""
    before = _children_cpu_s()
    began = time.perf_counter()
    with _page(model, adapter) as (process, port):
        _wait_for_page(process, port)
        page_s = time.perf_counter() - began
        _make_picture(port)
        picture_s = time.perf_counter() - began
    return page_s, picture_s, _children_cpu_s() - before


@contextmanager
def _page(model: str, adapter: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server of its own, and its port; ended at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, str(APP), f"--port={port}", f"--model={model}", f"--adapter={adapter}"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=APP.parent, stdout=said, stderr=said)  # noqa: S603  our own program
        try:
            yield process, port
        except (OSError, http.client.HTTPException, LookupError) as error:
            process.terminate()
            process.wait()
            said.seek(0)
            last = last_line(said.read().decode(errors="replace"), otherwise=str(error))
            raise GenerationError(f"the page does not answer: {last}") from error
        finally:
            process.terminate()
            process.wait()


def _wait_for_page(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + LONGEST_S
    while True:
        try:
            if _get(port, "/").startswith("<!"):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
        time.sleep(POLL_S)


def _make_picture(port: int) -> None:
    event = json.loads(_get(port, "/gradio_api/call/v2/generate", json.dumps({"prompt": PROMPT})))["event_id"]
    if "event: complete" not in (answer := _get(port, f"/gradio_api/call/generate/{event}")):
        raise LookupError(answer[-200:])


def _get(port: int, path: str, body: str | None = None) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _children_cpu_s() -> float:
    """Processor time of all processes that were started and have ended; 0 where the system does not tell."""
    used = os.times()
    return used.children_user + used.children_system
