"""A plan -> every image of a data set: prompt, seed, settings, labels, synthetic patient, split."""

from __future__ import annotations

import hashlib
import json
import math
import random
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from cxr.compiler import asked_labels
from cxr.dataset.cohort import KEYS, apportion, draw, read_entry
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.request.errors import RequestError, naming_fields
from cxr.request.generation_request import GenerationRequest
from cxr.request.settings import PLAN_SETTINGS
from cxr.vocabulary import FINDING_PHRASES, PromptLabels

PARTS = ("name", "seed", "settings", "cohort", "templates", "prompts", "grid", "split")
TEMPLATES = ("Chest X-ray, {view} view, {age}-year-old {sex}, {findings}",)
TEMPLATE_FIELDS = ("age", "sex", "view", "findings")
SPLIT = {"train": 1.0}
SEX_WORDS = {"M": ("man", "boy"), "F": ("woman", "girl"), None: ("patient", "child")}
ADULT = 16  # years; as in the captions that the embedded model knows


@dataclass(frozen=True)
class PlannedImage:
    """One image of a data set.

    Args:
        index: number in the data set, from 0.
        request: for this image alone; its seed is the image's.
        labels: what the prompt asks for.
        patient_id: synthetic; images of one id are in one split.
        split: "train" or another name from the plan.
        complete: whether findings that are not asked for shall not be there, as in a cohort; a prompt in free words is
            silent on them.
    """

    index: int
    request: GenerationRequest
    labels: PromptLabels
    patient_id: str
    split: str
    complete: bool


@dataclass(frozen=True)
class Plan:
    """All images of a data set, before any is made.

    Args:
        name: for the data-set card.
        images: by index.
        grid: the settings that a grid crosses, empty for any other plan.
    """

    name: str
    images: tuple[PlannedImage, ...]
    grid: Mapping[str, tuple[Any, ...]]

    @property
    def sha256(self) -> str:
        """One hash of everything that decides what is made."""
        digest = hashlib.sha256(self.name.encode())
        for image in self.images:
            digest.update(json.dumps(asdict(image), sort_keys=True).encode())
        return digest.hexdigest()

    def counts(self, of: str) -> dict[str, int]:
        """Images by "findings", "sex", "view" or "split", in the order of their first appearance."""
        tally: Counter[str] = Counter()
        for image in self.images:
            tally.update(_values(image, of))
        return dict(tally)


def build_plan(
    given: Mapping[str, Any], name: str, most: int = MAX_TOTAL_IMAGES, defaults: Mapping[str, Any] | None = None
) -> Plan:
    """Make a plan from what its file holds.

    Args:
        given: the parts of `PARTS`.
        name: of the data set, where the plan does not say.
        most: images that it may ask for; more are refused before they are spelled out.
        defaults: settings that the model is used with where the plan has none.
    Raises:
        RequestError: a part is missing or not allowed.
    """
    with naming_fields({}):  # which are a plan's keys, too
        return _build(given, name, most, defaults or {})


def _build(given: Mapping[str, Any], name: str, most: int, defaults: Mapping[str, Any]) -> Plan:
    seed = _whole(given.get("seed", 0), "seed")
    settings = {**defaults, **_settings(given.get("settings") or {})}
    if "grid" in given:
        if "cohort" in given or "prompts" in given:
            raise RequestError("a plan with a grid has neither cohort nor prompts; write two plans")
        requests, grid = _grid(given["grid"], settings, seed, most)
    else:
        requests, grid = [*_from_cohort(given, settings, seed, most)], {}
        requests += _from_prompts(given.get("prompts") or [], settings, seed, len(requests), most)
    if not requests:
        raise RequestError("the plan asks for no image; give it a cohort, prompts or a grid")
    return finish_plan(str(given.get("name") or name), requests, given.get("split") or SPLIT, seed, grid)


Wish = tuple[GenerationRequest, PromptLabels, bool]  # the last: whether the labels are complete


def check_total(total: int, most: int) -> None:
    """Refuse a plan of more images than are allowed.

    Raises:
        RequestError: it asks for more.
    """
    if total > most:
        raise RequestError(f"the plan asks for {total:,} images; use at most {most:,}")


def _from_cohort(given: Mapping[str, Any], settings: Mapping[str, Any], seed: int, most: int) -> Iterator[Wish]:
    entries = given.get("cohort") or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RequestError(f"cohort is a list of entries, each with {', '.join(KEYS)}")
    read = [read_entry(entry, f"cohort entry {number}") for number, entry in enumerate(entries, start=1)]
    check_total(sum(entry.total for entry in read), most)
    templates = _templates(given.get("templates") or list(TEMPLATES))
    chance = random.Random(f"wording {seed}")
    for number, labels in enumerate(draw(read, seed)):
        prompt = _fill(chance.choice(templates), labels, chance)
        yield GenerationRequest(prompt, seed=seed + number, **settings), labels, True


