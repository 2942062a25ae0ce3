"""The folder of a data set while it is made: what was begun, so that only the same job goes on, and one at a time."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cxr.dataset.beginning import Beginning, beginning_of, check_beginning
from cxr.dataset.plan import Plan
from cxr.dataset.reopen import write_logs
from cxr.dataset.unit_log import Unit, units_of
from cxr.folders.dataset_manifest import WORK_NAME, Manifest, read_manifest
from cxr.folders.lock import locked
from cxr.folders.metadata import MANIFEST_NAME
from cxr.images.atomic import PARTIAL_SUFFIX, atomic_file, cannot_write
from cxr.images.guarded import open_regular, reason_of
from cxr.request.errors import DataError, OutputError

BEGINNING_NAME = "job.json"


class DatasetFolder:
    """Where a data set is made: the images in their splits, and what is known while it is not finished."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / WORK_NAME
        self.progress = self.work / "progress"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if necessary, and keep other jobs out.

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
            try:
                self._tidy()
                yield
            except OSError as error:  # the folder is gone, or something else lies where a file should be
                raise cannot_write(self.directory, error) from error

    def begin(self, wanted: Beginning) -> None:
        """Record what the job is made from, or check that it is what it was begun with; earlier counts are forgotten.

        Raises:
            OutputError: the folder was begun with something else, or nobody knows with what.
        """
        known = self.read_beginning()
        if known is None:
            if any((self.work / "units").glob("*.jsonl")):  # what they list may be images of another plan
                raise OutputError(
                    f"{self.work / BEGINNING_NAME} is missing, though images are there; choose an empty folder"
                )
            self._write_beginning(wanted)
        else:
            check_beginning(self.directory, known, wanted)
        for path in self.progress.glob("*.json"):
            path.unlink(missing_ok=True)

    def reopen(self, manifest: Manifest, plan: Plan) -> None:
        """Turn a finished data set into an unfinished one, so that its missing files are made again.

        Raises:
            OutputError: the disk refused it.
        """
        self._write_beginning(beginning_of(manifest))
        write_logs(self.directory, manifest, self.units(plan))
        (self.directory / MANIFEST_NAME).unlink()

    def read_beginning(self) -> Beginning | None:
        """What the job was begun with; None if it was not.

        Raises:
            OutputError: the file is not of this program.
        """
        path = self.work / BEGINNING_NAME
        try:
            with open_regular(path) as file:
                return Beginning(**json.load(file))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"cannot read {path}: {reason_of(error)}") from error
        except (TypeError, ValueError) as error:
            raise OutputError(f"{path} is damaged or of another version; choose an empty folder") from error

    @property
    def begun(self) -> Beginning:
        """What the job, which has begun, was begun with.

        Raises:
            OutputError: it is gone.
        """
        beginning = self.read_beginning()
        if beginning is None:
            raise OutputError(f"cannot read {self.work}: it has been removed; the same command starts again")
        return beginning

    def units(self, plan: Plan) -> list[Unit]:
        return units_of(plan.images, self.directory, self.work / "units")

    def count(self, plan: Plan) -> dict[str, int]:
        """What an earlier run has left, as the units' logs have it: images finished and failed, seeds rejected."""
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

    def manifest(self) -> Manifest | None:
        """The finished data set's manifest; None while there is none.

        Raises:
            OutputError: there is one that is not of this program.
        """
        path = self.directory / MANIFEST_NAME
        if not path.exists():
            return None
        try:
            found = read_manifest(self.directory)
            beginning_of(found)
        except (DataError, TypeError, KeyError) as error:
            raise OutputError(f"{path} is not that of a data set of this program; choose another folder") from error
        return found

    def _write_beginning(self, beginning: Beginning) -> None:
        with atomic_file(self.work / BEGINNING_NAME) as file:
            file.write(json.dumps(beginning.facts, indent=2).encode() + b"\n")

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
