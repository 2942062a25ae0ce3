"""How fast this machine makes images, beside what a user could take instead, on the same weights in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from cxr.bench.network_times import NetworkTimes, flops_per_row, measure_network_times
from cxr.bench.peers import Peer, peers_of
from cxr.bench.roofline import Peak, make_bench_images, measure_peak
from cxr.bench.rounds import PROMPT, Spread, Stopwatch, check_runs, interleaved, ratio, stopwatch
from cxr.bench.start import start_fresh
from cxr.generate.encode_decode import encode
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.sampling import Denoiser
from cxr.models.devices import choose_device, seconds
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural
from cxr.request.model_info import ModelInfo

PRODUCT, ALL_GUIDED, BASE = "this program", "this program, every step guided", "this program without the LoRA"
BY_PYTORCH = "this program by PyTorch"
BATCH_SIZES = (1, 4)
MAX_BATCH_SIZE = 64
PREVIEW_EVERY = 2  # as often as the page asks for one


@dataclass(frozen=True)
class BenchResult:
    """What was measured.

    Args:
        info: of the model: its name, its LoRA, and the number format and device of the default settings.
        hardware: "2 CPU threads" or the name of the GPU.
        image_s: seconds an image in each round, by row and by how many are asked for at once.
        details: what else a row says: version, settings.
        absent: rows that are not there, and why.
        parts: of this program, by how many images are asked for at once.
        row_flops: operations of the UNet for one image without guidance.
        peak: of this hardware's own arithmetic in the same number format.
        load_to_first_image_s: reading the model and making one image, without importing the libraries.
        fresh_process_s: the same in a new process, imports included; None when not measured.
        preview_share: part of an image's time that previews at every second step would take.
        processor_time: whether seconds are the processor's and not the clock's.
    """

    info: ModelInfo
    hardware: str
    image_s: Mapping[tuple[str, int], tuple[float, ...]]
    details: Mapping[str, str]
    absent: Mapping[str, str]
    parts: Mapping[int, NetworkTimes]
    row_flops: float
    peak: Peak
    load_to_first_image_s: float
    fresh_process_s: float | None
    preview_share: float
    processor_time: bool = False

    def times_as_long(self, name: str, batch: int) -> Spread:
        """How many times as long as this program another row takes."""
        return ratio(self.image_s[name, batch], self.image_s[PRODUCT, batch])

    def peak_share(self, batch: int) -> float:
        """The UNet's operations per second as a share of the hardware's own."""
        parts = self.parts[batch]
        return parts.num_rows * self.row_flops / parts.unet_s / self.peak.best


def run_bench(
    model: str | None = None,
    adapter: str | None = "default",
    runs: int = 3,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    device: str = "",
    peer_python: str | None = None,
    processor_time: bool = False,
    fresh_process: bool = True,
) -> BenchResult:
    """Measure; takes a minute or two with the embedded model on two cores.

    Args:
        model: as for ``load_model``.
        adapter: as for ``load_model``.
        runs: timed rounds, 1 to 100.
        batch_sizes: how many images are asked for at once, 1 to 64 each.
        device: that has to be there, "cuda"; "" for what is there.
        peer_python: interpreter of an environment with optimum-intel.
        processor_time: count the processor's seconds in place of the clock's.
        fresh_process: also time a new process from its start to its first image.
    Raises:
        RequestError: a number is outside its range, or there is no such device.
        GenerationError: the model makes no image from the bench's prompt, or ``peer_python`` does not work.
    """
    _check(runs, batch_sizes, device)
    began = time.perf_counter()
    loaded = load_model(model, adapter)
    make_bench_images(loaded)
    load_to_first_image_s = time.perf_counter() - began
    fresh_process_s = seconds(lambda: start_fresh(model, adapter), loaded.device) if fresh_process else None
    sizes = sorted(set(batch_sizes))
    watch = stopwatch(loaded.device, counts_processor=processor_time)
    with peers_of(loaded, peer_python) as (peers, absent):
        image_s = _image_seconds(loaded, peers, sizes, runs, watch)
    return BenchResult(
        info=loaded.info,
        hardware=hardware_of(loaded.device),
        image_s=image_s,
        details={peer.name: peer.detail for peer in peers},
        absent=absent,
        parts={size: measure_network_times(loaded, partial(_make, loaded, size), runs, watch) for size in sizes},
        row_flops=flops_per_row(loaded),
        peak=measure_peak(loaded.device, loaded.weight_dtype, watch),
        load_to_first_image_s=load_to_first_image_s,
        fresh_process_s=fresh_process_s,
        preview_share=_preview_seconds(loaded, runs, watch) / statistics.median(image_s[PRODUCT, sizes[0]]),
        processor_time=processor_time,
    )


def _check(runs: int, batch_sizes: Sequence[int], device: str) -> None:
    check_runs(runs)
    if wrong := [size for size in batch_sizes if not 1 <= size <= MAX_BATCH_SIZE]:
        raise RequestError(f"is {wrong[0]}; use a whole number from 1 to {MAX_BATCH_SIZE}", field="batch_sizes")
    if device and choose_device().type != device:
        raise RequestError("bench --gpu needs a CUDA device, and there is none here; use bench without --gpu")


def _image_seconds(
    loaded: LoadedModel, peers: Sequence[Peer], sizes: Sequence[int], runs: int, watch: Stopwatch
) -> dict[tuple[str, int], tuple[float, ...]]:
    """Seconds an image in each round, as ``BenchResult.image_s`` has them."""
    found: dict[tuple[str, int], tuple[float, ...]] = {}
    for size in sizes:
        arms = _arms(loaded, peers, size, is_first=size == sizes[0])
        # With another weight of the LoRA the first image takes longer.
        before = {name: arms[name] for name in (PRODUCT, BASE)} if BASE in arms else {}
        taken = interleaved(arms, runs, watch, before)
        found |= {(name, size): tuple(value / size for value in values) for name, values in taken.items()}
    return found


def hardware_of(device: torch.device) -> str:
    """What computes: "1 CPU thread", or the name of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return plural(torch.get_num_threads(), "CPU thread") if device.type == "cpu" else device.type


