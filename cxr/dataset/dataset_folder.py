"""The folder of a data set while it is made: what was begun, so that only the same job goes on, and one at a time."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cxr.dataset.plan import Plan
from cxr.dataset.unit_log import Unit, units_of
from cxr.folders.archive import MANIFEST_NAME
from cxr.folders.dataset_reader import FORMAT
from cxr.folders.lock import locked
from cxr.images.atomic import PARTIAL_SUFFIX, atomic_file, cannot_write
from cxr.request.errors import OutputError

WORK_NAME = ".cxr-dataset"


@dataclass(frozen=True)
class Beginning:
    """Everything that decides the bytes of the images, fixed when a job begins.

    Args:
        plan_sha256: of the plan.
        num_images: that it asks for.
        model: name of the base model.
        model_revision: of its weights.
        adapter: name of the LoRA, or "none".
        adapter_sha256: of its file, or "".
        weight_dtype: number format of the UNet, torch's name.
        device: "cpu" or "cuda".
        micro_batch_size: images that are denoised together.
        num_threads: of the CPU in each process; another number changes the last bits.
        gate: the judge that images have to pass, or "".
        max_attempts: seeds that an image may take.
        software: of this program.
        rewords: whether that version knew rewording; where the file does not say, it did not.
    """

    plan_sha256: str
    num_images: int
    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    weight_dtype: str
    device: str
    micro_batch_size: int
    num_threads: int
    gate: str
    max_attempts: int
    software: str
    format: int = FORMAT
    rewords: bool = False


# What a user calls the values that two jobs on one folder may differ in.
NAMES = {
    "plan_sha256": "plan",
    "model_revision": "model",
    "adapter_sha256": "LoRA",
    "software": "version of CXR Studio",
}


class DatasetFolder:
    """Where a data set is made: the images in their splits, and what is known while it is not finished.

    Args:
        directory: of the data set.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / WORK_NAME
        self.progress = self.work / "progress"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be, and keep other jobs out.

        Raises:
            OutputError: another job holds it, it holds something else, or the disk refused it.
        """
        self._check_content()
        try:
            for folder in (self.work / "units", self.progress):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        with locked(self.work / "job.lock") as mine:
            if not mine:
                raise OutputError(f"another job is making {self.directory}; wait for it, or choose another folder")
            self._tidy()
            yield

    def begin(self, wanted: Beginning) -> None:
        """Fix what the job is made from, or see that it is what it was begun with; earlier counts are forgotten.

        Raises:
            OutputError: the folder was begun with something else.
        """
        known = self.read_beginning()
        if known is None:
            with atomic_file(self.work / "job.json") as file:
                file.write(json.dumps(asdict(wanted), indent=2).encode() + b"\n")
        for name in (field.name for field in fields(Beginning)):
            if known is not None and getattr(known, name) != getattr(wanted, name):
                raise OutputError(
                    f"{self.directory} was begun with another {NAMES.get(name, name)}; repeat that command to "
                    "continue it, or choose an empty folder"
                )
        for path in self.progress.glob("*.json"):
            path.unlink(missing_ok=True)

    def read_beginning(self) -> Beginning | None:
        """What the job was begun with; None if it was not.

        Raises:
            OutputError: the file is not of this program.
        """
        path = self.work / "job.json"
        try:
            return Beginning(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
        except (TypeError, ValueError) as error:
            raise OutputError(f"{path} is damaged or of another version; choose an empty folder") from error

    @property
    def begun(self) -> Beginning:
        """What the job, which has begun, was begun with."""
        beginning = self.read_beginning()
        assert beginning is not None, "the job has begun"
        return beginning

    def units(self, plan: Plan) -> list[Unit]:
        """The plan's units of work."""
        return units_of(plan.images, self.directory, self.work / "units")

    def count(self, plan: Plan) -> dict[str, int]:
        """What an earlier run has left, as the units' logs tell it: images finished and failed, seeds rejected."""
        return dict(sum((unit.count() for unit in self.units(plan)), Counter()))

    def forget_work(self) -> None:
        """Remove what only an unfinished data set needs.

        Raises:
            OutputError: the disk refused it.
        """
        try:
            shutil.rmtree(self.work)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_write(self.work, error) from error

    def manifest(self) -> dict[str, Any] | None:
        """The finished data set's manifest; None while there is none.

        Raises:
            OutputError: there is one that is not of this program.
        """
        path = self.directory / MANIFEST_NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} cannot be read as a manifest; choose another folder") from error
        if not isinstance(found, dict) or "plan_sha256" not in found:
            raise OutputError(f"{path} is not that of a data set of this program; choose another folder")
        return found

    def _check_content(self) -> None:
        """Refuse a folder that holds files which are not of a data set."""
        try:
            names = {path.name for path in self.directory.iterdir()} if self.directory.exists() else set()
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        if names and not names & {WORK_NAME, MANIFEST_NAME}:
            raise OutputError(f"{self.directory} holds other files; choose an empty folder")

    def _tidy(self) -> None:
        """Remove what a killed job was writing."""
        for path in self.directory.rglob(f".*{PARTIAL_SUFFIX}"):
            path.unlink(missing_ok=True)
