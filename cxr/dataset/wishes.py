"""The parts of a plan -> its images one by one, before they have numbers, patients and splits."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from cxr.dataset.cohort import KEYS, draw, read_entry
from cxr.dataset.pair_entries import read_pair_entry
from cxr.dataset.prompt_templates import TEMPLATES, check_wording, fill_template, named_labels, read_templates
from cxr.dataset.shares import check_whole
from cxr.generate.planned_image import COUNTERFACTUAL, FACTUAL
from cxr.labels.regions import changed_cells
from cxr.labels.vocabulary import PromptLabels
from cxr.prompts import labels_asked_by
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import shown, shown_names
from cxr.request.settings import BEGINNING, PLAN_SETTINGS

NO_PICTURES = (
    "images of a data set begin from noise alone, never from a picture; make those with python -m cxr generate"
)


class Wish(NamedTuple):
    """One image before it has a number, a patient and a split; as `PlannedImage` has them."""

    request: GenerationRequest
    labels: PromptLabels
    complete: bool = False
    pair_role: str = ""


def check_total(total: int, max_images: int) -> None:
    """Refuse a plan of more images than are allowed.

    Raises:
        RequestError: it asks for more.
    """
    if total > max_images:
        raise RequestError(f"the plan asks for {total:,} images; use at most {max_images:,}")


def from_cohort(
    content: Mapping[str, object], settings: Mapping[str, Any], seed: int, max_images: int
) -> Iterator[Wish]:
    """The images of a plan's cohort, in the order of its entries."""
    entries = enumerate(_entries(content, "cohort"), start=1)
    read = [read_entry(entry, f"cohort entry {number}") for number, entry in entries]
    check_total(sum(entry.total for entry in read), max_images)
    templates = read_templates(content.get("templates", list(TEMPLATES)))
    rng, checked = random.Random(f"wording {seed}"), set[object]()
    for number, drawn in enumerate(draw(read, seed)):
        prompt, labels = _worded(rng.choice(templates), drawn, checked)
        # The program's own words need no others, but for sides, which not every model has words for.
        settings_of_image = {**settings, "reword": bool(labels.sides)}
        yield Wish(GenerationRequest(prompt, seed=seed + number, **settings_of_image), labels, True)


def from_prompts(rows: object, settings: Mapping[str, Any], seed: int, before: int, max_images: int) -> Iterator[Wish]:
    """The images of a plan's own prompts; ``before`` counts those that come first."""
    if not isinstance(rows, list):
        raise RequestError("prompts must be a list of texts, or of {prompt: TEXT, count: N, seed: N}")
    number = before
    for place, row in enumerate(rows, start=1):
        entry = row if isinstance(row, Mapping) else {"prompt": row}
        unknown = [str(key) for key in entry if key not in {"prompt", "count", "seed", "negative_prompt"}]
        if unknown:
            raise RequestError(f"prompt {place} has {shown_names(unknown)}; use prompt, count, seed, negative_prompt")
        count = check_whole(entry.get("count", 1), f"prompt {place}: count", low=1)
        first_seed = check_whole(entry.get("seed", seed + number), f"prompt {place}: seed")
        if number + count > max_images:
            raise RequestError(f"the plan asks for more than {max_images:,} images by prompt {place}; ask for fewer")
        changed = {"negative_prompt": entry["negative_prompt"]} if "negative_prompt" in entry else {}
        for k in range(count):
            request = GenerationRequest(entry.get("prompt", ""), seed=first_seed + k, **{**settings, **changed})
            yield Wish(request, labels_asked_by(request))
        number += count


def from_pairs(
    content: Mapping[str, object], settings: Mapping[str, Any], seed: int, before: int, max_images: int
) -> Iterator[Wish]:
    """Each patient twice, with one seed and one template: as drawn, and with what the entry changes."""
    entries = enumerate(_entries(content, "pairs", ", counterfactual and region"), start=1)
    read = [read_pair_entry(entry, f"pairs entry {number}") for number, entry in entries]
    check_total(before + 2 * sum(entry.patients.total for entry in read), max_images)
    templates, rng = read_templates(content.get("templates", list(TEMPLATES))), random.Random(f"pairs {seed}")
    number, checked = before, set[object]()
    for place, (patients, change, in_region) in enumerate(read, start=1):
        for drawn in draw([patients], seed + place):
            template, changed = rng.choice(templates), replace(drawn, **change)
            if changed == drawn:
                raise RequestError(f"pairs entry {place}: a patient is already as counterfactual says; name another")
            prompt, labels = _worded(template, drawn, checked)
            other_prompt, other = _worded(template, changed, checked)
            first = GenerationRequest(prompt, seed=seed + number, **{**settings, "reword": False})
            second = replace(first, prompt=other_prompt)
            if in_region:
                try:
                    cells = changed_cells(labels.findings or (), other.findings or ())
                except RequestError as error:
                    raise RequestError(f"pairs entry {place}: {error}; leave out region") from error
                second = replace(second, mask_cells=cells, surrounding_prompt=prompt)
            yield Wish(first, labels, complete=True, pair_role=FACTUAL)
            yield Wish(second, other, complete=True, pair_role=COUNTERFACTUAL)
            number += 2


def _worded(template: str, drawn: PromptLabels, checked: set[object]) -> tuple[str, PromptLabels]:
    """The prompt of an image, and what it asks for; ``checked`` is what templates were tried with."""
    prompt, labels = fill_template(template, drawn), named_labels(template, drawn)
    if (kind := (template, labels.findings, labels.sex, labels.view)) not in checked:
        check_wording(template, prompt, labels)
        checked.add(kind)
    return prompt, labels


def from_grid(
    content: object, settings: Mapping[str, Any], seed: int, max_images: int
) -> tuple[list[Wish], dict[str, tuple[object, ...]]]:
    """Every combination of the listed values, the last named changing fastest."""
    allowed = ("prompt", "seed", *PLAN_SETTINGS)
    _refuse_pictures(content)
    if not isinstance(content, Mapping) or "prompt" not in content or any(name not in allowed for name in content):
        raise RequestError(f"grid must be a table with prompt and lists of {', '.join(allowed[1:])}")
    axes = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in content.items()}
    check_total(math.prod(len(values) for values in axes.values()), max_images)
    check_once(axes)
    cells = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    requests = [GenerationRequest(**{"seed": seed, **settings, **cell}) for cell in cells]
    return [Wish(request, labels_asked_by(request)) for request in requests], axes


def check_once(axes: Mapping[str, Sequence[object]]) -> None:
    """Refuse a grid in which a setting has a value twice: two images would be one.

    Raises:
        RequestError: its field is the setting.
    """
    for name, values in axes.items():
        if twice := [value for place, value in enumerate(values) if value in values[:place]]:
            raise RequestError(f"has {shown(twice[0])} twice; keep one", field=name)


def checked_settings(content: object) -> dict[str, Any]:
    _refuse_pictures(content)
    if not isinstance(content, Mapping) or any(name not in PLAN_SETTINGS for name in content):
        raise RequestError(f"settings must be a table of {', '.join(PLAN_SETTINGS)}")
    GenerationRequest("any", **content)  # a wrong value is blamed on the settings, not on an image
    return dict(content)


def _entries(content: Mapping[str, object], part: str, more: str = "") -> list[Mapping[str, object]]:
    entries = content.get(part, [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RequestError(f"{part} must be a list of entries, each with {', '.join(KEYS)}{more}")
    return entries


def _refuse_pictures(content: object) -> None:
    if isinstance(content, Mapping) and any(name in content for name in BEGINNING):
        raise RequestError(NO_PICTURES)
