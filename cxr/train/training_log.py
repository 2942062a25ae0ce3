"""The log of a training run."""

from __future__ import annotations

import json
import time
from pathlib import Path

from cxr.train.checkpoint import TrainingProgress

LOG = "log.jsonl"


class Log:
    """Lines of JSON: means of the losses since the last line, and figures on held-out patients.

    Only the main process writes; the path of the others is None.
    """

    def __init__(self, path: Path | None, progress: TrainingProgress) -> None:
        self.path, self.progress, self.samples = path, progress, progress.samples
        self.began = time.monotonic()
        self.values: dict[str, list[float]] = {}

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self.values.setdefault(name, []).append(value)

    def write_means(self) -> float:
        """Write and forget what was added; returns the mean loss."""
        means = {name: sum(values) / len(values) for name, values in self.values.items()}
        progress = self.progress
        speed = (progress.samples - self.samples) / (time.monotonic() - self.began)
        facts = {
            "learning_rate": progress.optimizer.param_groups[0]["lr"],
            "samples_per_s": speed,
            "elapsed_s": progress.elapsed_s,
        }
        self.write(means | facts)
        self.samples, self.began, self.values = progress.samples, time.monotonic(), {}
        return means["loss"]

    def write(self, row: dict[str, float]) -> None:
        if self.path is None:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in row.items()}
        with self.path.open("a") as lines:
            lines.write(json.dumps({"step": self.progress.step, "samples": self.progress.samples} | rounded) + "\n")
