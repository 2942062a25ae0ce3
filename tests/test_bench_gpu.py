"""The bench against plain diffusers: its arithmetic, its text, and the whole of it run on a CPU."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.bench.gpu import PRODUCT, GpuBench, format_gpu_bench, plain_pipelines, run_gpu_bench
from cxr.bench.roofline import PROMPT, count_flops, interleaved_medians, peak_flops_per_s
from cxr.commands import main as cli
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.models.devices import seconds
from cxr.request.errors import RequestError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

CPU = torch.device("cpu")
RESULT = GpuBench(
    device="NVIDIA H100 80GB HBM3",
    model="embedded",
    weight_dtype="bfloat16",
    num_inference_steps=8,
    runs=5,
    best_batch=8,
    image_s={
        (PRODUCT, 1): 0.1,
        (PRODUCT, 8): 0.02,
        ("float32", 1): 0.5,
        ("float32", 8): 0.2,
        ("float16", 1): 0.21,
        ("float16", 8): 0.025,
    },
    step_s=0.002,
    step_flops=400 * 10**9,
    peak_flops_per_s=500e12,
)


def test_ratios_and_share_follow_from_the_seconds() -> None:
    assert RESULT.speedup("float32", 1) == pytest.approx(5.0)
    assert RESULT.speedup("float16", 8) == pytest.approx(1.25)
    assert RESULT.roofline_share == pytest.approx(0.4)


def test_the_text_has_each_ratio_beside_its_goal() -> None:
    text = format_gpu_bench(RESULT)
    assert text.startswith(
        "NVIDIA H100 80GB HBM3: model embedded without a LoRA, 8 guided steps, median of 5, bfloat16:"
    )
    assert "batch 1   plain diffusers float16: 0.210 s, 2.10 times as long (goal 2: reached)" in text
    assert "batch 8   plain diffusers float16: 0.025 s, 1.25 times as long (goal 1.3: missed)" in text
    assert "batch 8   plain diffusers float32: 0.200 s, 10.00 times as long\n" in text
    assert "UNet, batch 8: 200 of 500 TFLOP/s of a bfloat16 matrix product, 0.40 (goal 0.3: reached)" in text
    assert "0.40 (goal 0.38: reached)" in format_gpu_bench(dataclasses.replace(RESULT, device="NVIDIA A100-SXM4-80GB"))
    assert "0.40 (no goal for this GPU)" in format_gpu_bench(dataclasses.replace(RESULT, device="Tesla T4"))


def test_the_whole_bench_runs(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_BATCH_SIZE", "2")
    assert cli.main(["bench", "--gpu", "--device", "cpu", "--runs", "1", "--model", str(tiny_model_dir)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("cpu: model tiny without a LoRA, 8 guided steps, median of 1, float32:")
    assert len(text.splitlines()) == 1 + 2 * 3 + 1
    assert "batch 2   plain diffusers float16" in text


def test_the_arms_take_turns_after_a_round_that_warms_up() -> None:
    turns: list[str] = []
    medians = interleaved_medians({name: partial(turns.append, name) for name in "abc"}, 2, CPU)
    assert "".join(turns) == "abc" * 3
    assert set(medians) == set("abc")


def test_every_arm_is_measured(tiny_model_dir: Path) -> None:
    result = run_gpu_bench(str(tiny_model_dir), runs=1, device="cpu")
    assert set(result.image_s) == {(PRODUCT, 1), ("float32", 1), ("float16", 1)}
    assert 0 < result.roofline_share < 1


def test_plain_diffusers_makes_the_same_images_of_the_same_weights(tiny_base_model: LoadedModel) -> None:
    plain = dict(plain_pipelines(tiny_base_model))
    weight = plain["float32"].unet.conv_in.weight
    assert weight.is_contiguous()
    assert plain["float16"].vae.dtype == plain["float16"].text_encoder.dtype == torch.float16
    images = plain["float32"](
        PROMPT,
        num_inference_steps=8,
        guidance_scale=GenerationRequest.guidance_scale,
        generator=[torch.Generator().manual_seed(0)],
        output_type="np",
    ).images
    (ours,) = (
        event
        for event in generate(GenerationRequest(PROMPT, guidance_stop=1.0), tiny_base_model)
        if isinstance(event, GeneratedImage)
    )
    assert np.abs((images[0, :, :, 0] * 255).round() - ours.pixels).max() <= 1


def test_without_a_gpu_it_is_one_sentence(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert cli.main(["bench", "--gpu", "--model", str(tiny_model_dir)]) == 2
    assert "bench --gpu needs a CUDA device, and there is none here" in capsys.readouterr().err


@pytest.mark.parametrize("runs", [0, 101])
def test_runs_have_a_range(runs: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 100"):
        run_gpu_bench(runs=runs)


def test_operations_are_counted_twice_per_multiplication() -> None:
    left, right = torch.zeros(3, 5), torch.zeros(5, 7)
    assert count_flops(lambda: left @ right) == 2 * 3 * 5 * 7


def test_the_peak_is_the_best_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0] * 10 + [0.5] + [1.0] * 9)
    monkeypatch.setattr("cxr.bench.roofline.GEMM_SIDES", {"cpu": (2, 4)})
    monkeypatch.setattr("cxr.bench.roofline.seconds", lambda work, device: (work(), next(times))[1])
    assert peak_flops_per_s(CPU, torch.float32) == 2 * 4**3 / 0.5


def test_seconds_are_positive() -> None:
    assert seconds(lambda: torch.zeros(8), CPU) > 0


@pytest.mark.gpu
def test_the_bench_on_a_gpu() -> None:
    result = run_gpu_bench(runs=1)
    assert result.best_batch == load_model(adapter="none").micro_batch_size
    assert 0 < result.roofline_share < 1
