"""A plan -> every image of a data set: prompt, seed, settings, labels, synthetic patient, split."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from cxr.dataset.shares import check_share, check_whole, share_out
from cxr.dataset.wishes import Wish, checked_settings, from_cohort, from_grid, from_pairs, from_prompts
from cxr.folders.dataset_manifest import PAIRS_NAME, patient_id_of
from cxr.generate.planned_image import COUNTERFACTUAL, PlannedImage
from cxr.generate.prompt_table import MAX_TOTAL_IMAGES
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import RequestError, naming_fields
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural, shown, shown_names
from cxr.request.settings import FULL_SHARE, unused_settings

SECTIONS = ("name", "seed", "settings", "cohort", "templates", "prompts", "pairs", "grid", "split")
SPLIT = {"train": 1.0}
DEVICE_NAMES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
TAKEN_NAMES = {
    "all": "all splits together, which load_dataset refuses",
    "plots": "the folder of the card's pictures",
    PAIRS_NAME: "the folder of what differs in pairs",
}
NOT_SAID = "not said"
AGE_STEP = 10  # years
MAX_NAME_CHARACTERS = 200  # of a data set


@dataclass(frozen=True)
class Plan:
    """All images of a data set, before any is made.

    Args:
        name: for the data-set card.
        images: by index.
        grid: the settings that a grid crosses, empty for any other plan.
        rewords: False for the plan of a data set begun by a version without rewording.
    """

    name: str
    images: tuple[PlannedImage, ...]
    grid: Mapping[str, tuple[object, ...]]
    rewords: bool = True

    @cached_property
    def sha256(self) -> str:
        """One hash of everything that decides what is made."""
        digest = hashlib.sha256(self.name.encode())
        for image in self.images:
            labels, request = _values(image.labels), _values(image.request)
            del labels["unknown"]  # older versions did not know it
            if not labels["sides"]:
                del labels["sides"]  # and drew none, so that what they began must not go on with them
            # Nor did they reword. Today's default is left out of the hash, so that it still names the same plan.
            is_usual = image.request.reword or image.complete or not self.rewords
            is_surrounded = bool(image.request.surrounding_prompt)
            unused = unused_settings(begins_from_picture=False, is_surrounded=is_surrounded)
            for name in ("sent_prompt", *unused, *(["reword"] if is_usual else [])):
                del request[name]
            facts = _values(image) | {"labels": labels, "request": request}
            if not image.pair_role:
                del facts["pair_role"]  # nor did they know pairs
            digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()

    def num_steps(self, form: str) -> int:
        """Denoising steps of all images together, made by a model that reads prompts in that form."""
        return sum(image.as_read(form).num_steps_in_all for image in self.images)

    @property
    def tables(self) -> tuple[str, ...]:
        """What its images are counted by, as `counted_under` knows it; sides if findings of one have some."""
        has_sides = any(image.labels.sides for image in self.images)
        return ("findings", "sex", "view", *["side"] * has_sides, "split")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before the images are made."""
        of_all, shares = f"of {plural(len(self.images), 'image')}", [one.request.negative_share for one in self.images]
        unread, faint = shares.count(0.0), sum(0 < share < FULL_SHARE for share in shares)
        no_effect = f"The negative prompt has no effect on {unread:,} {of_all}, as guidance is off."
        little = f"The negative prompt changes little in {faint:,} {of_all}: guidance_stop is below {FULL_SHARE:g}."
        return tuple(text for count, text in ((unread, no_effect), (faint, little)) if count)

    def without_rewording(self) -> Plan:
        """The same plan, with the same hash, as versions without rewording made it."""
        images = (replace(image, request=replace(image.request, reword=False)) for image in self.images)
        return replace(self, images=tuple(images), rewords=False)

    def counts(self, of: str) -> dict[str, int]:
        """Images by what `counted_under` knows, in the order of their first appearance."""
        tally: Counter[str] = Counter()
        for image in self.images:
            tally.update(counted_under(image, of))
        return dict(tally)


