"""Files that are whole or not there, and take the place of nothing that is no file."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_images import fill

from cxr.commands.main import main
from cxr.images.atomic import atomic_file, write_whole
from cxr.request.errors import OutputError


def make_special(path: Path, kind: str) -> None:
    os.mkfifo(pipe := path.with_name("a pipe"))
    if kind == "pipe":
        pipe.rename(path)
    else:
        path.symlink_to(pipe)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_no_file_takes_the_place_of_a_pipe(kind: str, tmp_path: Path) -> None:
    make_special(path := tmp_path / "out.zip", kind)
    with pytest.raises(OutputError, match="not a regular file"):
        write_whole(path, b"content")
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_an_export_leaves_a_pipe_alone(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "images", 1)
    make_special(path := tmp_path / "out.zip", kind)
    assert main(["export", str(tmp_path / "images"), "--format", "zip", "--output", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert {one.name for one in tmp_path.iterdir()} <= {"images", "out.zip", "a pipe"}


def test_a_link_to_a_file_and_an_older_file_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (link := tmp_path / "link").symlink_to("old")
    for path in (link, tmp_path / "old"):
        write_whole(path, b"new")
        assert path.read_bytes() == b"new"


def write_first(path: Path, then: Callable[[], object]) -> None:
    with atomic_file(path) as file:
        file.write(b"first")
        then()


def test_of_two_that_write_one_file_the_first_gives_way_and_no_half_file_appears(tmp_path: Path) -> None:
    path, later = tmp_path / "a.zip", contextlib.ExitStack()
    with pytest.raises(OutputError, match="another run is writing"):
        write_first(path, lambda: later.enter_context(atomic_file(path)).write(b"second"))
    assert not path.exists()
    later.close()
    assert path.read_bytes() == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]


def test_what_another_run_has_finished_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with pytest.raises(OutputError, match="no such file"):
        write_first(path, lambda: write_whole(path, b"second"))
    assert path.read_bytes() == b"second"
