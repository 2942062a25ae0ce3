"""How far a job is: on the terminal, in a file that other programs may read, and for a page that shows it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from cxr.dataset.units import add_counts
from cxr.images.atomic import atomic_file

EVERY_S = 1.0
FILE_NAME = "progress.json"
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
    manifest: Mapping[str, Any] | None = None


class Progress:
    """Counts of one process; that of the first process adds up all.

    Args:
        folder: where each process writes its counts.
        rank: number of this process.
        total: images of the whole data set.
        before: counts of what an earlier run has left; of one process, or they would be added up more than once.
        quiet: leave the terminal alone.
    """

    def __init__(
        self, folder: Path, rank: int, total: int, *, before: Mapping[str, int] | None = None, quiet: bool = False
    ) -> None:
        self.folder, self.rank, self.total = folder, rank, total
        self.counts = dict.fromkeys(COUNTS, 0) | dict(before or {})
        self._begun_with = self.counts["finished"] + self.counts["failed"]
        self.began, self._next = time.monotonic(), 0.0
        hidden = True if quiet or rank > 0 else None  # None: hidden where there is no terminal
        self._bar = tqdm(total=total, unit="image", disable=hidden, file=sys.stderr)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one image that this process has made or given up on; written down about every second.

        Raises:
            OutputError: the disk refused it.
        """
        add_counts(self.counts, row)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            self.write()

    def write(self) -> None:
        """Write this process's counts and, from the first process, the sum of all."""
        with atomic_file(self.folder / f"{self.rank}.json") as file:
            file.write(json.dumps(self.counts).encode())
        if self.rank == 0:
            self._write_sum()

    def now(self) -> JobProgress:
        """How far this process is, which is the whole job if there is no other."""
        elapsed_s = time.monotonic() - self.began
        finished, failed = min(self.counts["finished"], self.total), self.counts["failed"]
        left = max(self.total - finished - failed, 0)
        made = self.counts["finished"] + self.counts["failed"] - self._begun_with
        remaining_s = elapsed_s / made * left if made else None
        return JobProgress(finished, failed, self.counts["rejected"], self.total, elapsed_s, remaining_s)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.close()

    def summed(self) -> dict[str, int]:
        """Counts of all processes."""
        counts = dict.fromkeys(COUNTS, 0)
        for path in sorted(self.folder.glob("*.json")):
            for name, number in json.loads(path.read_text(encoding="utf-8")).items():
                counts[name] += number
        return counts

    def _write_sum(self) -> None:
        counts = self.summed()
        done = counts["finished"] + counts["failed"]
        elapsed_s = time.monotonic() - self.began
        speed = (done - self._begun_with) / elapsed_s if elapsed_s > 0 else 0.0
        facts = counts | {
            "total": self.total,
            "elapsed_s": round(elapsed_s, 1),
            "images_per_second": round(speed, 3),
            "remaining_s": round((self.total - done) / speed, 1) if speed > 0 else None,
            "rss_mb": resident_mb(),
        }
        with atomic_file(self.folder.parent / FILE_NAME) as file:
            file.write(json.dumps(facts).encode() + b"\n")
        self._bar.set_postfix_str(f"{counts['failed']} failed", refresh=False)
        self._bar.update(done - self._bar.n)


def resident_mb() -> float:
    """Memory that this process holds, in megabytes; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
