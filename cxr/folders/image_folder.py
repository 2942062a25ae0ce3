"""Images -> a folder that can be continued: one PNG each and one line of ``metadata.jsonl`` each.

A PNG is complete from the moment it has its name, and its line follows. So a run may be killed at any time: the next
one keeps every finished image, and ends with the same bytes as an undisturbed run.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from types import TracebackType

from cxr.folders.dataset_manifest import is_dataset
from cxr.folders.json_lines import append_line, complete_lines
from cxr.folders.lock import locked
from cxr.folders.metadata import (
    IMAGE_NAME,
    METADATA_NAME,
    adopt_image,
    describe_image,
    image_index,
    image_name,
    is_whole,
    metadata_line,
    metadata_lines,
    parse_line,
    write_image,
)
from cxr.images.atomic import PARTIAL_SUFFIX, atomic_file, cannot_write
from cxr.images.guarded import open_regular
from cxr.request.errors import OutputError
from cxr.request.events import ExportedFile, GeneratedImage
from cxr.request.recipe import BEFORE, RECIPE_FIELDS, Recipe

# Two images whose recipes differ in these alone answer the same request; each row says what made it.
CIRCUMSTANCES = {
    *("library_versions", "device", "weight_dtype", "micro_batch_size", "num_threads", "engine"),
    "sent_prompt",
}


# Suffixes of exports and names of reports, in whose folders images would be taken for a part of them.
EXPORTS, REPORT_NAME = {".dcm", ".parquet", ".tar"}, "report.json"


class ImageFolder:
    """A folder of generated images that is written to, and continued, one image at a time.

    Used as a context manager it keeps other runs out until it is closed. Damaged or deleted images count as not made;
    the line of a changed one stays until it is made again, so that nothing takes what lies there for it.

    Args:
        directory: the folder; made, with its parents, if it does not exist.
    Raises:
        OutputError: the folder cannot be written, another run is writing into it, or its ``metadata.jsonl`` is of
            another program.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._metadata_path = self.directory / METADATA_NAME
        _refuse_finished(self.directory, is_begun=self._metadata_path.exists())
        with contextlib.ExitStack() as held:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                if not held.enter_context(locked(self.directory)):
                    raise OutputError(
                        f"another run is writing into {directory}; wait until it ends or choose another folder"
                    )
                self._changed: dict[int, ExportedFile] = {}  # there, and no longer as their lines say
                self._files = self._read()
                self._settle()
            except OSError as error:
                raise cannot_write(self.directory, error) from error
            self._held = held.pop_all()

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        return tuple(self._files[index] for index in sorted(self._files))

    def completed(self, index: int, recipe: Recipe) -> ExportedFile | None:
        """Find image ``index`` if it is finished.

        Args:
            index: number of the image in the folder, from 0.
            recipe: what it should be made from; libraries, device and number format may differ.
        Returns:
            The finished image, or None when it has still to be made.
        Raises:
            OutputError: image ``index`` is there but was made from something else.
        """
        found = self._files.get(index)
        if found is None:
            return None
        for name in RECIPE_FIELDS:
            then = found.metadata.get(name, BEFORE.get(name))
            if name not in CIRCUMSTANCES and then != getattr(recipe, name):
                # Prompts stay out of messages: they end up in logs.
                raise OutputError(
                    f"{found.path} was made with another {name}; repeat that request to continue it, "
                    "or choose an empty folder"
                )
        return found

    def write(self, image: GeneratedImage) -> ExportedFile:
        """Write one image and its metadata line; does nothing if it is there already.

        Raises:
            OutputError: the disk refused it, or the folder holds another image of this index.
        """
        if found := self.completed(image.index, image.recipe):
            return found
        path = self.directory / image_name(image.index, image.seed)
        written = describe_image(path, image.recipe, write_image(path, image))
        append_line(self._metadata_path, metadata_line(written))
        self._files[image.index] = written
        return written

    def close(self) -> None:
        """Put the metadata lines in the images' order and let other runs in."""
        with self._held:
            self._settle()

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an exception that is already being raised is not replaced by another."""
        if error is None:
            self.close()
            return
        with contextlib.suppress(OutputError):
            self.close()
        if isinstance(error, OSError):  # the folder is gone, or something else lies where a file should be
            raise cannot_write(self.directory, error) from error

    def _read(self) -> dict[int, ExportedFile]:
        """Collect the images that are whole, from their lines or, where a line is missing, from themselves."""
        files: dict[int, ExportedFile] = {}
        for number, line in enumerate(complete_lines(self._metadata_path), start=1):
            file = parse_line(line, self.directory)
            if file is None:
                raise OutputError(
                    f"{self._metadata_path} line {number} was not written by this program; choose another folder"
                )
            if is_whole(file.path, file.sha256):
                files[image_index(file.path)] = file
            elif file.path.is_file():
                self._changed[image_index(file.path)] = file
        for path in sorted(self.directory.glob("*.png")):
            # A run was killed after the image got its name and before its line was written.
            ours = IMAGE_NAME.fullmatch(path.name) and path.is_file()
            is_listed = ours and image_index(path) in files.keys() | self._changed.keys()
            if ours and not is_listed and (adopted := adopt_image(path)):
                files[image_index(path)] = adopted
        for path in self.directory.glob(f".*{PARTIAL_SUFFIX}"):
            name = path.name[1:].removesuffix(PARTIAL_SUFFIX)
            if name == METADATA_NAME or IMAGE_NAME.fullmatch(name):
                path.unlink()
        return files

    def _settle(self) -> None:
        """Rewrite ``metadata.jsonl`` if it is not exactly the lines of the images that are there, by index."""
        there = self._changed | self._files
        wanted = metadata_lines(there[index] for index in sorted(there))
        try:
            with open_regular(self._metadata_path) as file:
                settled = file.read() == wanted
        except FileNotFoundError:
            settled = not wanted
        if not settled:
            with atomic_file(self._metadata_path) as file:
                file.write(wanted)


def _refuse_finished(directory: Path, *, is_begun: bool) -> None:
    """Refuse a folder that is finished as it is: its readers would miss more images, or take them for its own.

    One that was begun with images may hold their export in a folder of it.
    """
    inside = (place for place in (directory, directory.absolute().parent) if is_dataset(place))
    if place := next(inside, None):
        raise OutputError(f"{place} is a data set, in which more images would not be seen; choose another folder")
    if is_begun:
        return
    for path in itertools.chain(directory.glob("*"), directory.glob("*/*")):
        if path.suffix.lower() in EXPORTS or path.name == REPORT_NAME:
            what = "a report" if path.name == REPORT_NAME else "an export"
            raise OutputError(
                f"{directory} holds {what} ({path.relative_to(directory)}), of which more images would seem to be a "
                "part; choose another folder"
            )
