"""How planning, resuming, checking and exporting grow with a data set, and what more processes bring.

Run it from the top of the repository: ``python benchmarks/growth.py --images 10000 100000``. Finished images of each
data set are written by the program's own writers from made-up pixels, without waiting for the disk; a tiny random model
makes the hundredth part that is left. ``--processes 1 2 4 8`` makes small data sets with the shipped model instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from tiny_model import build_tiny_pipeline  # noqa: E402

from cxr.bench.dataset_speed import bench_dataset, format_dataset_bench  # noqa: E402
from cxr.dataset.convert import convert  # noqa: E402
from cxr.dataset.dataset_folder import DatasetFolder  # noqa: E402
from cxr.dataset.make import Options, iterate_dataset  # noqa: E402
from cxr.dataset.plan import Plan, build_plan  # noqa: E402
from cxr.dataset.set_faults import find_faults  # noqa: E402
from cxr.dataset.unit_log import Unit  # noqa: E402
from cxr.generate.loaded_model import LoadedModel  # noqa: E402
from cxr.generate.model import load_model  # noqa: E402
from cxr.generate.recipes import recipe_for  # noqa: E402
from cxr.labels.radiograph import NO_FINDING  # noqa: E402
from cxr.labels.vocabulary import FINDINGS  # noqa: E402
from cxr.request.events import GeneratedImage  # noqa: E402

LEFT_EVERY = 100  # one of so many units is not finished
SIDE = 32  # pixels of the tiny model's images
LINEAR = 1.3  # a step may take so much more than its share of the images


def write_finished(folder: Path, plan: Plan, model: LoadedModel) -> None:
    """Leave a folder as a job does that was ended when 99 of 100 units were done."""
    end_at_first_step(folder, plan, model)  # locks, the beginning and the empty folders are the program's own
    for number, unit in enumerate(DatasetFolder(folder).units(plan)):
        if number % LEFT_EVERY != LEFT_EVERY // 2:
            write_unit(unit, model)


def write_unit(unit: Unit, model: LoadedModel) -> None:
    """Write all images of a unit, each with pixels of its own."""
    for image in unit.images:
        bits = np.unpackbits(np.frombuffer(image.index.to_bytes(8, "big"), dtype=np.uint8))
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[: len(bits) // SIDE] = 255 * bits.reshape(-1, SIDE)
        made = GeneratedImage(image.index, pixels, recipe_for(image.request, model, image.request.seed))
        unit.write(image, made, ())


def end_at_first_step(folder: Path, plan: Plan, model: LoadedModel) -> float:
    """Seconds from the start of a job to its first step of a new image, where it ends."""
    stop, reached = threading.Event(), []
    predict = model.predict
    began = time.perf_counter()

    def first(*arguments: Any) -> Any:
        reached.append(time.perf_counter() - began)
        stop.set()
        return predict(*arguments)

    model.predict = first  # type: ignore[method-assign]
    try:
        for _ in iterate_dataset(plan, folder, model, Options(), stop):
            pass
    finally:
        del model.predict
    return reached[0]


def finish(folder: Path, plan: Plan, model: LoadedModel) -> None:
    """Make the rest."""
    for _ in iterate_dataset(plan, folder, model, Options(), threading.Event()):
        pass


@contextmanager
def without_waiting_for_the_disk() -> Iterator[None]:
    """For images that only stand for an earlier run."""
    real, os.fsync = os.fsync, lambda descriptor: None
    try:
        yield
    finally:
        os.fsync = real


def timed(row: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Do something and note its seconds of the clock and of the processor."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    row[name], row[f"{name} cpu"] = time.perf_counter() - began, time.process_time() - cpu
    return result


def measure(num_images: int, model: LoadedModel, folder: Path) -> dict[str, float]:
    """Seconds of each thing that is done to a data set as a whole."""
    row: dict[str, float] = {}
    cohort = {"findings": dict.fromkeys((*FINDINGS, NO_FINDING), 1), "count": num_images}
    content = {"cohort": [cohort], "settings": {"num_inference_steps": 1}}

    def make_plan() -> Plan:
        plan = build_plan(content, "growth")
        assert plan.sha256
        return plan

    plan = timed(row, "plan", make_plan)
    with without_waiting_for_the_disk():
        timed(row, "(write)", lambda: write_finished(folder / "set", plan, model))
        again = dataclasses.replace(plan)  # another process knows nothing of what this one remembers
        timed(row, "resume", lambda: end_at_first_step(folder / "set", again, model))
        timed(row, "finish", lambda: finish(folder / "set", plan, model))
        images, faults = timed(row, "verify", lambda: find_faults(folder / "set"))
        assert (len(images), faults) == (num_images, []), faults[:3]
        timed(row, "webdataset", lambda: convert(folder / "set", folder / "tars", "webdataset"))
        timed(row, "parquet", lambda: convert(folder / "set", folder / "parquet", "parquet"))
        timed(row, "zip", lambda: convert(folder / "set", folder / "set.zip", "zip"))
    row["memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return row


def show(rows: dict[int, dict[str, float]]) -> int:
    """Print a table; the exit status is 1 if something grows faster than the number of images."""
    sizes = sorted(rows)
    worse = []
    for name in rows[sizes[0]]:
        if name.endswith(" cpu"):
            continue
        cells = [f"{rows[size][name]:10.1f}" + (f" ({rows[size].get(name + ' cpu', 0):.1f} cpu)") for size in sizes]
        line = f"{name:<12}" + "".join(cells)
        first, last = (rows[size].get(f"{name} cpu", rows[size][name]) for size in (sizes[0], sizes[-1]))
        growth = last / max(first, 1e-3) / (sizes[-1] / sizes[0])
        line += f"  {growth:.2f} of linear" if len(sizes) > 1 else ""
        worse += [name] if len(sizes) > 1 and growth > LINEAR else []
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"grows faster than linearly: {', '.join(worse) or 'nothing'}\n")
    return int(bool(worse))


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[], metavar="N")
    parser.add_argument("--processes", type=int, nargs="+", default=[], metavar="N")
    parser.add_argument("--count", type=int, default=64, help="images of each data set with --processes (default 64)")
    parser.add_argument("--steps", type=int, default=1, help="of each, with --processes (default 1)")
    arguments = parser.parse_args()
    one = None
    for count in arguments.processes:
        result = bench_dataset(arguments.count, arguments.steps, count)
        one = result if count == 1 else one
        sys.stdout.write(format_dataset_bench(result, one) + "\n")
        sys.stdout.flush()
    if not arguments.images:
        return 0
    logging.getLogger("transformers").setLevel(logging.ERROR)  # which misses libraries for pictures as input
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        build_tiny_pipeline(Path(name) / "tiny").to(dtype=torch.float16).save_pretrained(Path(name) / "tiny")
        model = load_model(str(Path(name) / "tiny"), "none")
        for size in arguments.images:
            with tempfile.TemporaryDirectory(dir=name) as folder:
                rows[size] = measure(size, model, Path(folder))
                sys.stdout.write(f"{size:,}: { ({key: round(value, 1) for key, value in rows[size].items()}) }\n")
                sys.stdout.flush()
    return show(rows)


if __name__ == "__main__":
    sys.exit(main())
