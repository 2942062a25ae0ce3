"""A plan before it is run: what will be made, how long that takes here, how much disk it needs."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from statistics import fmean

from cxr.dataset.card import sampled
from cxr.dataset.plan import Plan
from cxr.folders.sheet import encode_sheet
from cxr.generate.images import generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.images.pixels import to_8_bits
from cxr.images.png import encode_png
from cxr.request.errors import GenerationError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

PROBE_IMAGES = 2  # of each kind of settings; the first is not counted
MAX_KINDS = 4
# Measured on sets of the embedded model: what stands beside each PNG in metadata, labels, manifest and receipts, and
# what every set has besides: the plot of its counts and the card.
ROW_BYTES, SET_BYTES = 2_000, 25_000

Kind = tuple[float, ...]  # of settings, as `shared_settings` gives them


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image takes: seconds in one process on this machine, bytes of its PNG, bytes in a picture of many."""

    seconds: float
    size_bytes: float
    shown_bytes: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a plan takes in one process.

    Args:
        seconds: on this machine, by `PROBE_IMAGES` of each kind of settings.
        size_bytes: on disk, and of the ZIP.
    """

    num_images: int
    seconds: float
    size_bytes: int


def describe_plan(plan: Plan) -> Iterator[str]:
    """Lines of a table, images by finding, sex, view, side and split; and what a user should know."""
    yield f"{plan.name}: {len(plan.images)} images"
    for of in plan.tables:
        counts = plan.counts(of)
        width = max(len(name) for name in counts)
        for number, (name, count) in enumerate(counts.items()):
            yield f"{of if number == 0 else '':<10}{name:<{width}}  {count:>8}"
    yield from plan.notes


def estimate(plan: Plan, model: LoadedModel) -> Estimate:
    """Make a few of a plan's images, without keeping them, and extrapolate.

    Raises:
        GenerationError: none could be made.
    """
    return add_up(plan, model.prompt_form, measure_costs(plan, model))


def kinds_of(plan: Plan, form: str) -> list[Kind]:
    """The kind of each image of a plan, made by a model that reads prompts in that form."""
    return [image.as_read(form).shared_settings for image in plan.images]


def measure_costs(plan: Plan, model: LoadedModel) -> dict[Kind, Cost]:
    """What an image takes, by its kind of settings: of the most frequent `MAX_KINDS` of the plan.

    Raises:
        GenerationError: an image could not be made.
    """
    kinds = kinds_of(plan, model.prompt_form)
    return {
        kind: _measure(plan.images[kinds.index(kind)].request, model)
        for kind, _ in Counter(kinds).most_common(MAX_KINDS)
    }


def add_up(plan: Plan, form: str, costs: Mapping[Kind, Cost]) -> Estimate:
    """What the images of a plan take together, and the files beside them.

    Args:
        form: in which the model reads prompts.
        costs: of at least one of its kinds; others cost what these do on average.
    """
    known = [costs[kind] for kind in kinds_of(plan, form) if kind in costs]
    mean = Cost(*(fmean(getattr(cost, field.name) for cost in known) for field in dataclasses.fields(Cost)))
    num_images = len(plan.images)
    # The card's picture of samples shows some of the images again, that of a grid all of them.
    num_shown = sum(map(len, sampled(plan.images).values())) + (num_images if plan.grid else 0)
    size = num_images * (mean.size_bytes + ROW_BYTES) + num_shown * mean.shown_bytes + SET_BYTES
    return Estimate(num_images, num_images * mean.seconds, round(size))


def _measure(request: GenerationRequest, model: LoadedModel) -> Cost:
    requests = [dataclasses.replace(request, seed=seed) for seed in range(PROBE_IMAGES * model.micro_batch_size)]
    began, ended, made = time.perf_counter(), [], []
    for event in generate_each(requests, model):
        if isinstance(event, GeneratedImage):
            made.append(event)
            ended.append(time.perf_counter())
    if len(ended) < len(requests):
        raise GenerationError("the model makes no image of the first prompts of the plan")
    first = ended[model.micro_batch_size - 1]
    each_s = (ended[-1] - first) / (len(ended) - model.micro_batch_size) or first - began
    shown = (len(encode_sheet(to_8_bits(event.pixels))) for event in made)
    return Cost(each_s, fmean(len(encode_png(event)) for event in made), fmean(shown))
