from pathlib import Path

import pytest

from cxr.bench.defaults import BenchResult, format_bench, run_bench, start_fresh
from cxr.request.errors import GenerationError, RequestError
from cxr.request.model_info import ModelInfo

RESULT = BenchResult(
    info=ModelInfo("embedded", "sha256:0", "clinical", "", 256, "UniPCMultistepScheduler", "bfloat16", "cpu"),
    threads=2,
    runs=3,
    image_s={"product": 0.5, "float32": 1.0, "base": 0.4, "defaults": 6.0},
    load_to_first_image_s=2.5,
    fresh_process_s=7.0,
    preview_share=0.012,
)


def test_ratios_follow_from_the_seconds() -> None:
    assert (RESULT.speedup, RESULT.float32_speedup) == (12.0, 6.0)
    assert RESULT.adapter_ratio == pytest.approx(1.25)


def test_the_text_names_every_figure() -> None:
    text = format_bench(RESULT)
    for figure in ("0.50 s", "1.00 s", "6.00 s", "12.0 x", "6.0 x", "1.25", "1.2%", "2.5 s", "7.0 s", "median of 3"):
        assert figure in text
    assert len({len(line) for line in text.splitlines()[1:]}) == 1  # one column


def test_a_bench_of_the_tiny_model_measures_everything(tiny_model_dir: Path, tiny_lora_dir: Path) -> None:
    result = run_bench(str(tiny_model_dir), f"local:{tiny_lora_dir}", runs=1, fresh_process=False)
    assert (result.info.model, result.info.adapter, result.info.weight_dtype) == ("tiny", "tiny_lora", "float32")
    assert result.fresh_process_s is None
    assert result.speedup > 2  # 51 steps against 8
    assert 0 < result.preview_share < 1
    assert "fresh" not in format_bench(result)


@pytest.mark.slow
def test_a_failure_of_the_new_process_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"could not make an image: .*nowhere"):
        start_fresh(str(tmp_path / "nowhere"), "none")


@pytest.mark.parametrize("runs", [0, 101])
def test_runs_have_a_range(runs: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 100"):
        run_bench(runs=runs)
