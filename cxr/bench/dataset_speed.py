"""How fast data sets are made: processes beside one, and time lost to the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr.bench.rounds import last_line
from cxr.folders.dataset_manifest import WORK_NAME
from cxr.generate.progress import FILE_NAME
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import FINDINGS
from cxr.request.errors import GenerationError

POLL_S = 0.1
GOAL_EFFICIENCY = 0.95


@dataclass(frozen=True)
class DatasetBench:
    """What one run of a data set took.

    Args:
        num_images: that were made.
        images_per_second: of all processes, start and end of the job not counted.
        stall: share of the time that the first process waited for the disk.
        rss_mb: memory of the first process at the end, in megabytes; all of them have about as much.
    """

    processes: int
    num_images: int
    images_per_second: float
    stall: float
    rss_mb: float = 0.0

    def efficiency(self, one: DatasetBench, num_cores: int) -> float:
        """Images/s as a share of what the cores would make if each did as much as one process did.

        Args:
            one: the same with one process.
            num_cores: that the processes share; each uses one.
        """
        return self.images_per_second / (one.images_per_second * min(self.processes, num_cores))


def bench_dataset(
    num_images: int, steps: int, processes: int, model: str = "embedded", adapter: str = "default"
) -> DatasetBench:
    """Make a data set in a temporary folder and watch it.

    Args:
        steps: denoising steps of each; few make the rest of the work count.
        processes: started by torch if more than one.
        model: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
    Raises:
        GenerationError: the job failed, or was over before it could be watched.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "set"
        command = job_command(write_plan(Path(name), num_images, steps), folder, processes, model, adapter)
        samples = list(watch(command, folder, Path(name) / "log"))
    if not samples:
        raise GenerationError(f"{num_images} images were made too fast to be timed; ask for more")
    last = samples[-1]
    return DatasetBench(
        processes, num_images, last["images_per_second"], last["waited_s"] / last["elapsed_s"], last["rss_mb"]
    )


def write_plan(folder: Path, num_images: int, steps: int) -> Path:
    """Write a plan of all findings in equal shares."""
    cohort = {"findings": dict.fromkeys((*FINDINGS, NO_FINDING), 1), "count": num_images}
    plan = folder / "plan.yaml"
    plan.write_text(json.dumps({"cohort": [cohort], "settings": {"num_inference_steps": steps}}), encoding="utf-8")
    return plan


def job_command(plan: Path, folder: Path, processes: int, model: str, adapter: str) -> list[str]:
    """What makes a data set in new processes."""
    # Not accelerate's launcher: on CPUs it starts one process, whatever it is asked for, unless MPI is there.
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    job = ["-m", "cxr", "dataset", str(plan), f"--output={folder}", f"--model={model}", f"--adapter={adapter}"]
    return [sys.executable, *launch, *job]


def watch(command: list[str], folder: Path, log: Path) -> Iterator[dict[str, float]]:
    """Run a job and give what it says of itself, each time that this is something else.

    Args:
        command: as `job_command` writes it.
        log: file for what it writes.
    Raises:
        GenerationError: the job failed.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)  # noqa: S603  our own program
    last: dict[str, float] | None = None
    while process.poll() is None:
        sample = read_progress(folder)
        if sample is not None and sample != last:
            last = sample
            yield sample
        time.sleep(POLL_S)
    if process.returncode:
        reason = last_line(log.read_text(encoding="utf-8"), otherwise="?")
        raise GenerationError(f"the data set of the bench was not made: {reason}")


def read_progress(folder: Path) -> dict[str, float] | None:
    """What a job in another process says of itself; None before it begins and when it is done."""
    try:
        facts: dict[str, float] = json.loads((folder / WORK_NAME / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return facts


def num_cores() -> int:
    """Cores that this process, and those that it starts, may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def format_dataset_bench(result: DatasetBench, one: DatasetBench | None = None) -> str:
    """One line for the terminal.

    Args:
        one: the same with one process, to set it beside; None where that was not measured.
    """
    line = (
        f"{result.processes} process{'es' if result.processes > 1 else ''}, {result.num_images} images: "
        f"{result.images_per_second:.2f} images/s, {result.stall:.1%} of the time waiting for the disk, "
        f"{result.rss_mb:.0f} MB each"
    )
    if one is None or result.processes == 1:
        return line
    cores, efficiency = num_cores(), result.efficiency(one, num_cores())
    verdict = "reached" if efficiency >= GOAL_EFFICIENCY else "missed"
    line += f", {efficiency:.0%} of what {min(cores, result.processes)} of {cores} cores could make"
    return f"{line} (goal {GOAL_EFFICIENCY:.0%}: {verdict})"
