"""Units of work: a few neighbouring images each, claimed by one process at a time and remembered line by line.

What a unit's log says is finished stays finished; nothing has to be cleaned up after a kill.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cxr.folders.json_lines import append_line, complete_lines
from cxr.folders.lock import locked
from cxr.folders.metadata import image_name, is_whole, write_image
from cxr.generate.planned_image import PlannedImage, Rejection, rejection_of
from cxr.images.atomic import cannot_write, make_folder
from cxr.images.guarded import reason_of
from cxr.metrics.result import Json
from cxr.request.errors import OutputError
from cxr.request.events import GeneratedImage

UNIT_IMAGES = 16  # at 3.5 s an image, slow for a laptop, just under a minute
CHECK_CHARACTERS = 16
_ROW = b'", "row": '  # before the row of a line


@dataclass(frozen=True)
class Outcome:
    """What has become of one image.

    Args:
        index: number in the data set.
        file_name: in the data set; None if none of its seeds gave an image.
        rejected: seeds that were not taken.
        pixel_sha256: of the pixels alone.
        sha256: of the file.
    """

    index: int
    file_name: str | None
    rejected: tuple[Rejection, ...]
    recipe: Mapping[str, Json] = field(default_factory=dict)
    pixel_sha256: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Unit:
    """Some neighbouring images of a data set, as a store that several processes may look at.

    Args:
        images: what the plan asks for.
        log: its lines, one for each finished image.
    """

    images: tuple[PlannedImage, ...]
    directory: Path
    log: Path

    def claim(self) -> AbstractContextManager[bool]:
        """Keep other processes out; False if one of them is working on it."""
        return locked(self.log)

    def missing(self) -> list[PlannedImage]:
        """What is not there, or not whole."""
        outcomes = self.outcomes()
        return [image for image in self.images if image.index not in outcomes]

    def write(self, image: PlannedImage, made: GeneratedImage, rejected: tuple[Rejection, ...]) -> None:
        """Keep one image in the folder of its split.

        Raises:
            OutputError: the disk refused it.
        """
        name = f"{image.split}/{image_name(image.index, made.seed)}"
        path = self.directory / name
        make_folder(path.parent)
        pixel_sha256 = hashlib.sha256(made.pixels.tobytes()).hexdigest()
        self.add(Outcome(image.index, name, rejected, made.recipe.values, pixel_sha256, write_image(path, made)))

    def give_up(self, image: PlannedImage, rejected: tuple[Rejection, ...]) -> None:
        """Note that none of the seeds has given the image.

        Raises:
            OutputError: the disk refused it.
        """
        self.add(Outcome(image.index, None, rejected))

    def outcomes(self) -> dict[int, Outcome]:
        """What is finished, by index: lines that are whole and whose file is there, unchanged.

        Raises:
            OutputError: a file cannot be read.
        """
        return {outcome.index: outcome for outcome in self._logged() if self._is_there(outcome)}

    def is_logged(self) -> bool:
        """Whether the log has as many lines as there are images; neither they nor the files are read."""
        return len(self._lines()) >= len(self.images)

    def count(self) -> Counter[str]:
        """What the log says: images "finished" and "failed", and seeds "rejected". The files are not read."""
        counts: Counter[str] = Counter()
        for outcome in {outcome.index: outcome for outcome in self._logged()}.values():
            counts["finished" if outcome.file_name else "failed"] += 1
            counts["rejected"] += len(outcome.rejected)
        return counts

    def _logged(self) -> Iterator[Outcome]:
        return (outcome for line in self._lines() if (outcome := _parse(line)) is not None)

    def _lines(self) -> list[bytes]:
        try:
            return complete_lines(self.log)
        except OSError as error:
            raise cannot_write(self.log, error) from error

    def _is_there(self, outcome: Outcome) -> bool:
        if outcome.file_name is None:
            return True  # given up on, after all its seeds
        path = self.directory / outcome.file_name
        try:
            return is_whole(path, outcome.sha256)
        except OSError as error:
            raise OutputError(f"cannot read {path}: {reason_of(error)}") from error

    def add(self, outcome: Outcome) -> None:
        """Remember one image; the line carries its own checksum.

        Raises:
            OutputError: the disk refused it.
        """
        row = asdict(outcome)
        line = {"check": _check(row), "row": row}
        append_line(self.log, json.dumps(line, sort_keys=True, ensure_ascii=False).encode() + b"\n")


def units_of(images: Sequence[PlannedImage], directory: Path, logs: Path) -> list[Unit]:
    """Cut a plan into units.

    Args:
        logs: folder of the units' logs.
    """
    starts = range(0, len(images), UNIT_IMAGES)
    return [
        Unit(tuple(images[start : start + UNIT_IMAGES]), directory, logs / f"{number:06d}.jsonl")
        for number, start in enumerate(starts)
    ]


def unfinished_first(units: Sequence[Unit]) -> list[Unit]:
    """The units in their order, but those whose logs have all images last: new images need not wait for them."""
    return sorted(units, key=Unit.is_logged)


def _parse(line: bytes) -> Outcome | None:
    try:
        entry = json.loads(line)
        row = entry["row"]
        # The row stands in the line as it was hashed; to write it once more takes longer than all the rest.
        written = line[line.find(_ROW) + len(_ROW) : -1]
        if entry["check"] != _digest(written) and entry["check"] != _check(row):
            return None
        # Lines of version 0.6.0 have no kind.
        rejected = tuple(Rejection(**vars(rejection_of(one["seed"], one["reason"])) | one) for one in row["rejected"])
        return Outcome(**row | {"rejected": rejected})
    except (ValueError, TypeError, KeyError):
        return None


def _check(row: Mapping[str, Json]) -> str:
    return _digest(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:CHECK_CHARACTERS]
