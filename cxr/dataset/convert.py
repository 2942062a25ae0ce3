"""A finished data set -> DICOM, WebDataset, Parquet or ZIP; every file is whole or not there."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cxr.folders.archive import write_folder_zip, write_zip
from cxr.folders.dataset_manifest import is_without_splits, pair_pictures, read_manifest
from cxr.folders.dataset_reader import FinishedImage, read_dataset
from cxr.folders.metadata import MANIFEST_NAME, describe_image
from cxr.folders.shards import PAIR_PICTURES, name_shards
from cxr.folders.unchanged import unchanged_content
from cxr.generate.planned_image import COUNTERFACTUAL
from cxr.images.atomic import make_folder, write_whole
from cxr.labels.cells import sides_cell
from cxr.request.errors import DataError, OutputError, RequestError
from cxr.request.events import ExportedFile
from cxr.request.recipe import NOT_IN_ALL

FORMATS = ("dicom", "webdataset", "parquet", "zip")
SAID_IN_ZIPS, HEAD_BYTES = b'"digital_source_type"', 64_000  # by each of our manifests, near its beginning
PROGRESS_LINES = 20  # at most, however many files there are

Writers = Mapping[str, Callable[[Path], None]]  # what writes each file of a folder, by its name there


def convert(
    directory: str | Path,
    output: str | Path,
    format: str,
    bits: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Path, ...]:
    """Write a finished data set in another format; the same data set gives the same bytes.

    A run that was killed leaves whole files only, and running it again makes the rest.

    Args:
        directory: what ``python -m cxr dataset`` or ``generate`` wrote.
        output: the folder to write into or, of a ZIP, the file. Files of an earlier export are replaced; anything else
            that lies there is refused.
        format: one of `FORMATS`.
        bits: Bits Stored of DICOM: 8, 12 or 16; None for those of the images.
        say: called with a line now and then.
    Returns:
        The files that were written.
    Raises:
        RequestError: ``format``, ``bits`` or ``output`` is not allowed.
        DataError: the folder is not a finished data set, or holds images that are derived from a picture.
        OutputError: ``output`` holds something else, an image has changed, or the disk refused a file.
    """
    directory, output = Path(directory), Path(output)
    _check_request(directory, output, format, bits)
    images = read_dataset(directory)
    if format == "zip":
        return (_write_zip(directory, images, output),)
    if format != "dicom" and any(image.recipe.is_derived for image in images):
        raise DataError(
            f"{directory} holds images that began from a picture, which are no part of a data set; export them as "
            "dicom or zip"
        )
    writers = (
        _dicom_writers(directory, images, bits) if format == "dicom" else _shard_writers(directory, images, format)
    )
    return _write_all(writers, output, say)


def _check_request(directory: Path, output: Path, format: str, bits: int | None) -> None:
    if format not in FORMATS:
        raise RequestError(f"is {format!r}; use {', '.join(FORMATS)}", field="format")
    if bits is not None and format != "dicom":
        raise RequestError(f"bits are for DICOM; {format} holds the images as they are")
    if Path(os.path.realpath(output)).is_relative_to(os.path.realpath(directory)):
        raise RequestError(f"{output} lies in the data set itself; choose a place outside of it")


def _dicom_writers(directory: Path, images: Sequence[FinishedImage], bits: int | None) -> Writers:
    from cxr.dataset.dicom_folder import check_bits, write_dicom

    check_bits(images, bits)
    origin = "" if is_without_splits(directory) else hashlib.sha256(read_manifest(directory).content).hexdigest()
    write = partial(write_dicom, bits=bits, origin=origin)
    writers: dict[str, Callable[[Path], None]] = {
        f"{image.split}/{image.path.stem}.dcm": partial(write, image=image) for image in images
    }
    for image in _with_pictures(directory, images):  # of what differs, which is not a radiograph: as it is
        writers |= {
            picture.path.relative_to(directory).as_posix(): partial(_copy, picture) for picture in image.beside.values()
        }
    return writers


def _with_pictures(directory: Path, images: Sequence[FinishedImage]) -> Iterator[ExportedFile]:
    """The images as exporters take them; the second of a pair with what differs from the first."""
    has_sides = any(image.labels.sides for image in images)
    listed = {} if is_without_splits(directory) else {file.path: file for file in read_manifest(directory).files}
    for image in images:
        names = pair_pictures(image.patient_id) if image.pair_role == COUNTERFACTUAL else ()
        pictures = [listed[directory / name] for name in names if directory / name in listed]
        sides = {"sides": sides_cell(image.labels)} if has_sides else {}
        file = replace(image.file, metadata=image.file.metadata | sides)
        yield replace(file, beside=dict(zip(PAIR_PICTURES, pictures, strict=False)))


def _copy(file: ExportedFile, path: Path) -> None:
    write_whole(path, unchanged_content(file))


def _shard_writers(directory: Path, images: Sequence[FinishedImage], format: str) -> Writers:
    splits: dict[str, list[ExportedFile]] = {}
    for image, file in zip(images, _with_pictures(directory, images), strict=True):
        splits.setdefault(image.split, []).append(file)
    if format == "webdataset":
        from cxr.folders.webdataset import PAIR_TAR_NAMES, TAR_NAMES, write_tar

        pairs = {split: [file for file in files if file.beside] for split, files in splits.items()}
        tars = {name: partial(write_tar, files=files) for name, files in name_shards(splits, TAR_NAMES).items()}
        of_pairs = name_shards(pairs, PAIR_TAR_NAMES)
        return tars | {name: partial(write_tar, files=files, of_pairs=True) for name, files in of_pairs.items()}
    from cxr.folders.parquet import PARQUET_NAMES, write_parquet

    rows = [file.metadata for files in splits.values() for file in files]
    more = [name for name in (*NOT_IN_ALL, "sides") if any(row.get(name) for row in rows)]
    write = partial(write_parquet, has_pairs=any(image.pair_role for image in images), more=more)
    return {name: partial(write, files=files) for name, files in name_shards(splits, PARQUET_NAMES).items()}


def _write_all(writers: Writers, output: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    _refuse_others(output, writers.keys())
    paths = []
    every = -(-len(writers) // PROGRESS_LINES)
    for number, (name, write) in enumerate(writers.items(), start=1):
        path = output / name
        make_folder(path.parent)
        write(path)
        paths.append(path)
        if number % every == 0 or number == len(writers):
            say(f"{number:,} of {len(writers):,} files, the last is {name}")
    return tuple(paths)


def _refuse_others(output: Path, names: Collection[str]) -> None:
    """Refuse a folder with files that this export will not replace: they would pass for a part of it."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file; name a new or empty folder")
    for path in output.rglob("*"):
        inside = path.relative_to(output)
        # Hidden files are those of the system or of git, and what a killed run has left behind.
        hidden = any(part.startswith(".") for part in inside.parts)
        if not hidden and not path.is_dir() and inside.as_posix() not in names:
            raise OutputError(f"{output} holds {inside}, which is not part of this export; name a new or empty folder")


def _write_zip(directory: Path, images: Sequence[FinishedImage], output: Path) -> Path:
    if output.is_dir():
        raise OutputError(f"{output} is a folder; name the ZIP to write, such as {output / 'dataset.zip'}")
    if output.exists() and output.stat().st_size and not _is_ours(output):
        raise OutputError(f"{output} is not a ZIP of this program; choose another name")
    make_folder(output.parent)
    if is_without_splits(directory):
        write_zip(output, [describe_image(image.path, image.recipe, image.sha256) for image in images])
    else:
        manifest = read_manifest(directory)
        write_folder_zip(output, directory, manifest.files, manifest.content)
    return output


def _is_ours(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MANIFEST_NAME) as manifest:
            return SAID_IN_ZIPS in manifest.read(HEAD_BYTES)  # programs of others have a file of that name, too
    except (zipfile.BadZipFile, KeyError, NotImplementedError, OSError, RuntimeError):
        return False
