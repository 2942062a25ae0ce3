"""Images -> Parquet as Hugging Face ``datasets`` reads it: the PNGs inside the table, beside what is known of them.

Source: https://huggingface.co/docs/hub/datasets-image ("Parquet format") and the Features of ``datasets``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from cxr.folders.shards import PAIR_PICTURES, cut
from cxr.folders.unchanged import unchanged_content
from cxr.images.atomic import atomic_file
from cxr.request.events import ExportedFile
from cxr.request.recipe import BEFORE, NOT_IN_ALL, RECIPE_FIELDS

# Of these names the Hub and ``datasets.load_dataset`` know the splits.
PARQUET_NAMES = "data/{split}-{number:05d}-of-{count:05d}.parquet"
# A row group is held in memory as a whole, some times over, here and by whoever reads it.
GROUP_IMAGES = 100
GROUP_BYTES = 16_000_000

_DTYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}
# The row without library_versions, which is a table of its own; it is in each PNG's recipe.
COLUMNS: dict[str, str] = {
    "file_name": "string",
    **{name: _DTYPES[kind] for name, kind in RECIPE_FIELDS.items() if kind in _DTYPES and name not in NOT_IN_ALL},
    "patient_id": "string",
    "age": "int64",
    "sex": "string",
    "view": "string",
    "sha256": "string",
}


def write_parquet(
    path: Path,
    files: Sequence[ExportedFile],
    group_images: int = GROUP_IMAGES,
    *,
    has_pairs: bool = False,
    more: Sequence[str] = (),
) -> None:
    """Write one Parquet file; with one version of pyarrow the same images give the same bytes.

    Args:
        path: appears only once it is complete.
        files: images with their metadata rows.
        group_images: largest number of images in a row group.
        has_pairs: whether the data set has pairs: then all its files have the columns pair_role, difference and mask,
            the last two empty but for the second image of a pair.
        more: of `NOT_IN_ALL`, what recipes of the data set hold, and "sides" if findings have some: all its files have
            these columns.
    Raises:
        OutputError: an image has changed since it was written, or the disk refused the file.
    """
    schema = table_schema(has_pairs=has_pairs, more=more)
    # Not compressed: PNGs are already, and the rest is small once equal values are stored once.
    settings = {"compression": "none", "use_dictionary": [*COLUMNS], "write_statistics": [*COLUMNS]}
    with atomic_file(path) as file, parquet.ParquetWriter(file, schema, **settings) as writer:
        for group in cut(files, group_images, GROUP_BYTES):
            columns: dict[str, list[object]] = {name: [image.metadata.get(name) for image in group] for name in COLUMNS}
            columns |= {name: [image.metadata.get(name, BEFORE.get(name, "")) for image in group] for name in more}
            columns["findings"] = [image.metadata["findings"] for image in group]
            columns["image"] = [_picture(image) for image in group]
            if has_pairs:
                columns["pair_role"] = [str(image.metadata.get("pair_role") or "") for image in group]
                for name in PAIR_PICTURES:
                    columns[name] = [_picture(image.beside.get(name)) for image in group]
            writer.write_table(pa.table(columns, schema=schema))  # each call begins a row group


def _picture(file: ExportedFile | None) -> dict[str, object] | None:
    return None if file is None else {"bytes": unchanged_content(file), "path": file.path.name}


def table_schema(*, has_pairs: bool = False, more: Sequence[str] = ()) -> Any:
    """The columns as Arrow types, and for ``datasets`` as its own features."""
    names = COLUMNS | ({"pair_role": "string"} if has_pairs else {})
    names |= {name: _DTYPES[RECIPE_FIELDS.get(name, str)] for name in more}
    pictures = PAIR_PICTURES if has_pairs else ()
    types = {name: pa.type_for_alias(dtype) for name, dtype in names.items()}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features: dict[str, object] = {name: {"dtype": dtype, "_type": "Value"} for name, dtype in names.items()}
    # A list in brackets is what every version of datasets reads; the classes for it have changed their names.
    features = {"image": {"_type": "Image"}, "findings": [{"dtype": "string", "_type": "Value"}], **features}
    features |= {name: {"_type": "Image"} for name in pictures}
    return pa.schema(
        [("image", image), ("findings", pa.list_(pa.string())), *types.items(), *((name, image) for name in pictures)],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
