"""The bench: its arithmetic, its text, and the whole of it run with a tiny model."""

from __future__ import annotations

import dataclasses
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import images_of

from cxr.bench.dataset_speed import DatasetBench, format_dataset_bench
from cxr.bench.network_times import NetworkTimes, flops_per_row
from cxr.bench.onnx_peer import onnx_networks
from cxr.bench.peers import DEFAULTS, EQUAL, ONNX_RUNTIME, OPTIMUM, call_equal, default_peer, peers_of, plain_pipeline
from cxr.bench.roofline import Peak, count_flops, make_bench_images, measure_peak
from cxr.bench.rounds import PROMPT, Spread, interleaved, ratio, stopwatch
from cxr.bench.speed import ALL_GUIDED, BASE, PRODUCT, BenchResult, run_bench
from cxr.bench.speed_text import format_bench
from cxr.bench.start import StartBench, format_start, measure_start, start_fresh
from cxr.commands import main as cli
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.models.devices import run_step, seconds
from cxr.request.errors import GenerationError, RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.model_info import ModelInfo

CPU = torch.device("cpu")
INFO = ModelInfo("embedded", "sha256:0", "clinical", "", 256, "UniPCMultistepScheduler", "bfloat16", "cpu")
RESULT = BenchResult(
    info=INFO,
    hardware="2 CPU threads",
    image_s={
        (PRODUCT, 1): (0.4, 0.5, 0.6),
        (EQUAL, 1): (0.8, 1.25, 1.2),
        (DEFAULTS, 1): (4.0, 10.0, 12.0),
        (PRODUCT, 4): (0.25, 0.25, 0.25),
        (EQUAL, 4): (0.3, 0.3, 0.4),
    },
    details={DEFAULTS: "PNDM, 50 steps"},
    absent={ONNX_RUNTIME: "not installed here"},
    parts={1: NetworkTimes(0.5, 0.4, 0.05, 0.03, 8, 14), 4: NetworkTimes(1.0, 0.8, 0.1, 0.01, 32, 56)},
    row_flops=2e9,
    peak=Peak(gemm=100e9, conv=140e9),
    load_to_first_image_s=2.5,
    fresh_process_s=7.0,
    preview_share=0.012,
)


def test_a_ratio_is_that_of_each_round_with_its_spread() -> None:
    assert RESULT.times_as_long(EQUAL, 1) == Spread(2.0, 2.0, 2.5)
    assert ratio([1.0, 9.0], [2.0, 3.0]) == Spread(1.75, 0.5, 3.0)
    assert f"{Spread(2.0, 1.25, 2.5):.1f}" == "2.0 (1.2–2.5)"


def test_parts_add_up_to_the_whole() -> None:
    parts = RESULT.parts[1]
    assert parts.overhead_s == pytest.approx(0.02)
    assert parts.step_s == pytest.approx(0.05)
    assert RESULT.peak_share(1) == pytest.approx(14 * 2e9 / 0.4 / 140e9)


def test_the_text_has_each_figure_beside_its_goal() -> None:
    text = format_bench(RESULT)
    for part in (
        "Model embedded, LoRA clinical, 256 px, bfloat16, pytorch, 2 CPU threads; ",
        "this program: 8 steps of UniPCMultistep, guidance ",
        "median of 3 (lowest–highest)",
        "0.500 (0.400–0.600) s (goal 0.5: reached)",
        "x 2.00 (2.00–2.50) (goal 2: reached)",
        "x 20.00 (10.00–20.00) (goal 20: reached)  [PNDM, 50 steps]",
        "x 1.20 (1.20–1.60) (goal 2: missed)",
        "UNet 8 x 0.0500 s, decoder 0.050 s, new text 0.030 s, overhead 0.020 s (4.0%)",
        "UNet: 70 GFLOP/s of 100 GFLOP/s (matrix product) and 140 GFLOP/s (convolution) in the same run, 0.50",
        "ONNX Runtime: not installed here",
        "1.2% of an image's time",
        "first image: 2.5 s",
        "first image: 7.0 s",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("hardware", "said"),
    [("NVIDIA H100 80GB HBM3", "(goal 0.3: reached)"), ("NVIDIA A100-SXM4-80GB", "(goal 0.38: reached)")],
)
def test_a_gpu_has_goals_of_its_own(hardware: str, said: str) -> None:
    result = dataclasses.replace(RESULT, hardware=hardware, info=dataclasses.replace(INFO, device="cuda"))
    text = format_bench(result)
    assert said in text
    assert "x 1.20 (1.20–1.60) (goal 1.3: missed)" in text
    assert "goal 20" not in text
    assert "goal 0.5" not in text


