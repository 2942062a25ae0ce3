"""How fast data sets are made: processes beside one, time lost to the disk, memory over a long job."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cxr.dataset.job import WORK_NAME
from cxr.dataset.progress import FILE_NAME
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import GenerationError
from cxr.vocabulary import FINDINGS

POLL_S = 0.1
SETTLED = 0.1  # share of the images after which memory is looked at: caches are full by then
STALL = re.compile(r"of which ([\d.]+)% waiting")


@dataclass(frozen=True)
class DatasetBench:
    """What one run of a data set took.

    Args:
        processes: of the job.
        num_images: that were made.
        images_per_second: of all processes, start and end of the job not counted.
        stall: share of the time that the first process waited for the disk.
        first_rss_mb: memory of the first process after `SETTLED` of the images.
        last_rss_mb: the same at the end.
    """

    processes: int
    num_images: int
    images_per_second: float
    stall: float
    first_rss_mb: float
    last_rss_mb: float


def bench_dataset(
    num_images: int, steps: int, processes: int, model: str = "embedded", adapter: str = "default"
) -> DatasetBench:
    """Make a data set in a temporary folder and watch it.

    Args:
        num_images: to make.
        steps: denoising steps of each; few make the rest of the work count.
        processes: started by accelerate if more than one.
        model: as ``load_model`` takes it.
        adapter: as ``load_model`` takes it.
    Raises:
        GenerationError: the job failed, or was over before it could be watched.
    """
    with tempfile.TemporaryDirectory() as name:
        plan, folder = write_plan(Path(name), num_images, steps), Path(name) / "set"
        with (Path(name) / "log").open("w+", encoding="utf-8") as log:
            command = job_command(plan, folder, processes, model, adapter)
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
            samples = list(_watch(process, folder))
            log.seek(0)
            said = log.read()
    stalls = STALL.findall(said)
    if process.returncode or not stalls:
        raise GenerationError(f"the data set of the bench was not made: {(said.strip().splitlines() or ['?'])[-1]}")
    if not samples:
        raise GenerationError(f"{num_images} images were made too fast to be timed; ask for more")
    settled = [sample for sample in samples if sample["finished"] >= SETTLED * num_images] or samples
    return DatasetBench(
        processes,
        num_images,
        samples[-1]["images_per_second"],
        float(stalls[-1]) / 100,
        settled[0]["rss_mb"],
        settled[-1]["rss_mb"],
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


def read_progress(folder: Path) -> dict[str, float] | None:
    """What a job in another process says of itself; None before it begins and when it is done."""
    try:
        facts: dict[str, float] = json.loads((folder / WORK_NAME / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return facts


def format_dataset_bench(result: DatasetBench) -> str:
    """One line for the terminal."""
    return (
        f"{result.processes} process{'es' if result.processes > 1 else ''}, {result.num_images} images: "
        f"{result.images_per_second:.2f} images/s, {result.stall:.1%} of the time waiting for the disk, "
        f"{result.first_rss_mb:.0f} MB after {SETTLED:.0%} of them and {result.last_rss_mb:.0f} MB at the end"
    )


def _watch(process: subprocess.Popen[bytes], folder: Path) -> list[dict[str, float]]:
    samples: list[dict[str, float]] = []
    while process.poll() is None:
        sample = read_progress(folder)
        if sample is not None and (not samples or sample != samples[-1]):
            samples.append(sample)
        time.sleep(POLL_S)
    return samples