def _values(entry: PlannedImage | PromptLabels | GenerationRequest) -> dict[str, object]:
    """The fields of a dataclass, none of which is copied: ``asdict`` would take a plan's longest time."""
    return {field.name: getattr(entry, field.name) for field in fields(entry)}


@naming_fields({})  # whose names are a plan's keys, too
def build_plan(
    content: Mapping[str, object],
    name: str,
    max_images: int = MAX_TOTAL_IMAGES,
    defaults: Mapping[str, object] | None = None,
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
    # An empty name counts as missing; an empty seed would silently be another one.
    content = {part: value for part, value in content.items() if value is not None or part == "seed"}
    seed = check_whole(content.get("seed", 0), "seed")
    settings = {**(defaults or {}), **checked_settings(content.get("settings", {}))}
    if "templates" in content and not content.keys() & {"cohort", "pairs"}:
        raise RequestError("templates are for a cohort or for pairs, and the plan has neither; leave them out")
    if "grid" in content:
        if content.keys() & {"cohort", "prompts", "pairs"}:
            raise RequestError("a plan with a grid has no cohort, no prompts and no pairs; write two plans")
        requests, grid = from_grid(content["grid"], settings, seed, max_images)
    else:
        requests, grid = [*from_cohort(content, settings, seed, max_images)], {}
        requests += from_prompts(content.get("prompts", []), settings, seed, len(requests), max_images)
        requests += from_pairs(content, settings, seed, len(requests), max_images)
    if not requests:
        raise RequestError("the plan asks for no image; give it a cohort, prompts, pairs or a grid")
    title = content.get("name", "")
    if not isinstance(title, str):
        raise RequestError(f"name is {shown(title)}; use text, between quotes")
    if not title.isprintable() or len(title) > MAX_NAME_CHARACTERS:
        raise RequestError(f"name is {shown(title)}; use one line of at most {MAX_NAME_CHARACTERS} characters")
    return plan_of(title or name, requests, content.get("split", SPLIT), seed, grid)


def plan_of(
    name: str, wishes: Sequence[Wish], split: object, seed: int, grid: Mapping[str, tuple[object, ...]]
) -> Plan:
    """Number the images, and give each its synthetic patient and its split.

    Raises:
        RequestError: the split is not allowed, or the two images of a pair are one.
    """
    _check_pairs(wishes)
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


def _check_pairs(wishes: Sequence[Wish]) -> None:
    """Of other equal wishes a job makes the second again with another seed, but a pair shares its seed."""
    seen: dict[tuple[str, str, int], int] = {}
    for index, wish in enumerate(wishes):
        request = wish.request
        first = seen.setdefault((request.prompt, request.negative_prompt, request.seed), index)
        if first != index and wish.pair_role:
            raise RequestError(
                f"images {first} and {index} have the same prompt and seed {request.seed}; name in the templates what "
                "changes"
            )


def _split_names(split: object, count: int, seed: int) -> list[str]:
    if not isinstance(split, Mapping) or not split:
        raise RequestError("split must be a table of shares, for example {train: 0.8, validation: 0.1, test: 0.1}")
    for name, share in split.items():
        if not isinstance(name, str) or not name.isidentifier() or not re.fullmatch(r"\w{1,100}", name):
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


def counted_under(image: PlannedImage, of: str) -> tuple[str, ...]:
    """What a table counts an image under.

    Args:
        of: "findings", "sex", "view", "side", "split", or "age", which counts in steps of `AGE_STEP`.
    """
    if of == "split":
        return (image.split,)
    if of == "side":
        return tuple(sorted({side for _, side in image.labels.sides})) or (NOT_SAID,)
    value = getattr(image.labels, of)
    if value is None:
        return (NOT_SAID,)
    if of == "age":
        low = value // AGE_STEP * AGE_STEP
        return (f"{low:02d} to {low + AGE_STEP - 1}",)
    return value or (NO_FINDING,) if of == "findings" else (value,)