def test_a_gpu_without_a_goal_says_none() -> None:
    text = format_bench(dataclasses.replace(RESULT, hardware="Tesla T4", info=dataclasses.replace(INFO, device="cuda")))
    assert "0.50 of the higher\n" in text


def test_a_bench_of_the_tiny_model_measures_everything(tiny_model_dir: Path, tiny_lora_dir: Path) -> None:
    adapter = f"local:{tiny_lora_dir}"
    result = run_bench(str(tiny_model_dir), adapter, runs=1, batch_sizes=(2, 1), fresh_process=False)
    assert (result.info.model, result.info.adapter, result.info.weight_dtype) == ("tiny", "tiny_lora", "float32")
    assert {name for name, size in result.image_s if size == 1} >= {PRODUCT, ALL_GUIDED, BASE, EQUAL, DEFAULTS}
    assert {name for name, size in result.image_s if size == 2} >= {PRODUCT, ALL_GUIDED, EQUAL}
    assert not {(DEFAULTS, 2), (BASE, 2)} & result.image_s.keys()  # 50 steps of each image; once is enough
    assert result.times_as_long(DEFAULTS, 1).median > 2  # 51 steps against 8
    steps = GenerationRequest(PROMPT).num_inference_steps
    assert (result.parts[1].num_calls, result.parts[2].num_calls) == (steps, 2 * steps)  # one by one on a CPU
    assert steps < result.parts[1].num_rows < 2 * steps  # the last ones are not guided
    assert min(result.parts[1].unet_s, result.parts[1].decoder_s, result.parts[1].text_s) > 0
    assert result.parts[1].overhead_s > 0
    assert 0 < result.peak_share(1) < 1
    assert 0 < result.preview_share < 1
    assert set(result.absent) >= {OPTIMUM}
    assert "fresh" not in format_bench(result)


@pytest.mark.slow
def test_the_same_rows_on_a_gpu(
    tiny_model_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_ENGINE", "pytorch")  # a GPU has no other
    command = ["bench", "--gpu", "--device", "cpu", "--runs", "1", "--batch-sizes", "1", "--model", str(tiny_model_dir)]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert text.startswith("Model tiny, LoRA none, 32 px, float32, pytorch, ")
    assert all(name in text for name in (PRODUCT, ALL_GUIDED, EQUAL, DEFAULTS, ONNX_RUNTIME, OPTIMUM))


def test_plain_diffusers_makes_the_same_images_of_the_same_weights(tiny_model_dir: Path, tiny_lora_dir: Path) -> None:
    loaded = load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}")
    request = GenerationRequest(PROMPT, guidance_stop=1.0)
    (ours,) = images_of(request, loaded)
    plain = plain_pipeline(loaded, torch.float32)
    assert not any("lora" in name for name, _ in plain.unet.named_parameters())
    assert plain.unet.conv_in.weight.is_contiguous()
    images = plain(
        PROMPT,
        num_inference_steps=8,
        guidance_scale=request.guidance_scale,
        generator=[torch.Generator().manual_seed(0)],
        output_type="np",
    ).images
    assert np.abs((images[0, :, :, 0] * 255).round() - ours.pixels.astype(float)).max() <= 1


def test_a_plain_copy_may_have_another_format(tiny_base_model: LoadedModel) -> None:
    plain = plain_pipeline(tiny_base_model, torch.bfloat16)
    assert plain.vae.dtype == plain.text_encoder.dtype == plain.unet.dtype == torch.bfloat16
    assert tiny_base_model.pipeline.unet.dtype == torch.float32


