"""After a LoRA is trained: does it draw its training patients? What is found becomes part of the LoRA's file.

Fine-tuning on few images is where diffusion models learn patients by heart (arXiv 2402.01054), so whoever is handed
the file should be able to read how it fared.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from cxr.evaluate.copies import check_copies
from cxr.evaluate.copy_native import native_arrays, native_files
from cxr.evaluate.copy_set import CopySet, Embed
from cxr.evaluate.extractors.extractor import embed
from cxr.evaluate.extractors.registry import load_own
from cxr.evaluate.fixed_prompts import matched_requests
from cxr.evaluate.image_set import short_names
from cxr.folders.metadata import hash_files
from cxr.generate.images import generate
from cxr.generate.model import load_model
from cxr.images.pixels import to_8_bits
from cxr.images.squares import fit_square, read_squares
from cxr.judges.judge import SMALL
from cxr.judges.networks import SIZE
from cxr.labels.radiograph import Radiograph
from cxr.lora.find import WEIGHTS_NAME
from cxr.metrics.result import JsonObject, to_plain
from cxr.request.errors import DataError
from cxr.request.events import GeneratedImage, GreyLevels

METADATA_KEY = "copy_check"
NUM_IMAGES = 48


def check_lora(
    adapter: Path, model: Path, training: Sequence[Radiograph], held_out: Sequence[Radiograph]
) -> JsonObject:
    """Ask for the training images' labels, look for copies, and write the outcome into the file's metadata.

    Args:
        adapter: folder of the LoRA.
        model: folder of the base in diffusers format.
        training: what the LoRA has learnt from.
        held_out: radiographs of other patients, which set the scale.
    Returns:
        By space: share flagged, its upper end, and the same of planted copies; or why it was not checked.
    """
    try:
        outcome = _search(adapter, model, training, held_out)
    except DataError as error:
        outcome = {"not_checked": str(error)}
    _write_metadata(adapter / WEIGHTS_NAME, outcome)
    return outcome


def _search(adapter: Path, model: Path, training: Sequence[Radiograph], held_out: Sequence[Radiograph]) -> JsonObject:
    if not held_out:
        raise DataError("no patient is held out, so there is nothing to show how near images of other patients come")
    images = _draw(adapter, model, training[:: max(1, len(training) // NUM_IMAGES)][:NUM_IMAGES])
    drawn = np.stack([fit_square(image, SIZE) for image in images])
    names = tuple(f"image {number}" for number in range(len(drawn)))
    features_of = functools.partial(embed, extractor=load_own(SMALL))
    report = check_copies(
        CopySet(drawn, {SMALL: features_of(drawn)}, names, names, native_arrays(images)),
        _real(training, features_of),
        _real(held_out, features_of),
        [record.patient_id for record in held_out],
        embed={SMALL: features_of},
    )
    spaces = {
        space["name"]: {
            "flagged": space["flagged"].value,
            "flagged_upper": space["flagged"].high,
            "planted_copies_flagged": _mean(row["spaces"][space["name"]] for row in report["control"]),
        }
        for space in report["spaces"]
    }
    facts = {
        "num_images": len(drawn),
        "num_training": len(training),
        "near_exact": report["near_exact"],
        "native": report["native"],
    }
    plain: JsonObject = to_plain(facts | {"spaces": spaces})
    return plain


def _mean(shares: Iterable[float]) -> float:
    known = [share for share in shares if math.isfinite(share)]
    return float(np.mean(known)) if known else math.nan


def _draw(adapter: Path, model: Path, records: Sequence[Radiograph]) -> list[NDArray[np.uint8]]:
    loaded = load_model(str(model), f"local:{adapter}")
    images: list[GreyLevels] = []
    for request in matched_requests(records):
        images += [event.pixels for event in generate(request, loaded) if isinstance(event, GeneratedImage)]
    return [to_8_bits(image) for image in images]


def _real(records: Sequence[Radiograph], features_of: Embed) -> CopySet:
    paths = [record.path for record in records]
    pixels = read_squares(paths, SIZE)
    hashes = tuple(hash_files(paths))
    return CopySet(pixels, {SMALL: features_of(pixels)}, short_names(paths), hashes, native_files(paths))


def _write_metadata(path: Path, outcome: JsonObject) -> None:
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    save_file(tensors, path, metadata | {METADATA_KEY: json.dumps(outcome, sort_keys=True)})
