"""What stands beside the images of a data set: metadata of each split, label tables, card, plots, manifest.

The same plan, model and software give the same bytes, however often the job was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxr.dataset.beginning import Beginning
from cxr.dataset.card import card_files
from cxr.dataset.label_columns import LABEL_COLUMNS, label_row
from cxr.dataset.pairs import write_pairs
from cxr.dataset.plan import Plan
from cxr.dataset.rejections import REJECTED_NAME, pass_rates, rejected_table
from cxr.dataset.unit_log import Outcome
from cxr.folders.dataset_manifest import FORMAT
from cxr.folders.metadata import LABELS_NAME, MANIFEST_NAME, METADATA_NAME, file_sha256
from cxr.folders.tables import csv_text
from cxr.generate.planned_image import PlannedImage
from cxr.images.atomic import cannot_write, write_whole
from cxr.images.png_signature import unsigned_size
from cxr.labels.cells import label_cells, sides_cell
from cxr.metrics.result import JsonObject
from cxr.prompts import denied_findings
from cxr.request.notices import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE
from cxr.request.settings import REGION

PERSON_COLUMNS = ("file_name", "patient_id", "split", "age", "sex", "view")

Outcomes = Mapping[int, Outcome]


def write_tables(plan: Plan, outcomes: Outcomes, directory: Path, beginning: Beginning) -> JsonObject:
    """Write everything but the images.

    Args:
        outcomes: what has become of each image, by index.
        directory: of the data set, images included.
        beginning: what the images were made from.
    Returns:
        The manifest, whose file comes last: a data set that has one is whole.
    Raises:
        OutputError: the disk refused a file.
    """
    made = [image for image in plan.images if outcomes[image.index].file_name]
    files: dict[str, bytes] = dict(_metadata(made, outcomes))
    files[LABELS_NAME] = _labels(made, outcomes)
    if rejected := {index: outcome.rejected for index, outcome in outcomes.items() if outcome.rejected}:
        files[REJECTED_NAME] = rejected_table(rejected)
    libraries = outcomes[made[0].index].recipe["library_versions"] if made else {}
    facts = beginning.facts | {"name": plan.name, "library_versions": libraries}
    facts |= _summary(plan, outcomes, gated=bool(beginning.gate))
    paths = {image.index: directory / str(outcomes[image.index].file_name) for image in made}
    names = {image.index: str(outcomes[image.index].file_name) for image in made}
    pair_names, pair_figures = write_pairs(made, names, directory)
    files |= card_files(plan, made, paths, facts, pair_figures)
    for name, content in files.items():
        write_whole(directory / name, content)
    manifest = facts | {"format": FORMAT, "notice": SYNTHETIC_NOTICE, "digital_source_type": DIGITAL_SOURCE_TYPE}
    known = {outcome.file_name: outcome.sha256 for outcome in outcomes.values() if outcome.file_name}
    manifest["files"] = list(_listed(directory, known | dict.fromkeys([*files, *pair_names], "")))
    write_whole(directory / MANIFEST_NAME, json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
    return manifest


def _summary(plan: Plan, outcomes: Outcomes, *, gated: bool) -> JsonObject:
    """Numbers of images, of seeds that were not taken, and how many passed the gate, by finding."""
    num_images = sum(outcome.file_name is not None for outcome in outcomes.values())
    pairs = [(image, outcomes[image.index]) for image in plan.images]
    tried = [(image.labels.findings, outcome.rejected, outcome.file_name is not None) for image, outcome in pairs]
    return {
        "num_images": num_images,
        "num_failed": len(outcomes) - num_images,
        "num_rejected": sum(len(outcome.rejected) for outcome in outcomes.values()),
        "pass_rates": pass_rates(tried) if gated else {},
    }


def _metadata(images: Sequence[PlannedImage], outcomes: Outcomes) -> Iterator[tuple[str, bytes]]:
    """``metadata.jsonl`` of each split, as Hugging Face's imagefolder reads it."""
    splits: dict[str, list[bytes]] = {}
    # Then every row has the columns, so that all are alike.
    has_pairs = any(image.pair_role for image in images)
    has_sides = any(image.labels.sides for image in images)
    has_regions = has_sides or any(image.request.surrounding_prompt for image in images)
    regions = dict.fromkeys(REGION, "") if has_regions else {}
    for image in images:
        outcome = outcomes[image.index]
        facts = {
            "file_name": Path(str(outcome.file_name)).name,
            **regions,
            **outcome.recipe,
            "patient_id": image.patient_id,
            **label_cells(image.labels),
            **({"sides": sides_cell(image.labels)} if has_sides else {}),
            **({"pair_role": image.pair_role} if has_pairs else {}),
            "sha256": outcome.sha256,
        }
        splits.setdefault(image.split, []).append(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
    for split, lines in splits.items():
        yield f"{split}/{METADATA_NAME}", b"".join(lines)


def _labels(images: Sequence[PlannedImage], outcomes: Outcomes) -> bytes:
    """1 asked for, 0 asked not to be there, empty not said; no cell holds a user's text."""
    has_sides = any(image.labels.sides for image in images)
    rows: list[tuple[object, ...]] = [(*PERSON_COLUMNS, *LABEL_COLUMNS, *["sides"] * has_sides)]
    for image in images:
        labels = image.labels
        person = (outcomes[image.index].file_name, image.patient_id, image.split, labels.age, labels.sex, labels.view)
        denied = () if image.complete else denied_findings(image.request.prompt)
        findings = label_row(labels.findings, complete=image.complete, denied=denied)
        sides = [sides_cell(labels)] * has_sides
        rows.append((*person, *(findings[name] for name in LABEL_COLUMNS), *sides))
    return csv_text(rows).encode()


def _listed(directory: Path, known: Mapping[str, str]) -> Iterator[JsonObject]:
    """What this program has written, and nothing else that may lie there."""
    for path in sorted(directory / name for name in known):
        name = path.relative_to(directory).as_posix()
        try:
            size, sha256 = unsigned_size(path), known[name] or file_sha256(path)
        except OSError as error:
            raise cannot_write(path, error) from error
        yield {"file_name": name, "sha256": sha256, "size_bytes": size}