def test_diffusers_defaults_are_asked_of_diffusers(tiny_base_model: LoadedModel) -> None:
    peer = default_peer(tiny_base_model.pipeline)
    assert peer.detail == "PNDM, 50 steps, guidance 7.5, float32"
    assert peer.is_slow
    assert type(tiny_base_model.pipeline.scheduler).__name__ != "PNDMScheduler"


def test_onnx_runtime_gives_the_same_networks(tiny_base_model: LoadedModel, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    plain = plain_pipeline(tiny_base_model, torch.float32)
    unet, vae = onnx_networks(plain, tmp_path)
    latents = torch.randn(2, 4, 4, 4)
    text = torch.randn(2, plain.tokenizer.model_max_length, plain.unet.config.cross_attention_dim)
    with torch.inference_mode():
        for ours, theirs in (
            (plain.unet(latents, torch.tensor(7), text).sample, unet(latents, torch.tensor(7), text)[0]),
            (plain.vae.decode(latents).sample, vae.decode(latents)[0]),
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


STAND_IN = """
import sys
folder, prompt, steps, guidance, threads = sys.argv[2:]
print("optimum-intel 9.9", flush=True)
for line in sys.stdin:
    open(folder + "/asked", "a").write(line)
    print("done", flush=True)
"""


def test_another_pythons_pipeline_takes_its_turn(tiny_base_model: LoadedModel, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{STAND_IN}", encoding="utf-8")
    script.chmod(0o755)
    with peers_of(tiny_base_model, str(script)) as (peers, absent):
        (peer,) = (peer for peer in peers if peer.name == OPTIMUM)
        peer.make(3)
        assert peer.detail == "optimum-intel 9.9"
        assert OPTIMUM not in absent


@pytest.mark.parametrize("python", ["/nowhere/python", sys.executable])
def test_a_python_without_optimum_is_one_sentence(tiny_base_model: LoadedModel, python: str) -> None:
    with pytest.raises(GenerationError, match="--peer-python"), peers_of(tiny_base_model, python):
        pass


@pytest.mark.slow
def test_a_failure_of_the_new_process_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"could not make an image: .*nowhere"):
        start_fresh(str(tmp_path / "nowhere"), "none")


@pytest.mark.parametrize("runs", [0, 101])
def test_runs_have_a_range(runs: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 100"):
        run_bench(runs=runs)
    with pytest.raises(RequestError, match="from 1 to 100"):
        measure_start("embedded", "none", runs)


@pytest.mark.parametrize("size", [0, -1, 65])
def test_batch_sizes_have_a_range(size: int) -> None:
    with pytest.raises(RequestError, match=f"is {size}; use a whole number from 1 to 64"):
        run_bench(batch_sizes=[1, size])


def test_without_a_gpu_it_is_one_sentence(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert cli.main(["bench", "--gpu", "--model", str(tiny_model_dir)]) == 2
    assert "bench --gpu needs a CUDA device, and there is none here" in capsys.readouterr().err


def test_the_arms_take_turns_after_a_round_that_warms_up() -> None:
    turns: list[str] = []
    arms = {name: partial(turns.append, name) for name in "abc"}
    taken = interleaved(arms, 2, stopwatch(CPU), {"b": partial(turns.append, "B")})
    assert "".join(turns) == "aBbc" * 3
    assert {name: len(values) for name, values in taken.items()} == dict.fromkeys("abc", 2)


def test_the_processors_seconds_leave_out_what_waits() -> None:
    watch = stopwatch(CPU, counts_processor=True)
    assert watch(lambda: time.sleep(0.3)) < 0.1
    assert stopwatch(CPU)(lambda: time.sleep(0.3)) >= 0.3

    def work() -> None:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass

    assert 0.1 < watch(work) < 0.4


def test_operations_are_counted_twice_per_multiplication() -> None:
    left, right = torch.zeros(3, 5), torch.zeros(5, 7)
    assert count_flops(lambda: left @ right) == 2 * 3 * 5 * 7


def test_operations_of_the_text_encoder_are_not_the_unets(tiny_base_model: LoadedModel) -> None:
    whole = count_flops(partial(run_step, tiny_base_model.network))  # its text is as long, and comes from nowhere
    assert flops_per_row(tiny_base_model) == pytest.approx(whole / 2)


def test_the_peak_is_the_best_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([*[1.0] * 10, 0.5, *[1.0] * 100])
    monkeypatch.setattr("cxr.bench.roofline.GEMM_SIDES", {"cpu": (2, 4)})
    monkeypatch.setattr("cxr.bench.roofline.CONV_SHAPES", {"cpu": ((2, 3),)})
    # Two pictures of 2 channels and 3 x 3 pixels, and 9 weights from each of 2 channels.
    peak = measure_peak(CPU, torch.float32, lambda work: (work(), next(times))[1])
    assert peak == Peak(gemm=2 * 4**3 / 0.5, conv=2 * (2 * 2 * 9) * (2 * 9))


def test_seconds_are_positive() -> None:
    assert seconds(lambda: torch.zeros(8), CPU) > 0


def test_a_model_that_fails_stops_the_bench(tiny_model_dir: Path) -> None:
    broken = load_model(str(tiny_model_dir), "none")
    with torch.no_grad():
        broken.pipeline.vae.decoder.conv_out.weight.fill_(float("nan"))
    with pytest.raises(GenerationError, match="the bench's prompt gives no image"):
        make_bench_images(broken)


STARTED = StartBench(gradio_s=(2.0, 2.5, 2.2), page_s=(3.4, 4.5, 3.6), picture_s=(9.0, 6.5, 5.5), cpu_s=(6.0, 6.0, 5.0))


def test_a_start_is_told_beside_gradios_own_import() -> None:
    text = format_start(STARTED)
    assert "import of gradio                    2.20 (2.00–2.50)" in text
    assert "beyond gradio's import            1.40 (1.40–2.00) (goal 1.5: reached)" in text
    assert "to the first picture  6.50 (5.50–9.00) (goal 6: missed)" in text


@pytest.mark.slow
def test_the_page_starts_and_makes_a_picture(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--start", "--runs", "1", "--model", str(tiny_model_dir), "--adapter", "none"]) == 0
    assert "python app.py to the first picture" in capsys.readouterr().out


@pytest.mark.slow
def test_a_page_that_does_not_start_says_why() -> None:
    with pytest.raises(GenerationError, match="the page does not answer: "):
        measure_start("embedded", "none:nothing:", 1)


@pytest.mark.gpu
def test_the_bench_on_a_gpu() -> None:
    result = run_bench(runs=1, device="cuda", fresh_process=False)
    assert 0 < result.peak_share(1) < 1


def test_call_equal_makes_as_many(tiny_base_model: LoadedModel) -> None:
    plain = plain_pipeline(tiny_base_model, torch.float32)
    asked: list[int] = []
    decode = plain.vae.decode

    def counted(latents: torch.Tensor, **options: Any) -> Any:
        asked.append(len(latents))
        return decode(latents, **options)

    plain.vae.decode = counted
    call_equal(plain, 3)
    assert asked == [3]


@pytest.mark.parametrize(
    ("processes", "rate", "cores", "share"), [(2, 3.8, 2, 0.95), (2, 1.9, 1, 0.95), (8, 7.0, 4, 0.875), (4, 8.0, 64, 1)]
)
def test_processes_are_measured_by_the_cores_that_they_have(
    processes: int, rate: float, cores: int, share: float
) -> None:
    one = DatasetBench(1, 10, 2.0, 0.0)
    assert DatasetBench(processes, 10, rate, 0.0).efficiency(one, cores) == pytest.approx(share)


def test_the_line_of_several_processes_has_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.bench.dataset_speed.num_cores", lambda: 2)
    one, two = DatasetBench(1, 10, 2.0, 0.0, 500.0), DatasetBench(2, 10, 3.0, 0.0, 500.0)
    assert "500 MB each" in format_dataset_bench(one, one)
    assert "goal" not in format_dataset_bench(one, one) + format_dataset_bench(two)
    assert format_dataset_bench(two, one).endswith("75% of what 2 of 2 cores could make (goal 95%: missed)")
