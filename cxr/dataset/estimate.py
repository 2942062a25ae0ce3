"""A plan before it is run: what will be made, how long that takes here, how much disk it needs."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator

from cxr.dataset.plan import Plan
from cxr.generate.images import generate_each, shared_settings
from cxr.generate.loaded_model import LoadedModel
from cxr.images.png import encode_png
from cxr.request.errors import GenerationError
from cxr.request.events import GeneratedImage

PROBE_IMAGES = 2  # of each kind of settings; the first is not counted
MAX_KINDS = 4
ROW_BYTES = 2_500  # of metadata and labels for each image, beside its PNG


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a plan takes in one process.

    Args:
        num_images: of the plan.
        seconds: on this machine, by `PROBE_IMAGES` of each kind of settings.
        size_bytes: on disk.
    """

    num_images: int
    seconds: float
    size_bytes: int


def describe_plan(plan: Plan) -> Iterator[str]:
    """Lines of a table: images by finding, sex, view and split."""
    yield f"{plan.name}: {len(plan.images)} images"
    for of in ("findings", "sex", "view", "split"):
        counts = plan.counts(of)
        width = max(len(name) for name in counts)
        for number, (name, count) in enumerate(counts.items()):
            yield f"{of if number == 0 else '':<10}{name:<{width}}  {count:>8}"


def estimate(plan: Plan, model: LoadedModel) -> Estimate:
    """Make a few of a plan's images, without keeping them, and go on from there.

    Raises:
        GenerationError: none could be made.
    """
    kinds = Counter(shared_settings(image.request) for image in plan.images)
    seconds: list[tuple[float, int]] = []
    sizes: list[int] = []
    for kind, count in kinds.most_common(MAX_KINDS):
        request = next(image.request for image in plan.images if shared_settings(image.request) == kind)
        requests = [dataclasses.replace(request, seed=seed) for seed in range(PROBE_IMAGES * model.micro_batch_size)]
        began, ended = time.perf_counter(), []
        for event in generate_each(requests, model):
            if isinstance(event, GeneratedImage):
                sizes.append(len(encode_png(event)))
                ended.append(time.perf_counter())
        if len(ended) < len(requests):
            raise GenerationError("the model gives no image for the first prompts of the plan")
        first = ended[model.micro_batch_size - 1]
        seconds.append(((ended[-1] - first) / (len(ended) - model.micro_batch_size) or first - began, count))
    share = sum(count for _, count in seconds) / len(plan.images)
    size = sum(sizes) / len(sizes) + ROW_BYTES
    total_s = sum(each * count for each, count in seconds) / share
    return Estimate(len(plan.images), total_s, int(size * len(plan.images)))
