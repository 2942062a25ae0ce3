"""A plan -> every image of a data set: prompt, seed, settings, labels, synthetic patient, split."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from cxr.dataset.cohort import KEYS, check_share, check_whole, draw, read_entry, read_pair_entry, share_out
from cxr.dataset.wording import TEMPLATES, fill_template, read_templates
from cxr.folders.dataset_reader import PAIRS_NAME, patient_id_of
from cxr.generate.planned_image import COUNTERFACTUAL, FACTUAL, PlannedImage
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import PromptLabels
from cxr.prompts import asked_labels
from cxr.request.errors import RequestError, naming_fields
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import shown, shown_names
from cxr.request.settings import BEGINNING, PLAN_SETTINGS

SECTIONS = ("name", "seed", "settings", "cohort", "templates", "prompts", "pairs", "grid", "split")
SPLIT = {"train": 1.0}
DEVICE_NAMES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
TAKEN_NAMES = {
    "all": "all splits together, which load_dataset refuses",
    "plots": "the folder of the card's pictures",
    PAIRS_NAME: "the folder of what differs in pairs",
}
NO_PICTURES = (
    "images of a data set begin from noise alone, never from a picture; make those with python -m cxr generate"
)
NOT_SAID = "not said"
AGE_STEP = 10  # years


@dataclass(frozen=True)
class Plan:
    """All images of a data set, before any is made.

    Args:
        name: for the data-set card.
        images: by index.
        grid: the settings that a grid crosses, empty for any other plan.
        rewords: False for the plan of a data set that was begun by a version that knew no rewording.
    """

    name: str
    images: tuple[PlannedImage, ...]
    grid: Mapping[str, tuple[Any, ...]]
    rewords: bool = True

    @cached_property
    def sha256(self) -> str:
        """One hash of everything that decides what is made."""
        digest = hashlib.sha256(self.name.encode())
        for image in self.images:
            facts = _values(image) | {name: _values(getattr(image, name)) for name in ("labels", "request")}
            del facts["labels"]["sides"], facts["labels"]["unknown"]  # of older versions, which knew neither
            if not image.pair_role:
                del facts["pair_role"]  # nor pairs
            # Nor did they reword. What is usual today is no part of the hash, so that it goes on to name the same plan.
            is_usual = facts["request"]["reword"] or image.complete or not self.rewords
            for name in ("reword", "sent_prompt", *BEGINNING) if is_usual else ("sent_prompt", *BEGINNING):
                del facts["request"][name]
            digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()

    @property
    def num_steps(self) -> int:
        """Denoising steps of all images together."""
        return sum(image.request.num_inference_steps for image in self.images)

    def without_rewording(self) -> Plan:
        """The same plan, hash and all, as versions made it that knew no rewording."""
        images = (replace(image, request=replace(image.request, reword=False)) for image in self.images)
        return replace(self, images=tuple(images), rewords=False)

    def counts(self, of: str) -> dict[str, int]:
        """Images by "findings", "sex", "view" or "split", in the order of their first appearance."""
        tally: Counter[str] = Counter()
        for image in self.images:
            tally.update(values_of(image, of))
        return dict(tally)


def _values(entry: Any) -> dict[str, Any]:
    """The fields of a dataclass, none of which is copied: ``asdict`` would take a plan's longest time."""
    return {field.name: getattr(entry, field.name) for field in fields(entry)}


@naming_fields({})  # whose names are a plan's keys, too
def build_plan(
    content: Mapping[str, Any], name: str, max_images: int = MAX_TOTAL_IMAGES, defaults: Mapping[str, Any] | None = None
) -> Plan:
    """Make a plan from what its file holds.

    Args:
        content: of the file, by the names of `SECTIONS`.
        name: of the data set, where the plan does not say.
        max_images: images that it may ask for; more are refused before they are spelled out.
        defaults: settings that the model is used with where the plan has none.
    Raises:
        RequestError: a part is missing or not allowed.
    """
    # A name with nothing behind it; a seed that is not there would be another one.
    content = {part: value for part, value in content.items() if value is not None or part == "seed"}
    seed = check_whole(content.get("seed", 0), "seed")
    settings = {**(defaults or {}), **_settings(content.get("settings", {}))}
    if "grid" in content:
        if content.keys() & {"cohort", "prompts", "pairs"}:
            raise RequestError("a plan with a grid has no cohort, no prompts and no pairs; write two plans")
        requests, grid = _grid(content["grid"], settings, seed, max_images)
    else:
        requests, grid = [*_from_cohort(content, settings, seed, max_images)], {}
        requests += _from_prompts(content.get("prompts", []), settings, seed, len(requests), max_images)
        requests += _from_pairs(content, settings, seed, len(requests), max_images)
    if not requests:
        raise RequestError("the plan asks for no image; give it a cohort, prompts, pairs or a grid")
    if not isinstance(content.get("name") or name, str):
        raise RequestError(f"name is {shown(content['name'])}; use text, between quotes")
    return plan_of(content.get("name") or name, requests, content.get("split", SPLIT), seed, grid)


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


