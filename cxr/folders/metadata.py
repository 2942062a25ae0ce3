"""Names of images and lines of ``metadata.jsonl``: how an image and its recipe are found again."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from cxr.images.atomic import atomic_file
from cxr.images.guarded import open_regular, read_regular, reason_of
from cxr.images.png import encode_png, read_recipe
from cxr.images.png_signature import unsigned_pieces
from cxr.request.errors import DataError, RequestError
from cxr.request.events import ExportedFile, GeneratedImage
from cxr.request.recipe import RECORDED_LIBRARIES, Recipe
from cxr.request.strict_json import unique_names

MAX_IMAGE_BYTES = 256_000_000
METADATA_NAME, MANIFEST_NAME, LABELS_NAME = "metadata.jsonl", "manifest.json", "labels.csv"
CHECKSUMS_NAME = "SHA256SUMS"  # of a signed folder, with its signature and the signer's certificates
CHECKSUMS_NAMES = (CHECKSUMS_NAME, f"{CHECKSUMS_NAME}.sig", f"{CHECKSUMS_NAME}.pem")
IMAGE_NAME = re.compile(r"(?P<index>\d{6,})_(?P<seed>\d+)\.png")


def image_name(index: int, seed: int) -> str:
    """File name of one image; made of numbers alone, never of a prompt."""
    return f"{index:06d}_{seed}.png"


def write_image(path: Path, image: GeneratedImage) -> str:
    """Write one image as a PNG, whole or not at all; gives the file's SHA-256.

    Raises:
        OutputError: the disk refused it.
    """
    data = encode_png(image)
    with atomic_file(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def metadata_line(file: ExportedFile) -> bytes:
    """One line of ``metadata.jsonl``."""
    return json.dumps(file.metadata, ensure_ascii=False).encode() + b"\n"


def metadata_lines(files: Iterable[ExportedFile]) -> bytes:
    """Content of ``metadata.jsonl`` for these images."""
    return b"".join(metadata_line(file) for file in files)


def describe_image(path: Path, recipe: Recipe, sha256: str) -> ExportedFile:
    """The record of a written image: its metadata names the file first, then the recipe, then the file's SHA-256."""
    return ExportedFile(path, sha256, {"file_name": path.name, **recipe.values, "sha256": sha256})


def parse_line(line: bytes, directory: Path) -> ExportedFile | None:
    """Read one metadata line; None if it is not one of this program."""
    try:
        row = json.loads(line, object_pairs_hook=unique_names)
        name, sha256 = row.pop("file_name"), row.pop("sha256")
        if not IMAGE_NAME.fullmatch(name):
            return None
        return describe_image(directory / name, Recipe.from_values(row), sha256)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, RequestError):
        return None


def adopt_image(path: Path) -> ExportedFile | None:
    """Describe an image that has no metadata line; None if it is damaged or not what its name says."""
    try:
        data = read_regular(path, MAX_IMAGE_BYTES)
        recipe = read_recipe(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()  # also checks that nothing is cut off
    except (DataError, OSError, SyntaxError, ValueError):
        return None
    versions = recipe.library_versions
    recorded = {name: versions[name] for name in RECORDED_LIBRARIES if name in versions}
    recipe = replace(recipe, library_versions=recorded | versions)  # as its line would have been written
    # Compared as text, so that a number with other leading zeros is not taken for ours.
    if path.name != image_name(image_index(path), recipe.seed):
        return None
    return describe_image(path, recipe, hashlib.sha256(b"".join(unsigned_pieces(io.BytesIO(data)))).hexdigest())


def image_index(path: Path) -> int:
    """Number of an image in its folder, from its name."""
    return int(path.name.partition("_")[0])


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there and unchanged since it was written."""
    return path.is_file() and file_sha256(path) == sha256


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; of a PNG without its C2PA manifest, so that signing changes no table.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        for piece in unsigned_pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def hash_files(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file, in hex.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(file_sha256, paths))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {reason_of(error)}") from error
