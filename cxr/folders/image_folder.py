"""Images -> a folder that can be continued: one PNG each and one line of ``metadata.jsonl`` each.

A PNG is complete from the moment it has its name, and its line follows. So a run may be killed at any time: the next
one keeps every finished image, and ends with the same bytes as a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from types import TracebackType

from cxr.folders.metadata import (
    IMAGE_NAME,
    METADATA_NAME,
    adopt_image,
    describe_image,
    file_sha256,
    image_index,
    image_name,
    metadata_line,
    metadata_lines,
    parse_line,
)
from cxr.images.atomic import PARTIAL_SUFFIX, atomic_file, cannot_write
from cxr.images.png import encode_png
from cxr.request.errors import DataError, OutputError
from cxr.request.events import ExportedFile, GeneratedImage
from cxr.request.recipe import Recipe

if sys.platform != "win32":
    import fcntl

# Two images whose recipes differ in these alone answer the same request; each row says what made it.
CIRCUMSTANCES = {"library_versions", "device", "weight_dtype", "micro_batch_size", "num_threads"}


class ImageFolder:
    """A folder of generated images that is written to, and continued, one image at a time.

    Used as a context manager it keeps other runs out until it is closed. Damaged or deleted images count as not made.

    Args:
        directory: the folder; made, with its parents, if it does not exist.
    Raises:
        OutputError: the folder cannot be written, another run is writing into it, or its ``metadata.jsonl`` is of
            another program.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._lock: int | None = None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_folder(self.directory)
            self._files = self._read()
            self._settle()
        except OSError as error:
            self._unlock()
            raise cannot_write(self.directory, error) from error
        except BaseException:
            self._unlock()
            raise

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """The finished images, by index."""
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
        for name, value in recipe.values.items():
            if name not in CIRCUMSTANCES and found.metadata[name] != value:
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
        data = encode_png(image)
        with atomic_file(path) as file:
            file.write(data)
        written = describe_image(path, image.recipe, hashlib.sha256(data).hexdigest())
        self._append(metadata_line(written))
        self._files[image.index] = written
        return written

    def close(self) -> None:
        """Put the metadata lines in the images' order and let other runs in."""
        try:
            self._settle()
        finally:
            self._unlock()

    def __enter__(self) -> ImageFolder:
        """Return the folder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an error that is already on its way out is not covered up by another."""
        if error is None:
            self.close()
            return
        with contextlib.suppress(OutputError):
            self.close()

    @property
    def _metadata_path(self) -> Path:
        return self.directory / METADATA_NAME

    def _read(self) -> dict[int, ExportedFile]:
        """Collect the images that are whole, from their lines or, where a line is missing, from themselves."""
        files: dict[int, ExportedFile] = {}
        for number, line in enumerate(self._complete_lines(), start=1):
            file = parse_line(line, self.directory)
            if file is None:
                raise OutputError(
                    f"{self._metadata_path} line {number} was not written by this program; choose another folder"
                )
            if file.path.is_file() and file_sha256(file.path) == file.sha256:
                files[image_index(file.path)] = file
        for path in sorted(self.directory.glob("*.png")):
            # A run was killed after the image got its name and before its line was written.
            ours = IMAGE_NAME.fullmatch(path.name) and path.is_file()
            if ours and image_index(path) not in files and (adopted := adopt_image(path)):
                files[image_index(path)] = adopted
        for path in self.directory.glob(f".*{PARTIAL_SUFFIX}"):
            name = path.name[1:].removesuffix(PARTIAL_SUFFIX)
            if name == METADATA_NAME or IMAGE_NAME.fullmatch(name):
                path.unlink()
        return files

    def _complete_lines(self) -> list[bytes]:
        """The lines of ``metadata.jsonl``, without a last one that a power loss cut short."""
        try:
            *lines, tail = self._metadata_path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        with contextlib.suppress(ValueError):  # cut short, or empty as it should be
            json.loads(tail)
            lines.append(tail)
        return lines

    def _settle(self) -> None:
        """Rewrite ``metadata.jsonl`` if it is not exactly the finished images' lines, by index."""
        wanted = metadata_lines(self.files)
        try:
            settled = self._metadata_path.read_bytes() == wanted
        except FileNotFoundError:
            settled = not wanted
        if not settled:
            with atomic_file(self._metadata_path) as file:
                file.write(wanted)

    def _append(self, line: bytes) -> None:
        """Add one line and bring it to disk; a line that does not fit is taken back."""
        try:
            descriptor = os.open(self._metadata_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                length = os.fstat(descriptor).st_size
                try:
                    while line:
                        line = line[os.write(descriptor, line) :]
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, length)
                    raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(self._metadata_path, error) from error

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # the system drops the lock with the descriptor, also when a run is killed
            self._lock = None


def finished_images(directory: Path) -> tuple[ExportedFile, ...]:
    """The images of a folder that is only to be read, by index.

    Raises:
        DataError: there are none.
    """
    if directory.is_dir():
        with ImageFolder(directory) as folder:
            if folder.files:
                return folder.files
    raise DataError(f"{directory} holds no images that python -m cxr generate wrote")


def _lock_folder(directory: Path) -> int | None:
    """Keep other runs out of a folder; the lock needs no file and ends with this process, however that ends."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutputError(
            f"another run is writing into {directory}; wait until it ends or choose another folder"
        ) from error
    except OSError:
        pass  # some network file systems cannot lock folders; then nothing guards against a second run
    return descriptor
