"""A data set whose processes are killed again and again, beside one made in one go: every byte is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr.bench.dataset_speed import job_command, read_progress, write_plan
from cxr.folders.metadata import file_sha256

NUM_IMAGES, STEPS, PROCESSES, KILLS = 400, 2, 2, 2
LAST_KILL = 0.9  # share of the images; later, the job may be over before its progress is read
LONGEST_DELAY_S = 1.0  # between the image that was waited for and the kill: starts and writes of progress are hit, too
ENVIRONMENT = os.environ | {"CXR_DTYPE": "float32", "OMP_NUM_THREADS": "1"}


def descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in map(int, children):
        yield from descendants(child)
        yield child


def run_and_kill(command: list[str], folder: Path, finished: int, delay_s: float) -> None:
    """Kill all processes of a job at once, a while after so many images are finished."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    while process.poll() is None and (read_progress(folder) or {}).get("finished", 0) < finished:
        time.sleep(0.05)
    time.sleep(delay_s)
    # Those that it has started do not die with it: each has a session of its own.
    for pid in (*descendants(process.pid), process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert process.wait() == -signal.SIGKILL, "the job was over before it could be killed"


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells which processes belong to a job")
def test_killed_again_and_again_every_byte_is_the_same(tiny_model_dir: Path, tmp_path: Path) -> None:
    plan, whole, killed = write_plan(tmp_path, NUM_IMAGES, STEPS), tmp_path / "whole", tmp_path / "killed"
    one_go, many = (job_command(plan, folder, PROCESSES, str(tiny_model_dir), "none") for folder in (whole, killed))
    subprocess.run(one_go, check=True, env=ENVIRONMENT, capture_output=True)
    rng = random.Random(KILLS)
    for finished in sorted(rng.randrange(round(LAST_KILL * NUM_IMAGES)) for _ in range(KILLS)):
        run_and_kill(many, killed, finished, rng.uniform(0, LONGEST_DELAY_S))
    subprocess.run(many, check=True, env=ENVIRONMENT, capture_output=True)
    assert len(hashes(whole)) > NUM_IMAGES
    assert hashes(killed) == hashes(whole)
