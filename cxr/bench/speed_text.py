"""What was measured as text for a terminal, with the goals beside it."""

from __future__ import annotations

from collections.abc import Iterator

from cxr.bench.peers import DEFAULTS, EQUAL
from cxr.bench.rounds import Spread, beside_goal
from cxr.bench.speed import PRODUCT, BenchResult
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import plural

# Speed-ups that are aimed at on a CPU at the smallest batch, and on a GPU at one image and at more.
GOAL_DEFAULTS, GOAL_EQUAL, GOAL_EQUAL_MANY = 20.0, 2.0, 1.3
GOAL_IMAGE_S = 0.5  # of 256 x 256 pixels, on a CPU
# Shares of a GPU's own arithmetic that are aimed at, by what its name holds.
GOAL_SHARES = {"A100": 0.38, "H100": 0.30}


def format_bench(result: BenchResult) -> str:
    """The result as a few lines of text; those that make the same images stand under each other."""
    info, request = result.info, GenerationRequest("any")
    sizes = list(result.parts)
    runs = len(result.image_s[PRODUCT, sizes[0]])
    machine = f"{info.weight_dtype}, {info.engine}, {result.hardware}"
    settings = f"{request.num_inference_steps} steps of {info.scheduler.removesuffix('Scheduler')}, guidance "
    settings += f"{request.guidance_scale:g} in the first {request.guidance_stop:.0%}"
    seconds = "seconds of the processor for" if result.processor_time else "seconds"
    lines = [
        f"Model {info.model}, LoRA {info.adapter}, {info.resolution} px, {machine}; this program: {settings}.",
        f"Warm {seconds} an image, and times as long as this program: median of {runs} (lowest–highest).",
    ]
    width = max(len(name) for name, _ in result.image_s)
    for size in sizes:
        lines += ["", f"{plural(size, 'image')} at once:"]
        for name, seconds_s in ((name, taken) for (name, batch), taken in result.image_s.items() if batch == size):
            line = f"  {name:<{width}}  {Spread.of(seconds_s):.3f} s"
            if name != PRODUCT:
                line += f"  x {result.times_as_long(name, size):.2f}" + _goal_of(result, name, size)
            elif info.device == "cpu" and info.resolution == 256 and size == 1:
                line += beside_goal(Spread.of(seconds_s).median, GOAL_IMAGE_S, is_upper_limit=True)
            detail = result.details.get(name, "")
            lines.append(line + (f"  [{detail}]" if detail else ""))
        lines += [f"  {line}" for line in _parts_lines(result, size)]
    lines += ["", *(f"{name}: {reason}" for name, reason in result.absent.items())]
    lines.append(f"Previews at every second step would take {result.preview_share:.1%} of an image's time.")
    lines.append(f"Model load to first image: {result.load_to_first_image_s:.1f} s")
    if result.fresh_process_s is not None:
        lines.append(f"Start of a new process to first image: {result.fresh_process_s:.1f} s")
    return "\n".join(lines)


def _parts_lines(result: BenchResult, size: int) -> Iterator[str]:
    parts = result.parts[size]
    yield (
        f"an image by this program: UNet {parts.num_calls / size:g} x {parts.step_s:.4f} s, decoder "
        f"{parts.decoder_s / size:.3f} s, new text {parts.text_s / size:.3f} s, "
        f"overhead {parts.overhead_s / size:.3f} s ({parts.overhead_s / parts.wall_s:.1%})"
    )
    rate, peak = result.peak_share(size) * result.peak.best, result.peak
    share_goal = next((share for name, share in GOAL_SHARES.items() if name in result.hardware), None)
    beside = "" if share_goal is None else beside_goal(result.peak_share(size), share_goal)
    yield (
        f"UNet: {_flops(rate)} of {_flops(peak.gemm)} (matrix product) and {_flops(peak.conv)} (convolution) in the "
        f"same run, {result.peak_share(size):.2f} of the higher{beside}"
    )


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.3g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"


def _goal_of(result: BenchResult, name: str, size: int) -> str:
    median = result.times_as_long(name, size).median
    if name == EQUAL:
        return beside_goal(median, GOAL_EQUAL if size == 1 or result.info.device == "cpu" else GOAL_EQUAL_MANY)
    if name == DEFAULTS and result.info.device == "cpu":
        return beside_goal(median, GOAL_DEFAULTS)
    return ""
