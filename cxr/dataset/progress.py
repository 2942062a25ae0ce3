"""How far a job is: on the terminal, and in a file that other programs may read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cxr.export.atomic import atomic_file

EVERY_S = 1.0
FILE_NAME = "progress.json"
COUNTS = ("finished", "failed", "rejected")


class Progress:
    """Counts of one process; that of the first process adds up all.

    Args:
        folder: where each process writes its counts.
        rank: number of this process.
        total: images of the whole data set.
    """

    def __init__(self, folder: Path, rank: int, total: int) -> None:
        self.folder, self.rank, self.total = folder, rank, total
        self.counts = dict.fromkeys(COUNTS, 0)
        self.began, self._next = time.monotonic(), 0.0
        self._begun_with: int | None = None
        self._bar = tqdm(total=total, unit="image", disable=None if rank == 0 else True, file=sys.stderr)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one image that is finished or given up on; written down about every second.

        Raises:
            OutputError: the disk refused it.
        """
        self.counts["finished" if row["file_name"] else "failed"] += 1
        self.counts["rejected"] += len(row["rejected"])
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            self.write()

    def write(self) -> None:
        """Write this process's counts and, from the first process, the sum of all."""
        with atomic_file(self.folder / f"{self.rank}.json") as file:
            file.write(json.dumps(self.counts).encode())
        if self.rank == 0:
            self._write_sum()

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
        if self._begun_with is None:
            self._begun_with = done
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