def _from_prompts(rows: Any, settings: Mapping[str, Any], seed: int, before: int, most: int) -> Iterator[Wish]:
    if not isinstance(rows, list):
        raise RequestError("prompts is a list of texts, or of {prompt: TEXT, count: N, seed: N}")
    number = before
    for place, row in enumerate(rows, start=1):
        entry = row if isinstance(row, Mapping) else {"prompt": row}
        unknown = [str(key) for key in entry if key not in {"prompt", "count", "seed", "negative_prompt"}]
        if unknown:
            raise RequestError(f"prompt {place} has {', '.join(unknown)}; use prompt, count, seed, negative_prompt")
        count = _whole(entry.get("count", 1), f"prompt {place}: count", low=1)
        first_seed = _whole(entry.get("seed", seed + number), f"prompt {place}: seed")
        if number + count > most:
            raise RequestError(f"the plan asks for more than {most:,} images by prompt {place}; ask for fewer")
        changed = {"negative_prompt": entry["negative_prompt"]} if "negative_prompt" in entry else {}
        for k in range(count):
            request = GenerationRequest(entry.get("prompt", ""), seed=first_seed + k, **{**settings, **changed})
            yield request, asked_labels(request.prompt), False
        number += count


def _grid(
    given: Any, settings: Mapping[str, Any], seed: int, most: int
) -> tuple[list[Wish], dict[str, tuple[Any, ...]]]:
    """Every combination of the listed values, the last named changing fastest."""
    allowed = ("prompt", "seed", *PLAN_SETTINGS)
    if not isinstance(given, Mapping) or "prompt" not in given or any(name not in allowed for name in given):
        raise RequestError(f"grid is a table with prompt and lists of {', '.join(allowed[1:])}")
    axes = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in given.items()}
    check_total(math.prod(len(values) for values in axes.values()), most)
    wishes = []
    for values in product(*axes.values()):
        chosen: dict[str, Any] = {"seed": seed, **settings, **dict(zip(axes, values, strict=True))}
        request = GenerationRequest(**chosen)
        wishes.append((request, asked_labels(request.prompt), False))
    return wishes, axes


def _settings(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or any(name not in PLAN_SETTINGS for name in given):
        raise RequestError(f"settings is a table of {', '.join(PLAN_SETTINGS)}")
    GenerationRequest("any", **given)  # a wrong value is blamed on the settings, not on an image
    return dict(given)


def _templates(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise RequestError("templates is a list of texts")
    for text in given:
        try:
            parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
        except ValueError as error:
            raise RequestError(f"a template is not written right: {error}") from error
        named = {str(name) for _, name, _, _ in parts}
        if named - set(TEMPLATE_FIELDS):
            raise RequestError(f"a template names {', '.join(sorted(named))}; use {', '.join(TEMPLATE_FIELDS)}")
        if any(width or conversion for _, _, width, conversion in parts):
            raise RequestError("a template has a format behind a name; write {age}, not {age:3} or {age!r}")
    return given


def _fill(template: str, labels: PromptLabels, chance: random.Random) -> str:
    shown = " and ".join(FINDING_PHRASES[name][0] for name in labels.findings or ()) or "no findings"
    grown, child = SEX_WORDS[labels.sex]
    words = {
        "age": labels.age,
        "sex": grown if labels.age is None or labels.age >= ADULT else child,
        "view": labels.view,
        "findings": shown,
    }
    return template.format(**words)


def finish_plan(name: str, wishes: Sequence[Wish], split: Any, seed: int, grid: Mapping[str, tuple[Any, ...]]) -> Plan:
    """Number the images, and give each its synthetic patient and its split.

    Raises:
        RequestError: the split is not allowed.
    """
    splits = _split_names(split, len(wishes), seed)
    images = [
        PlannedImage(index, request, labels, f"SYN{index:07d}", where, complete)
        for index, ((request, labels, complete), where) in enumerate(zip(wishes, splits, strict=True))
    ]
    return Plan(name, tuple(images), grid)


def _split_names(split: Any, count: int, seed: int) -> list[str]:
    if not isinstance(split, Mapping) or not split:
        raise RequestError("split is a table of shares, for example {train: 0.8, validation: 0.1, test: 0.1}")
    for name, share in split.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise RequestError(f"the split {name!r} has no usable name; use letters, digits and _")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < float("inf"):
            raise RequestError(f"the share of the split {name} is {share!r}; use a number of 0 or more")
    if not sum(split.values()) > 0:
        raise RequestError("all splits have the share 0; give one of them more")
    names = [
        name for name, number in zip(split, apportion(list(split.values()), count), strict=True) for _ in range(number)
    ]
    random.Random(f"split {seed}").shuffle(names)
    return names


def _values(image: PlannedImage, of: str) -> tuple[str, ...]:
    if of == "split":
        return (image.split,)
    if of == "findings":
        found = image.labels.findings
        return ("not said",) if found is None else found or ("No Finding",)
    value = getattr(image.labels, of)
    return ("not said" if value is None else str(value),)


def _whole(value: Any, name: str, low: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise RequestError(f"{name} is {value!r}; use a whole number of {low} or more")
    return value
