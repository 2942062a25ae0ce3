"""Where the time of an image goes: UNet, decoder, text, and what is left for everything else."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

from cxr.bench.roofline import count_flops
from cxr.bench.rounds import Stopwatch
from cxr.generate.loaded_model import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NetworkTimes:
    """Seconds for a number of images requested at once, a prompt that is new included.

    Args:
        wall_s: from the request to the last picture.
        unet_s: of it in the UNet.
        decoder_s: of it in the VAE.
        text_s: of it in the text encoder.
        num_calls: of the UNet, a guided one counted once.
        num_rows: of the UNet; a guided call has two for each image.
    """

    wall_s: float
    unet_s: float
    decoder_s: float
    text_s: float
    num_calls: float
    num_rows: float

    @property
    def overhead_s(self) -> float:
        """Time that no network takes."""
        return self.wall_s - self.unet_s - self.decoder_s - self.text_s

    @property
    def step_s(self) -> float:
        """Of one call of the UNet."""
        return self.unet_s / self.num_calls


def measure_network_times(loaded: LoadedModel, make: Callable[[], object], runs: int, watch: Stopwatch) -> NetworkTimes:
    """Median of each part over some runs.

    Args:
        loaded: whose networks are timed.
        make: makes the images by it.
        runs: how often.
    """
    rows = [_one_run(loaded, make, watch) for _ in range(runs)]
    return NetworkTimes(
        **{field.name: statistics.median(getattr(row, field.name) for row in rows) for field in fields(NetworkTimes)}
    )


def flops_per_row(loaded: LoadedModel) -> float:
    """Operations of the UNet for one image without guidance."""
    family, pipeline = loaded.family, loaded.pipeline
    text_flops = count_flops(partial(family.embed, pipeline, "", loaded.device, is_negative=False))
    return (count_flops(partial(family.run_empty_step, pipeline, 1)) - text_flops) / 2


def _one_run(loaded: LoadedModel, make: Callable[[], object], watch: Stopwatch) -> NetworkTimes:
    calls: dict[str, list[tuple[float, int]]] = {"unet": [], "decoder": [], "text": []}
    loaded.embeddings.clear()
    with ExitStack() as stack:
        stack.enter_context(_timed(loaded, "predict", watch, calls["unet"]))
        stack.enter_context(_timed(loaded.pipeline.vae, "decode", watch, calls["decoder"]))
        for name in loaded.family.text_encoders:
            stack.enter_context(_timed(getattr(loaded.pipeline, name), "forward", watch, calls["text"]))
        wall_s = watch(make)
    total_s = {name: sum(taken_s for taken_s, _ in taken) for name, taken in calls.items()}
    num_rows = sum(rows for _, rows in calls["unet"])
    return NetworkTimes(wall_s, total_s["unet"], total_s["decoder"], total_s["text"], len(calls["unet"]), num_rows)


@contextmanager
def _timed(network: object, name: str, watch: Stopwatch, taken: list[tuple[float, int]]) -> Iterator[None]:
    """Note the seconds of each call of a method, and how many rows its first argument has."""
    method = getattr(network, name)

    def timed(*arguments: Tensor, **options: object) -> object:
        answers: list[object] = []
        taken_s = watch(lambda: answers.append(method(*arguments, **options)))
        taken.append((taken_s, len(arguments[0]) if arguments else 0))
        return answers[0]

    setattr(network, name, timed)
    try:
        yield
    finally:
        delattr(network, name)
