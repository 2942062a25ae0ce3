"""Jobs that are killed again and again, beside others that were done in one go: every byte is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from server_process import ServerProcess, request
from tqdm import tqdm

from cxr.bench.dataset_speed import job_command, read_progress, write_plan
from cxr.commands.main import main
from cxr.dataset.convert import convert
from cxr.folders.metadata import file_sha256
from cxr.train import loop
from cxr.train.loop_settings import LoopSettings
from cxr.train.precision import Precision
from cxr.train.training_task import Run

NUM_IMAGES, STEPS, PROCESSES, KILLS = 400, 2, 2, 2
LAST_KILL = 0.9  # share of the images; later, the job may be over before its progress is read
LONGEST_DELAY_S = 1.0  # between the image that was waited for and the kill: starts and writes of progress are hit, too
# Said here, as modules are read before the fixture that says it: another engine has other last bits.
ENVIRONMENT = os.environ | {"CXR_DTYPE": "float32", "CXR_ENGINE": "pytorch", "OMP_NUM_THREADS": "1"}


def descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in map(int, children):
        yield from descendants(child)
        yield child


def run_and_kill(command: list[str], folder: Path, finished: int, delay_s: float) -> None:
    """Kill all processes of a job at once, a while after so many images are finished."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    while process.poll() is None and (read_progress(folder) or {}).get("finished", 0) < finished:
        time.sleep(0.05)
    time.sleep(delay_s)
    # Those that it has started do not die with it: each has a session of its own.
    for pid in (*descendants(process.pid), process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert process.wait() == -signal.SIGKILL, "the job was over before it could be killed"


def hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells which processes belong to a job")
def test_killed_again_and_again_every_byte_is_the_same(tiny_model_dir: Path, tmp_path: Path) -> None:
    plan, whole, killed = write_plan(tmp_path, NUM_IMAGES, STEPS), tmp_path / "whole", tmp_path / "killed"
    one_go, many = (job_command(plan, folder, PROCESSES, str(tiny_model_dir), "none") for folder in (whole, killed))
    subprocess.run(one_go, check=True, env=ENVIRONMENT, capture_output=True)
    rng = random.Random(KILLS)
    for finished in sorted(rng.randrange(round(LAST_KILL * NUM_IMAGES)) for _ in range(KILLS)):
        run_and_kill(many, killed, finished, rng.uniform(0, LONGEST_DELAY_S))
    subprocess.run(many, check=True, env=ENVIRONMENT, capture_output=True)
    assert len(hashes(whole)) > NUM_IMAGES
    assert hashes(killed) == hashes(whole)


# -- many kills, of copies of a process in which all is loaded already

IMAGES, TRAINING_STEPS = 16, 60
TIMES = {"generate": 50, "dataset": 50, "dicom": 14, "webdataset": 12, "parquet": 12, "zip": 12, "training": 40}
SERVER_KILLS = 10
IN_A_ROW = 5  # kills of one job before it may end: on a busy machine it is never done before the next one would come
FINISHED = (".png", ".dcm", ".tar", ".parquet", ".zip")  # under these names there is never a part
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def in_a_copy(work: Callable[[], object]) -> int:
    """Start work in a copy of this process; its id."""
    if (pid := os.fork()) > 0:
        return pid
    code = 1
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        torch.set_num_threads(1)  # the threads of the process that was copied are not there
        tqdm.set_lock(threading.RLock())  # copies share tqdm's own lock, and one that is killed may hold it for good
        work()
        code = 0
    finally:
        os._exit(code)


def whether_killed(work: Callable[[], object], delay_s: float) -> bool:
    """Kill a copy that works, after a while; False if it was done before."""
    pid = in_a_copy(work)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "what was begun could not be gone on with"
    return os.WIFSIGNALED(status)


class SquareTask:
    """Weights that depend on every step before, and a file of them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.trained: torch.nn.Module = torch.nn.Linear(64, 64)

    def loss(self, step: int) -> dict[str, torch.Tensor]:
        return {"loss": self.trained(torch.randn(8, 64)).square().mean()}

    def validate(self) -> dict[str, float]:
        return {}

    def export(self, out_dir: Path) -> None:
        save_file(self.trained.state_dict(), out_dir / "weights.safetensors.tmp")
        (out_dir / "weights.safetensors.tmp").replace(out_dir / "weights.safetensors")


def train(folder: Path) -> None:
    settings = LoopSettings(
        steps=TRAINING_STEPS, batch_size=8, learning_rate=1e-2, validate_every=20, checkpoint_every=2
    )
    cpu = torch.device("cpu")
    loop.train(SquareTask(), settings, folder, cpu, Run(precision=Precision(cpu, torch.float32)))


def succeed(*command: str) -> None:
    assert main(command) == 0


def work_of(name: str, folder: Path, plan: Path, data: Path, model: Path) -> Callable[[], object]:
    sources = (f"--output={folder}", f"--model={model}", "--adapter=none")
    if name == "generate":
        return lambda: succeed("generate", "normal chest x-ray", *sources, f"--count={IMAGES}", "--steps=2")
    if name == "dataset":
        return lambda: succeed("dataset", str(plan), *sources)
    if name == "training":
        return lambda: train(folder)
    return lambda: convert(data, folder.with_suffix(".zip") if name == "zip" else folder, name)


def results(name: str, folder: Path) -> dict[str, str]:
    """Every file; of training the weights alone, since log and state tell the time."""
    if name == "zip":
        files = folder.parent.glob(f"*{folder.name}.zip*")
        return {path.name.replace(folder.name, "archive"): file_sha256(path) for path in files}
    is_meant = (lambda file: file.startswith("weights.")) if name == "training" else (lambda file: True)
    return {file: sha256 for file, sha256 in hashes(folder).items() if is_meant(file)}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("plan"), IMAGES, STEPS)


@pytest.fixture(scope="module")
def data(plan: Path, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    succeed("dataset", str(plan), f"--output={folder}", f"--model={tiny_model_dir}", "--adapter=none")
    return folder


@FORKS
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be copied here")
@pytest.mark.parametrize("name", TIMES)
def test_nothing_is_lost_by_many_kills(name: str, plan: Path, data: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    began_s = time.monotonic()
    assert not os.waitpid(in_a_copy(work_of(name, whole, plan, data, tiny_model_dir)), 0)[1]
    took_s, wanted = time.monotonic() - began_s, results(name, whole)
    assert wanted
    rng, kills, number = random.Random(name), 0, 0
    while kills < TIMES[name]:
        number += 1
        folder = tmp_path / f"cut{number}"
        work = work_of(name, folder, plan, data, tiny_model_dir)
        for _ in range(min(IN_A_ROW, TIMES[name] - kills)):
            if not whether_killed(work, rng.uniform(0, 0.7 * took_s)):
                break
            kills += 1
            for file, sha256 in results(name, folder).items():
                is_finished = file.endswith(FINISHED) and not Path(file).name.startswith(".")
                assert not is_finished or sha256 == wanted[file], f"{file} is a part, after {kills} kills"
        else:
            assert not os.waitpid(in_a_copy(work), 0)[1], "what was begun could not be gone on with"
        assert results(name, folder) == wanted, f"after {kills} kills"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells which server still runs")
def test_a_server_that_is_killed_again_and_again_leaves_nothing(tiny_model_dir: Path, tmp_path: Path) -> None:
    rng, shared = random.Random(SERVER_KILLS), tmp_path / "shared"
    shared.mkdir()
    wish = {"prompt": "normal chest x-ray", "seed": 5, "num_images": 8, "num_inference_steps": 20}
    for number in range(SERVER_KILLS):
        server = ServerProcess(tmp_path / str(number), tiny_model_dir, TMPDIR=str(shared))
        status, _ = server.post("/gradio_api/call/v2/generate", wish)
        assert status == 200
        time.sleep(rng.uniform(0, 3))
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
    last = ServerProcess(tmp_path / "last", tiny_model_dir, TMPDIR=str(shared))
    assert len(list(shared.iterdir())) == 1, "the folders of those that were killed are gone"
    event = json.loads(last.post("/gradio_api/call/v2/generate", wish | {"num_inference_steps": 1})[1])["event_id"]
    assert "event: complete" in request(f"{last.url}/gradio_api/call/generate/{event}")[1]
    assert last.end() == 0
    assert list(shared.iterdir()) == []
