"""Temporary files: in one private folder, gone by age while the server runs, and all of them at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from server_process import ROOT, ServerProcess, free_port, request, wait_until

from cxr.web.server.temporary import (
    TEMP_PREFIX,
    keep_sweeping,
    keep_what_is_there,
    make_private_folder,
    sweep,
    sweep_old_folders,
)

LONG_AGO = time.time() - 7 * 24 * 3600


def make(folder: Path, *names: str, old: bool = True) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    if old:
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (LONG_AGO, LONG_AGO))


def test_everything_goes_into_one_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "given"))
    make(tmp_path / "given", f"{TEMP_PREFIX}killed/runs/a/1.png", "somebody's/1.png")
    folder = make_private_folder()
    assert folder.parent == tmp_path / "given"
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "somebody's"}
    assert folder.stat().st_mode & 0o077 == 0
    assert os.environ["GRADIO_TEMP_DIR"] == tempfile.gettempdir() == str(folder)
    assert make_private_folder() == folder  # of a process that this one starts


def test_uploads_results_and_empty_folders_go_by_age(tmp_path: Path) -> None:
    make(tmp_path, "0123abcd/plan.yaml", "runs/over/images/1.png", "datasets/over/set/a.png", "tmp123", "runs/busy/1")
    make(tmp_path, "new/plan.yaml", "runs/busy/2", "datasets/new/set/a.png", old=False)
    (tmp_path / "empty").mkdir()
    os.utime(tmp_path / "empty", (LONG_AGO, LONG_AGO))
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    make(outside, "kept")
    (tmp_path / "link").symlink_to(outside)
    os.utime(tmp_path / "link", (LONG_AGO, LONG_AGO), follow_symlinks=False)
    sweep(tmp_path, 3600)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    # A job's folder goes as a whole: what is still made keeps what is finished.
    assert left == ["datasets/new/set/a.png", "new/plan.yaml", "runs/busy/1", "runs/busy/2"]
    assert not (tmp_path / "empty").exists()
    assert not (tmp_path / "link").is_symlink()
    assert (outside / "kept").exists()
    sweep(tmp_path / "missing")


def test_the_pictures_of_the_page_itself_stay(tmp_path: Path) -> None:
    make(tmp_path, "example/1.png", "runs/over/1.png")
    keep_what_is_there(tmp_path)
    make(tmp_path, "upload/1.png")
    sweep(tmp_path, 3600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["example", "runs"]
    assert not any((tmp_path / "runs").iterdir())


def test_a_thread_sweeps_while_the_server_runs(tmp_path: Path) -> None:
    make(tmp_path, "0123abcd/plan.yaml")
    stop = keep_sweeping(tmp_path, every_s=0.01, lifetime_s=3600)
    wait_until(lambda: not (tmp_path / "0123abcd").exists())
    stop.set()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_nothing_is_left_after_a_signal(number: int, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, tmp_path / "no-model")
    send_a_plan(server)
    assert server.end(number) == 0
    assert server.names == []


def test_nothing_is_left_after_a_signal_while_it_starts(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
    command = [sys.executable, "app.py", "--port", str(free_port()), "--model", str(tmp_path / "no-model")]
    with subprocess.Popen(command, cwd=ROOT, env=environment | {"TMPDIR": str(tmp_path)}) as server:
        wait_until(lambda: any(tmp_path.glob(f"{TEMP_PREFIX}*")), 120)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_next_start_removes_what_a_killed_server_left_and_a_hang_up_leaves_nothing(tmp_path: Path) -> None:
    killed = ServerProcess(tmp_path / "one", tmp_path / "no-model")
    send_a_plan(killed)
    killed.end(signal.SIGKILL)
    assert any(name.endswith(".csv") for name in killed.names)
    running = ServerProcess(tmp_path / "two", tmp_path / "no-model", TMPDIR=str(killed.temp))
    (left,) = killed.temp.iterdir()
    assert not any(path.suffix == ".csv" for path in left.rglob("*"))
    sweep_old_folders(killed.temp)  # as another server that starts does
    assert [*killed.temp.iterdir()] == [left]  # that of the server which runs stays
    send_a_plan(running, killed)
    assert running.end(signal.SIGHUP) == 0
    assert killed.names == []


def send_a_plan(server: ServerProcess, owner: ServerProcess | None = None) -> None:
    """Upload one; ``owner`` is the server whose temporary folder this one shares."""
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\nprompt\r\n--b--\r\n'
    sent = request(f"{server.url}/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=b"})
    assert sent[0] == 200
    names = (owner or server).names
    assert any(name.endswith(".csv") for name in names)
    assert all(name.startswith(TEMP_PREFIX) for name in names)
