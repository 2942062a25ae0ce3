"""How far a run is: on the terminal, in a file that other programs may read, and for a page that shows it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from cxr.images.atomic import atomic_file
from cxr.images.guarded import open_regular
from cxr.metrics.result import Json
from cxr.request.messages import say

EVERY_S = 1.0
FILE_NAME = "progress.json"
SOME_FAILED = 1  # exit code of a command that could not make all of its images
COUNTS = ("finished", "failed", "rejected")


@dataclass(frozen=True)
class JobProgress:
    """How far a job of one process is.

    Args:
        finished: images that are there, those of an earlier run included.
        failed: images that none of their seeds has given.
        rejected: seeds that were not taken.
        total: images of the whole data set.
        elapsed_s: of this run.
        remaining_s: None while no image has been made in this run.
        stage: "running" or, of the last one, "finished" or "stopped".
        manifest: of the finished data set.
    """

    finished: int
    failed: int
    rejected: int
    total: int
    elapsed_s: float
    remaining_s: float | None = None
    stage: Literal["running", "finished", "stopped"] = "running"
    manifest: Mapping[str, Json] | None = None


class Progress:
    """Counts of one process; that of the first process adds up all. A context manager, which clears the terminal.

    Args:
        before: counts of what an earlier run has left; of one process, or they would be added up more than once.
        folder: where each process writes its counts, and the first process their sum beside it; None for no files.
        rank: number of this process.
        quiet: leave the terminal alone.

    Attributes:
        waited_s: how long the model of this process has waited for the disk.
    """

    def __init__(
        self,
        total: int,
        before: Mapping[str, int] | None = None,
        *,
        folder: Path | None = None,
        rank: int = 0,
        quiet: bool = False,
    ) -> None:
        self.folder, self.rank, self.total = folder, rank, total
        self.counts = dict.fromkeys(COUNTS, 0) | dict(before or {})
        self._begun_with = self.counts["finished"] + self.counts["failed"]
        self.began, self._next = time.monotonic(), 0.0
        self.waited_s = 0.0
        self._bar = tqdm(
            total=total,
            initial=self._begun_with,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left",
            disable=True if quiet or rank > 0 else None,  # None: only on a terminal, so that logs stay short
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self._show(self.counts)

    def add(self, *, finished: bool, rejected: int) -> None:
        """Count one image that this process has made or given up on; written down about every second.

        Raises:
            OutputError: the disk refused it.
        """
        self.counts["finished" if finished else "failed"] += 1
        self.counts["rejected"] += rejected
        if self.folder is None:
            self._show(self.counts)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            self.write()

    def show_steps(self, images: float) -> None:
        """Move the terminal's bar by the denoising steps of images that are not counted yet, in images."""
        done = self.counts["finished"] + self.counts["failed"] + images
        self._bar.update(max(done - self._bar.n, 0))

    def say(self, text: str) -> None:
        """Write a line above the terminal's bar."""
        self._bar.clear()
        say(sys.stderr, text)

    def write(self) -> None:
        """Write this process's counts and, from the first process, how far all are."""
        if self.folder is None:
            return
        with atomic_file(self.folder / f"{self.rank}.json") as file:
            file.write(json.dumps(self.counts).encode())
        if self.rank == 0:
            counts = self.summed()
            with atomic_file(self.folder.parent / FILE_NAME) as file:
                file.write(json.dumps(self._facts(self.now(counts))).encode() + b"\n")
            self._show(counts)

    def now(self, counts: Mapping[str, int] | None = None) -> JobProgress:
        """How far this process is, which is the whole run if there is no other; or how far the counts of all are."""
        counts = counts or self.counts
        elapsed_s = time.monotonic() - self.began
        finished, failed = min(counts["finished"], self.total), counts["failed"]
        made, left = counts["finished"] + failed - self._begun_with, max(self.total - finished - failed, 0)
        remaining_s = elapsed_s / made * left if made else None
        return JobProgress(finished, failed, counts["rejected"], self.total, elapsed_s, remaining_s)

    def summed(self) -> dict[str, int]:
        """Counts of all processes."""
        counts = dict.fromkeys(COUNTS, 0)
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            with open_regular(path) as file:
                found = json.load(file)
            for name, number in found.items():
                counts[name] += number
        return counts

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""
        self._bar.close()

    def _facts(self, now: JobProgress) -> dict[str, object]:
        made = now.finished + now.failed - self._begun_with
        return {
            **{name: getattr(now, name) for name in (*COUNTS, "total")},
            "elapsed_s": round(now.elapsed_s, 1),
            "images_per_second": round(made / max(now.elapsed_s, 1e-6), 3),
            "remaining_s": None if now.remaining_s is None else round(now.remaining_s, 1),
            "waited_s": round(self.waited_s, 1),
            "rss_mb": resident_mb(),
        }

    def _show(self, counts: Mapping[str, int]) -> None:
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        self._bar.set_description_str(f"{counts['finished']} of {self.total} images{failed}", refresh=False)
        self._bar.update(max(counts["finished"] + counts["failed"] - self._bar.n, 0))


def resident_mb() -> float:
    """Memory that this process holds, in megabytes; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
