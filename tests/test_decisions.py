"""What a stopwatch decides is decided once on a machine, and a folder goes on with what it began with."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from cxr.commands.main import main
from cxr.models import batch_size, decisions, devices
from cxr.models.batch_size import Trial, choose_micro_batch_size
from cxr.models.decisions import decide_once, decisions_folder, find_decision
from cxr.models.devices import choose_unet_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_first_answer_is_kept_and_says_what_it_depends_on(tmp_path: Path) -> None:
    assert decide_once("x", lambda: "first", "none") == "first"
    assert decide_once("x", lambda: pytest.fail("measured again"), "none") == "first"
    assert decide_once("y", lambda: "second", "none") == "second"
    (kept, _) = sorted(decisions_folder().iterdir(), key=lambda path: "first" not in path.read_text())
    facts = json.loads(kept.read_text())
    assert facts["answer"] == "first"
    assert {"cpu", "gpu", "torch", "diffusers"} <= facts.keys()
    assert facts["cpu"]


@pytest.mark.parametrize("fact", ["cpu", "gpu", "torch", "diffusers", "transformers"])
def test_another_machine_or_version_is_measured_anew(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide_once("x", lambda: "first", "none") == "first"
    other = decisions.machine_facts() | {fact: "other"}
    monkeypatch.setattr(decisions, "machine_facts", lambda: other)
    assert decide_once("x", lambda: "second", "none") == "second"


def test_of_two_processes_the_first_decides_for_both() -> None:
    barrier, answers = threading.Barrier(2), []

    def measure(answer: str) -> str:
        barrier.wait()
        return answer

    workers = [
        threading.Thread(target=lambda name=name: answers.append(decide_once("x", lambda: measure(name), "none")))
        for name in ("one", "two")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({*answers}) == 1
    assert not [path for path in decisions_folder().iterdir() if path.name.startswith(".")]


def test_where_nothing_can_be_kept_no_stopwatch_decides(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert decide_once("x", lambda: pytest.fail("measured"), "float32") == "float32"


def test_who_has_no_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    assert decide_once("x", lambda: pytest.fail("measured"), "float32") == "float32"
    assert find_decision("x") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"answer": 7}', "[" * 20_000])
def test_a_damaged_file_never_ends_a_run(content: str) -> None:
    decide_once("x", lambda: "first", "none")
    (kept,) = decisions_folder().iterdir()
    kept.write_text(content)
    assert decide_once("x", lambda: "second", "none") in {"second", "none"}


def test_an_error_while_measuring_keeps_nothing() -> None:
    with pytest.raises(ZeroDivisionError):
        decide_once("x", lambda: str(1 // 0), "none")
    assert not list(decisions_folder().iterdir())


def test_a_busy_moment_does_not_change_the_number_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_DTYPE")
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: True)
    network = torch.nn.Linear(2, 2)
    for speedup, asked in ((1.06, torch.bfloat16), (1.01, torch.bfloat16)):
        monkeypatch.setattr(devices, "_decisions", {})  # another process
        monkeypatch.setattr(devices, "_speedup", lambda *given, speedup=speedup: speedup)
        assert choose_unet_dtype(network, CPU) == asked


def test_a_busy_moment_does_not_change_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_BATCH_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_000, 2_000))
    for seconds in (lambda size: 1.0, lambda size: float(size * size)):
        monkeypatch.setattr(batch_size, "try_batch", lambda size, *given, seconds=seconds: Trial(seconds(size), size))
        assert choose_micro_batch_size(CUDA, lambda size: None, lambda size: None, "sha256:1 bfloat16") == 16
    assert choose_micro_batch_size(CUDA, lambda size: None, lambda size: None, "sha256:2 bfloat16") == 1


def test_a_folder_goes_on_with_the_format_that_it_began_with(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(place: str, count: int) -> None:
        command = ["generate", "chest xray", "--steps", "1", "--count", str(count), "--adapter", "none"]
        assert main([*command, "--model", str(tiny_model_dir), "--output", str(tmp_path / place)]) == 0

    monkeypatch.setenv("CXR_DTYPE", "bfloat16")
    monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
    generate("whole", 3)
    monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
    generate("begun", 1)
    monkeypatch.setenv("CXR_DTYPE", "float32")
    monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
    generate("begun", 3)
    whole, begun = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "begun")
    )
    assert begun == whole
    rows = [json.loads(line) for line in (tmp_path / "begun" / "metadata.jsonl").read_text().splitlines()]
    assert {row["weight_dtype"] for row in rows} == {"bfloat16"}
