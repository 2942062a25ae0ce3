"""How fast this machine makes images, and how much of that is owed to this program's settings.

All arms use the same weights, prompt and seed in one run, one after the other in each round, so that another program's
load falls on all of them alike. Medians over the rounds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline

from cxr.bench.roofline import PROMPT, call_diffusers, check_runs, make_images
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.sampling import Denoiser, encode
from cxr.models.devices import seconds
from cxr.request.errors import GenerationError
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo

PREVIEW_EVERY = 2  # as often as the page asks for one
# What StableDiffusionPipeline.__call__ does when nobody says otherwise, with the scheduler of Stable Diffusion 1.
DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE = 50, 7.5


@dataclass(frozen=True)
class BenchResult:
    """Seconds per image (warm, median) and what follows from them.

    Args:
        info: of the model: its name, its LoRA, and the number format and device of the default settings.
        threads: CPU threads that torch uses.
        runs: timed images of each kind.
        image_s: by what makes the images. "product": this program's default settings; "float32": the same in float32;
            "base": the default settings with the LoRA at weight 0; "defaults": PNDM, 50 steps, guidance 7.5, float32,
            the LoRA as layers of its own, by StableDiffusionPipeline.__call__.
        load_to_first_image_s: reading the model and making one image, without importing the libraries.
        fresh_process_s: the same in a new process, imports included; None when not measured.
        preview_share: part of an image's time that previews at every second step would take.
    """

    info: ModelInfo
    threads: int
    runs: int
    image_s: Mapping[str, float]
    load_to_first_image_s: float
    fresh_process_s: float | None
    preview_share: float

    @property
    def speedup(self) -> float:
        """How many times faster the default settings are than the pipeline's own."""
        return self.image_s["defaults"] / self.image_s["product"]

    @property
    def float32_speedup(self) -> float:
        """The same, with float32 on both sides."""
        return self.image_s["defaults"] / self.image_s["float32"]

    @property
    def adapter_ratio(self) -> float:
        """Time with the LoRA active divided by that of the base model alone."""
        return self.image_s["product"] / self.image_s["base"]


def run_bench(
    model: str | None = None, adapter: str | None = "default", runs: int = 3, *, fresh_process: bool = True
) -> BenchResult:
    """Measure; takes about half a minute with the embedded model on two cores.

    Args:
        model: as for ``load_model``.
        adapter: as for ``load_model``.
        runs: timed images of each kind, 1 to 100.
        fresh_process: also time a new process from its start to its first image.
    Raises:
        RequestError: ``runs`` is outside its range.
        GenerationError: the model makes no image from the bench's prompt.
    """
    check_runs(runs)
    began = time.perf_counter()
    loaded = load_model(model, adapter)
    make_images(loaded)
    load_to_first_image_s = time.perf_counter() - began
    fresh_process_s = seconds(lambda: start_fresh(model, adapter), loaded.device) if fresh_process else None
    image_s = _interleaved(loaded, runs)
    num_previews = GenerationRequest(PROMPT).num_inference_steps // PREVIEW_EVERY
    preview_share = num_previews * _preview_seconds(loaded, runs) / image_s["product"]
    threads = torch.get_num_threads()
    return BenchResult(loaded.info, threads, runs, image_s, load_to_first_image_s, fresh_process_s, preview_share)


def format_bench(result: BenchResult) -> str:
    """The result as a few lines of text for a terminal."""
    defaults = GenerationRequest(PROMPT)
    settings = f"UniPC, {defaults.num_inference_steps} steps, guidance {defaults.guidance_scale:g}"
    settings += f" in the first {defaults.guidance_stop:.0%}"
    info = result.info
    device = f"{result.threads} CPU threads" if info.device == "cpu" else info.device
    rows = [
        (f"default settings ({settings}, {info.weight_dtype})", f"{result.image_s['product']:.2f} s"),
        ("default settings in float32", f"{result.image_s['float32']:.2f} s"),
        ("pipeline defaults (PNDM, 50 steps, guidance 7.5, float32)", f"{result.image_s['defaults']:.2f} s"),
        ("times faster than the pipeline defaults", f"{result.speedup:.1f} x"),
        ("times faster, float32 on both sides", f"{result.float32_speedup:.1f} x"),
        ("time with the LoRA / time of the base alone", f"{result.adapter_ratio:.2f}"),
        ("share of an image's time for previews", f"{result.preview_share:.1%}"),
        ("model load to first image", f"{result.load_to_first_image_s:.1f} s"),
    ]
    if result.fresh_process_s is not None:
        rows.append(("start of a new process to first image", f"{result.fresh_process_s:.1f} s"))
    width = max(len(name) for name, _ in rows)
    head = f"Model {info.model}, LoRA {info.adapter}, {device}; warm seconds an image, median of {result.runs}:"
    return "\n".join([head, *(f"  {name:<{width}}  {value:>8}" for name, value in rows)])


def _interleaved(loaded: LoadedModel, runs: int) -> dict[str, float]:
    """Median seconds of each arm; every round runs all of them, warm in the number format of each."""
    reference = _reference_pipeline(loaded)
    taken: dict[str, list[float]] = {"product": [], "base": [], "float32": [], "defaults": []}

    def run(arm: str, work: Callable[[], object]) -> None:
        taken[arm].append(seconds(work, loaded.device))

    for _ in range(runs):
        make_images(loaded)
        run("product", lambda: make_images(loaded))
        run("base", lambda: make_images(loaded, adapter_weight=0.0))
        with loaded.in_float32():
            make_images(loaded)
            run("float32", lambda: make_images(loaded))
            with loaded.with_lora_layers():
                run("defaults", lambda: call_diffusers(reference, DEFAULT_STEPS, DEFAULT_GUIDANCE_SCALE))
    return {arm: statistics.median(values) for arm, values in taken.items()}


def _reference_pipeline(loaded: LoadedModel) -> StableDiffusionPipeline:
    components = dict(loaded.pipeline.components)
    components["scheduler"] = PNDMScheduler.from_config(loaded.pipeline.scheduler.config, skip_prk_steps=True)
    pipeline = StableDiffusionPipeline(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _preview_seconds(loaded: LoadedModel, runs: int) -> float:
    embeddings = encode(loaded, PROMPT, "", 3.0)
    denoiser = Denoiser(loaded, [embeddings] * loaded.micro_batch_size, (3.0, 1.0), [0] * loaded.micro_batch_size, 1)
    denoiser.step(denoiser.timesteps[0])
    return statistics.median(seconds(denoiser.preview, loaded.device) for _ in range(5 * runs))


def start_fresh(model: str | None, adapter: str | None) -> None:
    """Make one image in a new process.

    Raises:
        GenerationError: that process failed.
    """
    code = (
        "import sys; from cxr.bench.roofline import make_images; from cxr.generate.model import load_model; "
        "make_images(load_model(*[value or None for value in sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, model or "", adapter or "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise GenerationError(f"a new process could not make an image: {last_line}")
