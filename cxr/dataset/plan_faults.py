"""The plan that a data set's manifest names, against the plan that its images and their labels add up to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxr import __version__
from cxr.dataset.manifest_faults import CARD_NAME, MAX_CARD_BYTES, Rejected
from cxr.dataset.plan import Plan
from cxr.folders.dataset_manifest import Manifest
from cxr.folders.dataset_reader import FinishedImage
from cxr.folders.metadata import LABELS_NAME, MANIFEST_NAME
from cxr.folders.tables import read_rows
from cxr.generate.planned_image import PlannedImage, seed_of
from cxr.images.guarded import read_or_refuse
from cxr.labels.vocabulary import FINDINGS
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import REGION

# Recipes omit these where they change nothing; used here only if the card has one value, not rounded.
VALUE_ON_CARD = re.compile(r"^\| (adapter_weight|guidance_stop) \| (\d(?:\.\d{1,4})?) \|$", re.MULTILINE)
MAX_IMAGES_TRIED = 200_000  # of all plans that are tried together; each takes some 20 µs


def wrong_plan(
    directory: Path, manifest: Manifest, images: Sequence[FinishedImage], rejected: Rejected
) -> Iterator[str]:
    """Say so where prompts, seeds, labels, splits or the name are not those of the plan.

    The hash of a plan is made of all that it asks for, and all that is in the rows. It is unknown for a set that lacks
    an image which could not be made, and for one made by another version.
    """
    facts = manifest.facts
    if facts["num_failed"] or facts["software"] != __version__:
        return
    card = read_or_refuse(directory / CARD_NAME, MAX_CARD_BYTES).decode("utf-8", "replace")
    values = {name: float(value) for name, value in VALUE_ON_CARD.findall(card)}
    try:
        planned = [_planned(image, rejected, values) for image in images]
    except KeyError:
        return
    for one, image in zip(planned, images, strict=True):
        if image.recipe.seed != seed_of(one, len(rejected.get(image.index, ()))):
            yield f"{image.path} has a seed that does not follow from those in its table of rejected ones"
            return
    ends = _ends_of_cohort(directory, images)
    if len(ends) > max(2, MAX_IMAGES_TRIED // len(images)):
        return
    if facts["plan_sha256"] not in (_plan(facts["name"], planned, end).sha256 for end in ends):
        yield (
            f"{directory / MANIFEST_NAME} names another plan than that of its images: the name, a prompt, seed, label, "
            "patient or split was changed"
        )


def _planned(image: FinishedImage, rejected: Rejected, values: Mapping[str, float]) -> PlannedImage:
    """The image as its plan has it; a KeyError if the card does not tell what its recipe has no word for."""
    recipe = image.recipe
    changed: dict[str, float] = {"seed": next((one.seed for one in rejected.get(image.index, ())), recipe.seed)}
    if not recipe.adapter_sha256:
        changed["adapter_weight"] = values["adapter_weight"]
    if recipe.guidance_scale == 1:
        changed["guidance_stop"] = values["guidance_stop"]
    typed = dict.fromkeys(("sent_prompt", *REGION), "") if recipe.reword else {}  # which no plan says of such a prompt
    request = GenerationRequest(**recipe.image_settings | changed | typed)
    return PlannedImage(image.index, request, image.labels, image.patient_id, image.split, pair_role=image.pair_role)


def _plan(name: str, images: Sequence[PlannedImage], end: int) -> Plan:
    complete = (replace(one, complete=one.index < end or bool(one.pair_role)) for one in images)
    return Plan(name, tuple(complete), {})


def _ends_of_cohort(directory: Path, images: Sequence[FinishedImage]) -> list[int]:
    """How many images may be those of the cohort, which come first and whose labels say something of every finding.

    Of images without findings the tables do not tell whose they are, so that there may be several numbers.
    """
    rows = {row.get("file_name"): row for _, row in read_rows(directory / LABELS_NAME)}
    low, high = 0, sum(not image.pair_role for image in images)
    for image in images:
        if image.pair_role:
            continue
        row = rows[image.path.relative_to(directory).as_posix()]
        is_complete = all(row[name] for name in FINDINGS)
        if (image.recipe.reword and not image.labels.sides) or (image.labels.findings and not is_complete):
            high = min(high, image.index)
        elif image.labels.findings:
            low = image.index + 1
    return [high, *([low] if low < high else []), *range(low + 1, high)]
