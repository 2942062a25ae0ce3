"""What turns finished images into a data set: metadata of each split, label tables, card, plots, manifest.

The same plan, model and software give the same bytes, however often the job was interrupted.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxr.dataset.card import card_files
from cxr.dataset.job import FORMAT, WORK_NAME, Beginning
from cxr.dataset.labels import LABEL_COLUMNS, label_row, texts_of
from cxr.dataset.plan import Plan, PlannedImage
from cxr.dataset.units import Unit, finished_rows
from cxr.folders.archive import MANIFEST_NAME
from cxr.folders.metadata import METADATA_NAME, file_sha256
from cxr.images.atomic import atomic_file, cannot_write
from cxr.labels.radiograph import NO_FINDING
from cxr.request.errors import OutputError
from cxr.request.recipe import DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE

DUPLICATE = "the same picture as an earlier image"
LABELS_NAME, REJECTED_NAME = "labels.csv", "rejected.csv"
PERSON_COLUMNS = ("file_name", "patient_id", "split", "age", "sex", "view")
BY_GATE = "the gate"

Row = dict[str, Any]
Rows = Mapping[int, Row]


def find_rows(units: Sequence[Unit], directory: Path) -> dict[int, Row]:
    """What is finished so far, by index; every file is read for its hash.

    Raises:
        OutputError: a file cannot be read.
    """
    rows: dict[int, Row] = {}
    for unit in units:
        rows |= finished_rows(unit, directory)
    return rows


def collect_rows(units: Sequence[Unit], directory: Path) -> dict[int, Row]:
    """What is finished, by index.

    Raises:
        OutputError: an image of the plan is neither finished nor given up on.
    """
    rows = find_rows(units, directory)
    wanted = sum(len(unit.images) for unit in units)
    if len(rows) != wanted:
        raise OutputError(f"{wanted - len(rows)} images are missing in {directory}; the same command continues")
    return rows


def find_duplicates(rows: Rows) -> list[int]:
    """Images that are pixel for pixel an earlier one."""
    seen: set[str] = set()
    found = []
    for index in sorted(rows):
        pixels = rows[index].get("pixel_sha256")
        if pixels in seen:
            found.append(index)
        elif pixels is not None:
            seen.add(pixels)
    return found


def write_dataset(plan: Plan, rows: Rows, directory: Path, beginning: Beginning) -> dict[str, Any]:
    """Write everything but the images.

    Args:
        plan: what was asked for.
        rows: what has become of each image.
        directory: of the data set, images included.
        beginning: what the images were made from.
    Returns:
        The manifest, whose file comes last: a data set that has one is whole.
    Raises:
        OutputError: the disk refused a file.
    """
    made = [image for image in plan.images if rows[image.index]["file_name"]]
    counts = _outcome(plan, rows, gated=bool(beginning.gate))
    files: dict[str, bytes] = dict(_metadata(made, rows))
    files[LABELS_NAME] = _labels(made, rows)
    if any(row["rejected"] for row in rows.values()):
        files[REJECTED_NAME] = _rejected(rows)
    libraries = rows[made[0].index]["recipe"]["library_versions"] if made else {}
    facts = asdict(beginning) | {"name": plan.name, "library_versions": libraries} | counts
    paths = {image.index: directory / rows[image.index]["file_name"] for image in made}
    files |= card_files(plan, made, paths, facts)
    for name, content in files.items():
        _write(directory / name, content)
    manifest = facts | {"format": FORMAT, "notice": SYNTHETIC_NOTICE, "digital_source_type": DIGITAL_SOURCE_TYPE}
    known = {row["file_name"]: row["sha256"] for row in rows.values() if row["file_name"]}
    manifest["files"] = list(_listed(directory, known))
    _write(directory / MANIFEST_NAME, json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
    return manifest


def _outcome(plan: Plan, rows: Rows, *, gated: bool) -> dict[str, Any]:
    """Numbers of images, of seeds that were not taken, and how many passed the gate, by finding."""
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for image in plan.images:
        row = rows[image.index]
        refused = sum(entry["reason"].startswith(BY_GATE) for entry in row["rejected"])
        # The gate looks at nothing where a prompt says nothing about findings.
        for name in () if image.labels.findings is None else image.labels.findings or (NO_FINDING,):
            tried[name] += refused + (row["file_name"] is not None)
            passed[name] += row["file_name"] is not None
    num_images = sum(row["file_name"] is not None for row in rows.values())
    return {
        "num_images": num_images,
        "num_failed": len(rows) - num_images,
        "num_rejected": sum(len(row["rejected"]) for row in rows.values()),
        "pass_rates": {name: round(passed[name] / tried[name], 4) for name in tried if tried[name]} if gated else {},
    }


def _metadata(images: Sequence[PlannedImage], rows: Rows) -> Iterator[tuple[str, bytes]]:
    """``metadata.jsonl`` of each split, as Hugging Face's imagefolder reads it."""
    splits: dict[str, list[bytes]] = {}
    for image in images:
        row = rows[image.index]
        facts = {
            "file_name": Path(row["file_name"]).name,
            **row["recipe"],
            "patient_id": image.patient_id,
            **texts_of(image.labels),
            "sha256": row["sha256"],
        }
        splits.setdefault(image.split, []).append(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
    for split, lines in splits.items():
        yield f"{split}/{METADATA_NAME}", b"".join(lines)


def _labels(images: Sequence[PlannedImage], rows: Rows) -> bytes:
    """1 asked for, 0 asked not to be there, empty not said; no cell holds text of the user's."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, (*PERSON_COLUMNS, *LABEL_COLUMNS), lineterminator="\n")
    table.writeheader()
    for image in images:
        labels = image.labels
        person = (rows[image.index]["file_name"], image.patient_id, image.split, labels.age, labels.sex, labels.view)
        findings = label_row(labels.findings, complete=image.complete)
        table.writerow(dict(zip(PERSON_COLUMNS, person, strict=True)) | findings)
    return text.getvalue().encode()


def _rejected(rows: Rows) -> bytes:
    """The seeds that were not taken, and why."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("index", "seed", "reason"))
    for index in sorted(rows):
        table.writerows((index, entry["seed"], entry["reason"]) for entry in rows[index]["rejected"])
    return text.getvalue().encode()


def _listed(directory: Path, known: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != MANIFEST_NAME and not name.startswith(f"{WORK_NAME}/"):
            yield {"file_name": name, "sha256": known.get(name) or file_sha256(path), "size_bytes": path.stat().st_size}


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    with atomic_file(path) as file:
        file.write(content)
