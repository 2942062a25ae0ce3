"""What the manifest of a data set says of the whole, against its images and tables: each fault is one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from cxr import __version__
from cxr.dataset.beginning import Beginning
from cxr.dataset.card import plain
from cxr.dataset.gate import GATE_NAME
from cxr.dataset.pairs import TABLE_NAME, changes, pairs_of
from cxr.dataset.rejections import REJECTED_NAME, pass_rates
from cxr.folders.dataset_manifest import FORMAT, Manifest, is_listed_image, pair_pictures
from cxr.folders.dataset_reader import FinishedImage
from cxr.folders.metadata import LABELS_NAME, MANIFEST_NAME
from cxr.folders.tables import read_rows
from cxr.generate.planned_image import Rejection
from cxr.images.guarded import read_or_refuse
from cxr.images.png_signature import unsigned_size
from cxr.request.errors import DataError
from cxr.request.messages import shown_names
from cxr.request.notices import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE
from cxr.request.recipe import PYTORCH

CARD_NAME = "README.md"
MAX_CARD_BYTES = 10_000_000
IN_ALL_SETS = (CARD_NAME, LABELS_NAME, "plots/counts.png", "plots/samples.png")
SAME_IN_ALL = ("model", "model_revision", "adapter", "adapter_sha256", "device", "engine")
# What every manifest says, and what those of older versions, or of PyTorch, do not.
SUMMARY = {"name", "library_versions", "num_failed", "num_rejected", "pass_rates"}
FACTS = {field.name for field in fields(Beginning)} | SUMMARY | {"notice", "digital_source_type", "files"}
NOT_IN_ALL, NOT_IN_OLDER = {"engine"}, {"engine", "rewords"}
# What the card repeats; cards of older versions do not say the second.
NAME_ON_CARD, ATTEMPTS_ON_CARD = re.compile(r"^# (.*)$", re.MULTILINE), re.compile(r"of at most (\d+) for an image")

Rejected = Mapping[int, tuple[Rejection, ...]]


def wrong_facts(
    directory: Path, manifest: Manifest, images: Sequence[FinishedImage], rejected: Rejected
) -> Iterator[str]:
    """What the manifest omits, says about nothing that exists, or says differently from the rest of the folder."""
    facts, path = {"engine": PYTORCH, **manifest.facts}, directory / MANIFEST_NAME
    left_out = NOT_IN_ALL if _is_ours(facts) else NOT_IN_OLDER
    yield from (f"{path} does not say {name}" for name in sorted(FACTS - left_out - facts.keys()))
    if unknown := sorted(facts.keys() - FACTS):
        yield f"{path} says {shown_names(unknown)}, which no data set has"
    wanted = _facts_of(facts, images, rejected)
    num_listed = sum(map(is_listed_image, manifest.files))  # some may be missing, which is said
    wanted["num_images"] = [*wanted["num_images"], num_listed]
    for name, values in wanted.items():
        if name in facts and _text(facts[name]) not in map(_text, values):
            yield f"{path} says {name} is {shown_names([facts[name]])[:80]}, its images say otherwise"
    listed = {file.path for file in manifest.files}
    for name in _needed(images, rejected):
        if directory / name not in listed:
            yield f"{path} does not list {name}"
    for file in manifest.files:
        size = file.metadata.get("size_bytes")
        if file.path.is_file() and (isinstance(size, float) or size != unsigned_size(file.path)):
            yield f"{path} gives another size for {file.path}"
        if unknown := sorted(file.metadata.keys() - {"file_name", "sha256", "size_bytes"}):
            yield f"{path} says {shown_names(unknown)} of {file.path}, which no data set has"
    yield from _wrong_card(directory / CARD_NAME, facts)
    yield from _wrong_pairs(directory, images)


def _is_ours(facts: Mapping[str, object]) -> bool:
    return facts.get("software") == __version__


def _text(value: object) -> str:
    """Equal only for equal values of the same kind: 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


