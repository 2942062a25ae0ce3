"""A data set from plan to manifest: complete, the same however it was interrupted, and honest about what failed."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_images import content

from cxr.bench.dataset_speed import bench_dataset, format_dataset_bench
from cxr.commands.main import main
from cxr.dataset import make
from cxr.dataset.complete import complete_dataset
from cxr.dataset.dataset_folder import DatasetFolder
from cxr.dataset.gate import Gate
from cxr.dataset.make import Options, iterate_dataset, run_dataset
from cxr.dataset.plan import Plan, build_plan
from cxr.dataset.unit_log import Unit, unfinished_first, units_of
from cxr.folders.lock import locked
from cxr.generate import worker
from cxr.generate.images import generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.planned_image import PlannedImage, Rejection, seed_of
from cxr.generate.progress import Progress
from cxr.request.errors import GenerationError, OutputError
from cxr.request.events import FailedImage, GeneratedImage
from cxr.request.generation_request import GenerationRequest

GIVEN: dict[str, Any] = {
    "name": "Tést | <b>set</b>",
    "seed": 7,
    "settings": {"num_inference_steps": 1},
    "cohort": [{"findings": ["Effusion", "No Finding"], "age": "40-60", "count": 8}],
    "prompts": ["A 55-year-old man with pneumonia", "=cmd()"],
    "split": {"train": 0.75, "test": 0.25},
}
NUM_IMAGES = 18

pytestmark = pytest.mark.usefixtures("dataset_model")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(GIVEN, "test")


@pytest.fixture
def options(tiny_model_dir: Path) -> Options:
    return Options(model=str(tiny_model_dir), adapter="none")


@pytest.fixture(scope="module")
def whole(
    plan: Plan, tiny_model_dir: Path, dataset_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "set"
    assert run_dataset(plan, folder, Options(model=str(tiny_model_dir), adapter="none")) == 0
    return content(folder)


class Killed(BaseException):
    """As good as a kill: nothing of this program catches it."""


def run_until(call: int, plan: Plan, folder: Path, options: Options) -> None:
    """A run that ends at a call of os.fsync: within a file or a line that is being written."""
    real, calls = os.fsync, iter(range(10_000))

    def end(descriptor: int) -> None:
        if next(calls) == call:
            raise Killed
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", end)
        with pytest.raises(Killed):
            run_dataset(plan, folder, options)


def test_the_folder_is_whole_and_says_what_it_is(whole: dict[str, bytes], plan: Plan) -> None:
    manifest = json.loads(whole["manifest.json"])
    listed = {entry["file_name"]: entry["size_bytes"] for entry in manifest["files"]}
    assert listed == {name: len(data) for name, data in whole.items() if name != "manifest.json"}
    assert (manifest["num_images"], manifest["num_failed"], manifest["plan_sha256"]) == (NUM_IMAGES, 0, plan.sha256)
    assert manifest["notice"].startswith("Synthetic")
    assert {name.split("/")[0] for name in listed} == {"train", "test", "plots", "labels.csv", "README.md"}
    rows = list(csv.DictReader(whole["labels.csv"].decode().splitlines()))
    assert [row["file_name"] for row in rows] == [
        next(name for name in whole if name.endswith(f"/{image.index:06d}_{image.request.seed}.png"))
        for image in plan.images
    ]
    assert [row["Effusion"] for row in rows[:16]] == ["1"] * 8 + ["0"] * 8
    assert (rows[16]["Pneumonia"], rows[16]["Effusion"], rows[17]["Pneumonia"]) == ("1", "", "")
    lines = [json.loads(line) for line in whole["test/metadata.jsonl"].splitlines()]
    assert all({"file_name", "prompt", "seed", "patient_id", "findings", "sha256"} <= set(line) for line in lines)
    patients = [row["patient_id"] for row in rows]
    assert len(set(patients)) == NUM_IMAGES


def test_nothing_of_the_users_text_is_in_names_tables_or_the_card(whole: dict[str, bytes]) -> None:
    for name in ("labels.csv", "README.md", "manifest.json"):
        assert b"=cmd" not in whole[name]
    assert b"<b>" not in whole["README.md"]
    assert b"| pneumonia" not in whole["README.md"].lower().replace(b"| pneumonia |", b"")


@pytest.mark.parametrize("call", [0, 3, 8, 21, 70])
def test_ended_anywhere_it_goes_on_to_the_same_bytes(
    call: int, whole: dict[str, bytes], plan: Plan, options: Options, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    run_until(call, plan, folder, options)
    assert run_dataset(plan, folder, options) == 0
    assert content(folder) == whole


def test_an_end_while_files_are_listed_goes_on_to_the_same_bytes(
    whole: dict[str, bytes], plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(DatasetFolder, "forget_work", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_dataset(plan, folder, options)
    assert run_dataset(plan, folder, options) == 0
    assert content(folder) == whole


def test_damaged_and_lost_images_are_made_again(
    whole: dict[str, bytes], plan: Plan, options: Options, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    run_until(70, plan, folder, options)
    first, second, *_ = sorted(folder.glob("*/*.png"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-20])
    log = next((folder / ".cxr-dataset" / "units").glob("*.jsonl"))
    log.write_bytes(log.read_bytes()[:-7])  # a torn line
    assert run_dataset(plan, folder, options) == 0
    assert content(folder) == whole


def test_another_job_on_the_same_folder_is_told_apart(
    plan: Plan, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    run_until(30, plan, folder, options)
    with locked(folder / ".cxr-dataset" / "job.lock") as mine:
        assert mine
        with pytest.raises(OutputError, match="another job is making"):
            run_dataset(plan, folder, options)
    other = build_plan(GIVEN | {"seed": 8}, "test")
    with pytest.raises(OutputError, match="begun with another plan"):
        run_dataset(other, folder, options)
    with pytest.raises(OutputError, match="begun with another gate"):
        run_dataset(plan, folder, dataclasses.replace(options, gate=True))
    begun = (folder / ".cxr-dataset" / "job.json").rename(tmp_path / "job.json")
    with pytest.raises(OutputError, match=r"job\.json is missing, though images are there"):
        run_dataset(other, folder, options)
    begun.rename(folder / ".cxr-dataset" / "job.json")
    assert run_dataset(plan, folder, options) == 0
    before = content(folder)
    assert run_dataset(plan, folder, options) == 0
    assert "is complete: 18 images" in capsys.readouterr().out
    assert content(folder) == before
    with pytest.raises(OutputError, match="holds the data set of another plan"):
        run_dataset(other, folder, options)


def test_folders_of_others_are_left_alone(plan: Plan, options: Options, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        run_dataset(plan, tmp_path, options)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run_dataset(plan, tmp_path / "file", options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("[]")
    with pytest.raises(OutputError, match="not that of a data set"):
        run_dataset(plan, tmp_path / "other", options)


def test_lines_of_an_older_version_tell_the_kind_of_a_rejection_by_its_reason(tmp_path: Path) -> None:
    reasons = {
        "gate": "the gate does not see: Mass",
        "duplicate": "the same picture as an earlier image",
        "failed": "x",
    }
    rejected = [{"seed": seed, "reason": reason} for seed, reason in enumerate(reasons.values())]
    row = {"index": 3, "file_name": None, "rejected": rejected}
    check = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
    (tmp_path / "log").write_text(json.dumps({"check": check, "row": row}) + "\n")
    outcome = Unit((), tmp_path, tmp_path / "log").outcomes()[3]
    assert [rejection.kind for rejection in outcome.rejected] == [*reasons]
    assert [rejection.reason for rejection in outcome.rejected] == [*reasons.values()]


# -- inside another program


def test_inside_a_program_it_is_the_same_and_a_stop_keeps_what_is_finished(
    whole: dict[str, bytes],
    plan: Plan,
    options: Options,
    dataset_model: LoadedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(make, "PROGRESS_EVERY_S", 0.001)
    counts: dict[str, int] = {}

    def finish_and_note(*given: Any) -> Any:
        manifest = complete_dataset(*given)
        counts.update(given[2].progress.counts)
        return manifest

    monkeypatch.setattr(make, "complete_dataset", finish_and_note)
    folder, stop = tmp_path / "set", threading.Event()
    for progress in iterate_dataset(plan, folder, dataset_model, options, stop):
        if progress.finished >= 3:
            stop.set()
    assert (progress.stage, progress.manifest, progress.total) == ("stopped", None, NUM_IMAGES)
    assert 3 <= progress.finished == len(list(folder.glob("*/*.png"))) < NUM_IMAGES
    again = list(iterate_dataset(plan, folder, dataset_model, options, threading.Event()))
    assert {one.stage for one in again[:-1]} == {"running"}
    assert (again[-1].stage, again[-1].finished, again[-1].failed) == ("finished", NUM_IMAGES, 0)
    assert again[-1].manifest == json.loads(whole["manifest.json"])
    assert content(folder) == whole
    assert counts["finished"] == NUM_IMAGES, "each is counted once"
    (once_more,) = iterate_dataset(plan, folder, dataset_model, options, threading.Event())
    assert (once_more.stage, once_more.finished) == ("finished", NUM_IMAGES)
    assert capsys.readouterr() == ("", "")


def test_two_jobs_of_a_program_do_not_share_a_folder(
    plan: Plan, options: Options, dataset_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "PROGRESS_EVERY_S", 0.001)
    folder = tmp_path / "set"
    first = iterate_dataset(plan, folder, dataset_model, options, threading.Event())
    next(first)
    with pytest.raises(OutputError, match="another job is making"):
        next(iterate_dataset(plan, folder, dataset_model, options, threading.Event()))
    first.close()
    assert not dataset_model.lock.locked()
    assert len(list(folder.glob("*/*.png"))) < NUM_IMAGES


def test_what_a_lost_process_has_left_undone_is_made_at_the_end(
    whole: dict[str, bytes], plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = worker.Worker.run, iter(range(9))
    monkeypatch.setattr(
        worker.Worker, "run", lambda self, units: real(self, units[: 1 if next(calls) == 0 else len(units)])
    )
    assert run_dataset(plan, tmp_path / "set", options) == 0
    assert next(calls) == 2, "its units, then all of them"
    assert content(tmp_path / "set") == whole


def test_the_time_left_is_told_by_what_this_run_has_made(tmp_path: Path) -> None:
    progress = Progress(10, {"finished": 5, "failed": 0, "rejected": 0}, folder=tmp_path, rank=1)
    assert progress.now().remaining_s is None
    progress.began -= 8
    progress.add(finished=True, rejected=1)
    now = progress.now()
    assert (now.finished, now.rejected) == (6, 1)
    assert now.remaining_s == pytest.approx(32, rel=0.1)


def test_each_image_is_counted_once_by_however_many_processes(
    plan: Plan, options: Options, dataset_model: LoadedModel, tmp_path: Path
) -> None:
    """A first run makes some; then two processes go through all units, one after the other."""
    folder = DatasetFolder(tmp_path / "set")
    run_until(21, plan, folder.directory, options)
    units = folder.units(plan)
    before = folder.count(plan)
    assert 0 < before["finished"] < NUM_IMAGES
    for rank in (0, 1):
        counted = before if rank == 0 else None
        progress = Progress(NUM_IMAGES, counted, folder=folder.progress, rank=rank, quiet=True)
        worker.Worker(dataset_model, progress, threading.Event()).run(units)
        progress.write()
    assert progress.summed() == {"finished": NUM_IMAGES, "failed": 0, "rejected": 0}


# -- images that fail


def failing(monkeypatch: pytest.MonkeyPatch, faulty: Callable[[Any], bool]) -> None:
    """Let generation fail for some requests."""
    real = generate_each

    def events(requests: Any, model: Any, **options: Any) -> Any:
        for event in real(requests, model, **options):
            if isinstance(event, GeneratedImage) and faulty(requests[event.index]):
                yield FailedImage(event.index, event.seed, "no picture")
            else:
                yield event

    monkeypatch.setattr(worker, "generate_each", events)


def test_a_failed_image_gets_another_seed_and_is_counted(
    plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = {image.request.seed for image in plan.images[:2]}
    failing(monkeypatch, lambda request: request.seed in planned)
    assert run_dataset(plan, tmp_path / "set", options) == 0
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_bytes())
    assert (manifest["num_images"], manifest["num_rejected"], manifest["num_failed"]) == (NUM_IMAGES, 2, 0)
    ledger = list(csv.DictReader((tmp_path / "set" / "rejected.csv").read_text().splitlines()))
    assert [(int(row["index"]), int(row["seed"]), row["reason"]) for row in ledger] == [
        (index, plan.images[index].request.seed, "no picture") for index in (0, 1)
    ]
    names = {path.name for path in (tmp_path / "set").glob("*/*.png")}
    assert {f"{index:06d}_{seed_of(plan.images[index], 1)}.png" for index in (0, 1)} <= names


def test_an_image_that_never_works_is_left_out_and_said(
    plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, lambda request: request.prompt == "=cmd()")
    assert run_dataset(plan, tmp_path / "set", options) == 1
    assert "1 failed" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_bytes())
    assert (manifest["num_images"], manifest["num_rejected"], manifest["num_failed"]) == (17, 4, 1)
    assert run_dataset(plan, tmp_path / "set", options) == 1


def test_the_same_picture_twice_is_made_again(options: Options, tmp_path: Path) -> None:
    twice = build_plan({"prompts": [{"prompt": "normal", "seed": 3}] * 2, "settings": GIVEN["settings"]}, "twice")
    assert run_dataset(twice, tmp_path / "set", options) == 0
    names = sorted(path.name for path in (tmp_path / "set" / "train").glob("*.png"))
    assert names == ["000000_3.png", f"000001_{seed_of(twice.images[1], 1)}.png"]
    assert "the same picture" in (tmp_path / "set" / "rejected.csv").read_text()


def test_the_gate_makes_again_what_it_does_not_see(
    plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def missing(self: Gate, pixels: Any, labels: Any) -> list[str]:
        seen.append(labels)
        return ["Effusion"] if labels.findings == ("Effusion",) and len(seen) % 2 else []

    monkeypatch.setattr(Gate, "missing", missing)
    assert run_dataset(plan, tmp_path / "set", dataclasses.replace(options, gate=True, max_attempts=30)) == 0
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_bytes())
    assert manifest["gate"] == "small"
    assert manifest["pass_rates"]["Effusion"] == round(8 / (8 + manifest["num_rejected"]), 4) < 1
    assert manifest["pass_rates"]["No Finding"] == 1
    assert set(manifest["pass_rates"]) == {"Effusion", "Pneumonia", "No Finding"}
    assert "passed the gate: Effusion" in capsys.readouterr().out


def test_the_gate_looks_for_findings(plan: Plan) -> None:
    gate = Gate()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    labels = plan.images[0].labels
    gate.judge.thresholds[:] = -np.inf
    assert gate.missing(pixels, labels) == []
    assert gate.missing(pixels, dataclasses.replace(labels, findings=())) == ["No Finding"]
    gate.judge.thresholds[:] = np.inf
    assert gate.missing(pixels, labels) == ["Effusion"]
    assert gate.missing(pixels, dataclasses.replace(labels, findings=())) == []
    assert gate.missing(pixels, dataclasses.replace(labels, findings=None)) == []


def test_an_error_of_the_disk_reaches_the_caller(
    plan: Plan, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="free some space"):
            run_dataset(plan, tmp_path / "set", options)
    assert not list((tmp_path / "set").rglob("*.partial"))
    assert run_dataset(plan, tmp_path / "set", options) == 0


def test_a_writer_stops_at_its_first_error() -> None:
    done: list[int] = []

    def work() -> None:
        with worker.BackgroundWriter() as writer:
            writer.submit(lambda: done.append(1))
            writer.submit(lambda: done.append(1 // 0))
            writer.submit(lambda: done.append(3))

    with pytest.raises(ZeroDivisionError):
        work()
    assert done == [1]


# -- processes


def command(plan_path: Path, folder: Path, model: Path) -> list[str]:
    return ["-m", "cxr", "dataset", str(plan_path), "--output", str(folder), "--model", str(model), "--adapter", "none"]


@pytest.mark.slow
def test_killed_and_gone_on_with_by_two_processes_it_is_the_same(
    whole: dict[str, bytes], tiny_model_dir: Path, tmp_path: Path
) -> None:
    plan_path, folder = tmp_path / "test.yaml", tmp_path / "set"
    plan_path.write_text(json.dumps(GIVEN))  # JSON is YAML
    environment = os.environ | {"CXR_DTYPE": "float32", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *command(plan_path, folder, tiny_model_dir)], env=environment)
    deadline = time.monotonic() + 60
    while not list(folder.glob("*/*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.json").exists()
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    arguments = [*launch, *command(plan_path, folder, tiny_model_dir)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "18 images" in done.stdout
    assert "in 2 processes" in done.stdout
    assert content(folder) == whole


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model_dir: Path) -> None:
    plan_path = tmp_path / "test.yaml"
    plan_path.write_text(json.dumps(GIVEN))
    arguments = ["dataset", str(plan_path), "--model", str(tiny_model_dir), "--adapter", "none"]
    assert main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "18 images" in said
    assert "Effusion" in said
    assert "in one process here" in said
    assert not list(tmp_path.glob("set"))
    assert main(arguments) == 2
    assert "--output is missing" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "set"), "--threads", "0"]) == 2
    assert "--threads is 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bench_watches_a_data_set_being_made(tiny_model_dir: Path) -> None:
    result = bench_dataset(60, 1, 1, str(tiny_model_dir), "none")
    assert (result.processes, result.num_images) == (1, 60)
    assert result.images_per_second > 0
    assert 0 <= result.stall < 1
    assert "1 process, 60 images: " in format_dataset_bench(result)


@pytest.mark.slow
def test_a_bench_of_a_model_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"was not made: .*nowhere"):
        bench_dataset(1, 1, 1, str(tmp_path / "nowhere"), "none")


# --- What the logs of units say


def log_lines(unit: Unit) -> list[bytes]:
    return unit.log.read_bytes().splitlines()


def test_a_line_of_a_log_counts_only_as_it_was_written(tmp_path: Path) -> None:
    image = PlannedImage(0, GenerationRequest("normal"), split="train")
    unit = Unit((image,), tmp_path, tmp_path / "000000.jsonl")
    unit.give_up(image, (Rejection(3, 'a "reason", "row": {é}'),))
    (line,) = log_lines(unit)
    assert unit.outcomes()[0].rejected[0].reason == 'a "reason", "row": {é}'
    # Another program's spaces change nothing of what it says.
    entry = json.loads(line)
    for same in (
        json.dumps(entry),
        json.dumps(entry, separators=(" ,", " : ")),
        json.dumps(dict(reversed(entry.items()))),
    ):
        unit.log.write_text(same + "\n", encoding="utf-8")
        assert set(unit.outcomes()) == {0}
    for changed in (
        line.replace(b'"seed": 3', b'"seed": 4'),
        line.replace(b'"index": 0', b'"index": 1'),
        line[:-1] + b', "row": {}}',
        line.replace(b'"check": "', b'"check": "0'),
        line[:-2],
        b"[]",
        b'{"check": 1, "row": 2}',
    ):
        unit.log.write_bytes(changed + b"\n")
        assert not unit.outcomes(), changed


def test_new_images_do_not_wait_for_those_that_are_there(tmp_path: Path) -> None:
    images = [PlannedImage(index, GenerationRequest("normal", seed=index), split="train") for index in range(5 * 16)]
    units = units_of(images, tmp_path, tmp_path)
    for number in (0, 2, 3):
        for image in units[number].images:
            units[number].give_up(image, ())
    units[1].give_up(units[1].images[0], ())
    assert [unit.is_logged() for unit in units] == [True, False, True, True, False]
    assert [units.index(unit) for unit in unfinished_first(units)] == [1, 4, 0, 2, 3]
    assert [units.index(unit) for unit in unfinished_first(units[2:] + units[:2])] == [4, 1, 2, 3, 0]