def _from_cohort(content: Mapping[str, Any], settings: Mapping[str, Any], seed: int, max_images: int) -> Iterator[Wish]:
    entries = content.get("cohort", [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RequestError(f"cohort is a list of entries, each with {', '.join(KEYS)}")
    read = [read_entry(entry, f"cohort entry {number}") for number, entry in enumerate(entries, start=1)]
    check_total(sum(entry.total for entry in read), max_images)
    templates = read_templates(content.get("templates", list(TEMPLATES)))
    rng = random.Random(f"wording {seed}")
    for number, labels in enumerate(draw(read, seed)):
        prompt = fill_template(rng.choice(templates), labels)
        # The program's own words need no others.
        yield Wish(GenerationRequest(prompt, seed=seed + number, **{**settings, "reword": False}), labels, True)


def _from_prompts(rows: Any, settings: Mapping[str, Any], seed: int, before: int, max_images: int) -> Iterator[Wish]:
    if not isinstance(rows, list):
        raise RequestError("prompts is a list of texts, or of {prompt: TEXT, count: N, seed: N}")
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
            yield Wish(request, asked_labels(request.prompt))
        number += count


def _from_pairs(
    content: Mapping[str, Any], settings: Mapping[str, Any], seed: int, before: int, max_images: int
) -> Iterator[Wish]:
    """Each patient twice, with one seed and one template: as drawn, and with what the entry changes."""
    entries = content.get("pairs", [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RequestError(f"pairs is a list of entries, each with {', '.join(KEYS)} and counterfactual")
    read = [read_pair_entry(entry, f"pairs entry {number}") for number, entry in enumerate(entries, start=1)]
    check_total(before + 2 * sum(entry.total for entry, _ in read), max_images)
    templates, rng = read_templates(content.get("templates") or list(TEMPLATES)), random.Random(f"pairs {seed}")
    number = before
    for place, (entry, change) in enumerate(read, start=1):
        for labels in draw([entry], seed + place):
            template, other = rng.choice(templates), replace(labels, **change)
            if other == labels:
                raise RequestError(f"pairs entry {place}: a patient is already as counterfactual says; name another")
            for role, one in ((FACTUAL, labels), (COUNTERFACTUAL, other)):
                prompt = fill_template(template, one)
                request = GenerationRequest(prompt, seed=seed + number, **{**settings, "reword": False})
                yield Wish(request, one, complete=True, pair_role=role)
            number += 2


def _grid(
    content: Any, settings: Mapping[str, Any], seed: int, max_images: int
) -> tuple[list[Wish], dict[str, tuple[Any, ...]]]:
    """Every combination of the listed values, the last named changing fastest."""
    allowed = ("prompt", "seed", *PLAN_SETTINGS)
    _refuse_pictures(content)
    if not isinstance(content, Mapping) or "prompt" not in content or any(name not in allowed for name in content):
        raise RequestError(f"grid is a table with prompt and lists of {', '.join(allowed[1:])}")
    axes = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in content.items()}
    check_total(math.prod(len(values) for values in axes.values()), max_images)
    cells = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    requests = [GenerationRequest(**{"seed": seed, **settings, **cell}) for cell in cells]
    return [Wish(request, asked_labels(request.prompt)) for request in requests], axes


def _settings(content: Any) -> dict[str, Any]:
    _refuse_pictures(content)
    if not isinstance(content, Mapping) or any(name not in PLAN_SETTINGS for name in content):
        raise RequestError(f"settings is a table of {', '.join(PLAN_SETTINGS)}")
    GenerationRequest("any", **content)  # a wrong value is blamed on the settings, not on an image
    return dict(content)


def _refuse_pictures(content: Any) -> None:
    if isinstance(content, Mapping) and any(name in content for name in BEGINNING):
        raise RequestError(NO_PICTURES)


def plan_of(name: str, wishes: Sequence[Wish], split: Any, seed: int, grid: Mapping[str, tuple[Any, ...]]) -> Plan:
    """Number the images, and give each its synthetic patient and its split.

    Raises:
        RequestError: the split is not allowed.
    """
    patients = [index for index, wish in enumerate(wishes) if wish.pair_role != COUNTERFACTUAL]
    splits = dict(zip(patients, _split_names(split, len(patients), seed), strict=True))
    images = []
    for index, wish in enumerate(wishes):
        patient = index - 1 if wish.pair_role == COUNTERFACTUAL else index
        image = PlannedImage(
            index, wish.request, wish.labels, patient_id_of(patient), splits[patient], wish.complete, wish.pair_role
        )
        images.append(image)
    return Plan(name, tuple(images), grid)


def _split_names(split: Any, count: int, seed: int) -> list[str]:
    if not isinstance(split, Mapping) or not split:
        raise RequestError("split is a table of shares, for example {train: 0.8, validation: 0.1, test: 0.1}")
    for name, share in split.items():
        if not isinstance(name, str) or not name.isidentifier() or not re.fullmatch(r"\w+", name):
            raise RequestError(f"the split {shown(name)} has no usable name; use letters, digits and _")
        if name.upper() in DEVICE_NAMES:
            raise RequestError(f"the split {name} has the name of a device on Windows; use another")
        if name.casefold() in TAKEN_NAMES:
            raise RequestError(f"the split {name} has the name of {TAKEN_NAMES[name.casefold()]}; use another")
        check_share(share, f"the share of the split {shown_names([name])}")
    if len({name.casefold() for name in split}) < len(split):
        raise RequestError(
            f"the splits {shown_names(split)} differ in capitals alone, and would be one folder on many machines"
        )
    if not sum(split.values()) > 0:
        raise RequestError("all splits have the share 0; give one of them more")
    return share_out(split, count, random.Random(f"split {seed}"))


def values_of(image: PlannedImage, of: str) -> tuple[str, ...]:
    """What a table counts an image under, by "findings", "sex", "view", "split", or "age" in steps of `AGE_STEP`."""
    if of == "split":
        return (image.split,)
    value = getattr(image.labels, of)
    if value is None:
        return (NOT_SAID,)
    if of == "age":
        low = value // AGE_STEP * AGE_STEP
        return (f"{low:02d} to {low + AGE_STEP - 1}",)
    return value or (NO_FINDING,) if of == "findings" else (value,)