def _arms(loaded: LoadedModel, peers: Sequence[Peer], size: int, *, is_first: bool) -> dict[str, Callable[[], object]]:
    arms: dict[str, Callable[[], object]] = {
        PRODUCT: partial(_make, loaded, size),
        ALL_GUIDED: partial(_make, loaded, size, guidance_stop=1.0),
    }
    if loaded.engine:
        arms[BY_PYTORCH] = partial(_make_by_pytorch, loaded, size)
    if loaded.adapter and is_first:
        arms[BASE] = partial(_make, loaded, size, adapter_weight=0.0)
    return arms | {peer.name: partial(peer.make, size) for peer in peers if is_first or not peer.is_slow}


def _make(loaded: LoadedModel, num_images: int, **settings: float) -> None:
    """Make images at once; on a GPU as one micro-batch, on a CPU as this program would."""
    chosen = loaded.micro_batch_size
    if loaded.device.type != "cpu":
        loaded.micro_batch_size = num_images
    try:
        make_bench_images(loaded, num_images=num_images, **settings)
    finally:
        loaded.micro_batch_size = chosen


def _make_by_pytorch(loaded: LoadedModel, num_images: int) -> None:
    engine, loaded.engine = loaded.engine, None
    try:
        _make(loaded, num_images)
    finally:
        loaded.engine = engine


def _preview_seconds(loaded: LoadedModel, runs: int, watch: Stopwatch) -> float:
    """Of all previews that the page asks for while one image is made."""
    embeddings = encode(loaded, PROMPT, "", 3.0)
    size = loaded.micro_batch_size
    denoiser = Denoiser(loaded, [embeddings] * size, (3.0, 1.0), [0] * size, 1)
    denoiser.step(denoiser.timesteps[0])
    num_previews = GenerationRequest(PROMPT).num_inference_steps // PREVIEW_EVERY
    return num_previews * statistics.median(watch(denoiser.preview) for _ in range(5 * runs))