def _facts_of(
    facts: Mapping[str, object], images: Sequence[FinishedImage], rejected: Rejected
) -> dict[str, Sequence[object]]:
    """The values that each fact of the manifest may have."""
    recipes = [image.recipe for image in images]
    failed = {*rejected} - {image.index for image in images}
    gated = any(one.kind == "gate" for seeds in rejected.values() for one in seeds)
    threads = {recipe.num_threads for recipe in recipes} - {0}
    attempts = max([len(seeds) + (index not in failed) for index, seeds in rejected.items()], default=1)
    wanted: dict[str, Sequence[object]] = {name: _only(recipes, name) for name in SAME_IN_ALL}
    wanted |= {
        "format": [FORMAT],
        "num_images": [len(images)],
        "num_failed": [len(failed)],
        "num_rejected": [sum(map(len, rejected.values()))],
        "gate": [GATE_NAME] if gated else [GATE_NAME, ""],
        "notice": [SYNTHETIC_NOTICE],
        "digital_source_type": [DIGITAL_SOURCE_TYPE],
        "library_versions": [recipes[0].library_versions],
        # An image whose values leave a small format is made in float32.
        "weight_dtype": sorted({recipe.weight_dtype for recipe in recipes} - {"float32"}) or ["float32"],
        "rewords": [True] if any(recipe.reword for recipe in recipes) or _is_ours(facts) else [True, False],
        "name": [facts.get("name")] if isinstance(facts.get("name"), str) else [],
        "max_attempts": [given] if type(given := facts.get("max_attempts")) is int and given >= attempts else [],
    }
    if threads:  # on a GPU they are not recorded, and a micro-batch is halved where memory runs out
        wanted |= {"num_threads": [*threads], "micro_batch_size": _only(recipes, "micro_batch_size")}
    if software := _only([recipe.library_versions for recipe in recipes], "cxr"):
        wanted["software"] = software
    if not failed:
        tried = [(image.labels.findings, rejected.get(image.index, ()), True) for image in images]
        wanted["pass_rates"] = [pass_rates(tried) if facts.get("gate") else {}]
    if not re.fullmatch(r"[0-9a-f]{64}", str(facts.get("plan_sha256"))):
        wanted["plan_sha256"] = []
    return wanted


def _only(values: Sequence[object], name: str) -> list[object]:
    """The value that all have; nothing if they differ."""
    found = [value.get(name) if isinstance(value, Mapping) else getattr(value, name) for value in values]
    return [found[0]] if found[0] is not None and all(value == found[0] for value in found) else []


def _needed(images: Sequence[FinishedImage], rejected: Rejected) -> Iterator[str]:
    """Files that a set of such images has beside them."""
    yield from IN_ALL_SETS
    if rejected:
        yield REJECTED_NAME
    if pairs := pairs_of(images):
        yield TABLE_NAME
    for one, _ in pairs:
        yield from pair_pictures(one.patient_id)


def _wrong_card(path: Path, facts: Mapping[str, object]) -> Iterator[str]:
    try:
        card = read_or_refuse(path, MAX_CARD_BYTES).decode("utf-8", "replace")
    except DataError:
        return  # that is said already
    name, attempts = NAME_ON_CARD.search(card), ATTEMPTS_ON_CARD.search(card)
    if name is None or name[1] != plain(str(facts.get("name"))):
        yield f"{path} has another name than {MANIFEST_NAME}"
    if attempts and attempts[1] != str(facts.get("max_attempts")):
        yield f"{path} says another max_attempts than {MANIFEST_NAME}"


def _wrong_pairs(directory: Path, images: Sequence[FinishedImage]) -> Iterator[str]:
    """Rows of the table of pairs that are not those of the images; its figures are not measured again."""
    path = directory / TABLE_NAME
    wanted = [
        {"patient_id": one.patient_id, "factual": _name(directory, one), "counterfactual": _name(directory, two)}
        | {"changed": changes(one.labels, two.labels, in_region=bool(two.recipe.surrounding_prompt))}
        for one, two in pairs_of(images)
    ]
    try:
        rows = [row for _, row in read_rows(path)] if path.is_file() else []
    except DataError as error:
        yield str(error)
        return
    if path.is_file() and [{name: row.get(name) for name in wanted[0]} for row in rows if wanted] != wanted:
        yield f"{path} has other pairs than the metadata"


def _name(directory: Path, image: FinishedImage) -> str:
    return image.path.relative_to(directory).as_posix()
