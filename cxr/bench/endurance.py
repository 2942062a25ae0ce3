"""A data set whose job is killed again and again, beside one made in one go: whether their bytes are the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr.bench.dataset import job_command, read_progress, write_plan
from cxr.dataset.job import JobFolder
from cxr.folders.metadata import file_sha256
from cxr.request.errors import GenerationError

POLL_S = 0.05
LAST_KILL = 0.9  # share of the images; later, the job may be over before progress is read
LONGEST_DELAY_S = 4.0  # between the image that was waited for and the kill: starts and writes of progress are hit, too


@dataclass(frozen=True)
class KillBench:
    """What came of killing a job.

    Args:
        processes: of the job.
        num_images: of the data set.
        kills: SIGKILL to all its processes at once, at random moments.
        num_files: of the data set that was made in one go.
        different: names of files that are missing, too many or unequal in the other.
        seconds: in one go, loading of the model included.
        seconds_with_kills: with all kills and starts.
    """

    processes: int
    num_images: int
    kills: int
    num_files: int
    different: tuple[str, ...]
    seconds: float
    seconds_with_kills: float


def bench_kills(
    num_images: int, steps: int, processes: int, kills: int, model: str = "embedded", adapter: str = "default"
) -> KillBench:
    """Make the same data set twice, the second time with kills, and compare every byte.

    Args:
        num_images: to make.
        steps: denoising steps of each.
        processes: of the job.
        kills: how often its processes are killed, at moments drawn beforehand from the images that are finished then.
        model: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
    Raises:
        GenerationError: a job failed or was over before its last kill, or this system does not tell which processes
            belong to a job.
    """
    if not Path("/proc/self/task").is_dir():
        raise GenerationError("killing all processes of a job needs Linux")
    with tempfile.TemporaryDirectory() as name:
        plan, whole, killed = write_plan(Path(name), num_images, steps), Path(name) / "whole", Path(name) / "killed"
        began = time.monotonic()
        _finish(job_command(plan, whole, processes, model, adapter), dict(os.environ), Path(name) / "log")
        seconds = time.monotonic() - began
        manifest = JobFolder(whole).manifest()
        assert manifest is not None
        # The number format is chosen by timing; two jobs may choose differently.
        environment = os.environ | {"CXR_DTYPE": str(manifest["weight_dtype"])}
        began = time.monotonic()
        command = job_command(plan, killed, processes, model, adapter)
        chance = random.Random(kills)
        for finished in sorted(chance.randrange(max(1, round(LAST_KILL * num_images))) for _ in range(kills)):
            _run_and_kill(
                command, environment, killed, finished, chance.uniform(0, LONGEST_DELAY_S), Path(name) / "log"
            )
        _finish(command, environment, Path(name) / "log")
        seconds_with_kills = time.monotonic() - began
        files, others = _hashes(whole), _hashes(killed)
    different = {path for path in files.keys() | others.keys() if files.get(path) != others.get(path)}
    return KillBench(processes, num_images, kills, len(files), tuple(sorted(different)), seconds, seconds_with_kills)


def format_kill_bench(result: KillBench) -> str:
    """One line for the terminal."""
    same = "every byte is" if not result.different else f"{len(result.different)} are not"
    return (
        f"{result.processes} process{'es' if result.processes > 1 else ''}, {result.num_images} images: "
        f"{result.seconds:.0f} s in one go, {result.seconds_with_kills:.0f} s when killed {result.kills} times; "
        f"of {result.num_files} files {same} the same"
    )


def _finish(command: list[str], environment: dict[str, str], log: Path) -> None:
    with log.open("w+", encoding="utf-8") as said:
        run = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, env=environment, check=False)  # noqa: S603
        said.seek(0)
        last = (said.read().strip().splitlines() or ["?"])[-1]
    if run.returncode:
        raise GenerationError(f"the data set of the bench was not made: {last}")


def _run_and_kill(
    command: list[str], environment: dict[str, str], folder: Path, finished: int, delay_s: float, log: Path
) -> None:
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)  # noqa: S603
        while process.poll() is None and ((read_progress(folder) or {}).get("finished", 0) < finished):
            time.sleep(POLL_S)
        time.sleep(delay_s)
        # Those that it has started do not die with it: each has a session of its own.
        for pid in (*_descendants(process.pid), process.pid):
            _kill(pid)
        if process.wait() != -signal.SIGKILL:
            raise GenerationError("the job was over before it could be killed; ask for more images or fewer kills")


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in map(int, children):
        yield from _descendants(child)
        yield child


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
