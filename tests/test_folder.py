"""A folder of images: continued after any accident, never half written, never mixed up."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_images import RECIPE, content, failing, fill, make_image

from cxr.folders.image_folder import ImageFolder
from cxr.images.png import encode_png, read_recipe
from cxr.request.errors import OutputError


def test_folder_holds_images_and_one_row_each(tmp_path: Path) -> None:
    with ImageFolder(tmp_path / "new" / "folder") as folder:
        written = [folder.write(make_image(index)) for index in range(3)]
        assert folder.files == tuple(written)
    names = ["000000_7.png", "000001_8.png", "000002_9.png"]
    assert sorted(content(folder.directory)) == [*names, "metadata.jsonl"]
    rows = [json.loads(line) for line in (folder.directory / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert [row["file_name"] for row in rows] == names
    for row, file in zip(rows, written, strict=True):
        assert next(iter(row)) == "file_name"
        assert row == file.metadata
        assert row["prompt"] == RECIPE.prompt
        assert row["sha256"] == file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
        assert read_recipe(file.path).seed == row["seed"]


def test_finished_images_are_found_again(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with ImageFolder(tmp_path) as folder:
        found = folder.completed(1, make_image(1).recipe)
        assert found is not None
        assert found.path.name == "000001_8.png"
        assert folder.completed(2, make_image(2).recipe) is None
        # Another machine continues the same request; each row says what made it.
        assert folder.write(make_image(1, device="cuda", library_versions={})) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "changes", [{"seed": 9}, {"prompt": "secret"}, {"guidance_scale": 5.0}, {"adapter_sha256": "2"}, {"model": "other"}]
)
def test_another_request_is_not_mixed_in(changes: dict[str, Any], tmp_path: Path) -> None:
    fill(tmp_path)
    before = content(tmp_path)
    with ImageFolder(tmp_path) as folder, pytest.raises(OutputError, match=f"another {next(iter(changes))}") as caught:
        folder.write(make_image(0, **changes))
    assert "secret" not in str(caught.value)
    assert content(tmp_path) == before


def damage_nothing(directory: Path) -> None:
    pass


def delete_image(directory: Path) -> None:
    (directory / "000001_8.png").unlink()


def cut_image(directory: Path) -> None:
    data = (directory / "000001_8.png").read_bytes()
    (directory / "000001_8.png").write_bytes(data[: len(data) // 2])


def cut_image_and_row(directory: Path) -> None:
    cut_image(directory)
    delete_metadata(directory)


def cut_last_line(directory: Path) -> None:
    data = (directory / "metadata.jsonl").read_bytes()
    (directory / "metadata.jsonl").write_bytes(data[:-30])


def zero_last_line(directory: Path) -> None:  # what some file systems leave after a power loss
    data = (directory / "metadata.jsonl").read_bytes()
    (directory / "metadata.jsonl").write_bytes(data[:-30] + bytes(30))


def cut_line_end(directory: Path) -> None:
    data = (directory / "metadata.jsonl").read_bytes()
    (directory / "metadata.jsonl").write_bytes(data[:-1])


def delete_metadata(directory: Path) -> None:
    (directory / "metadata.jsonl").unlink()


def leave_partial(directory: Path) -> None:
    (directory / ".000003_10.png.partial").write_bytes(b"half")


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing,
        delete_image,
        cut_image,
        cut_image_and_row,
        cut_last_line,
        zero_last_line,
        cut_line_end,
        delete_metadata,
        leave_partial,
    ],
)
def test_a_damaged_folder_is_made_whole_again(damage: Any, tmp_path: Path) -> None:
    fill(tmp_path / "whole", 4)
    fill(tmp_path / "damaged", 3)
    damage(tmp_path / "damaged")
    fill(tmp_path / "damaged", 4)
    assert content(tmp_path / "damaged") == content(tmp_path / "whole")


def test_an_image_that_was_changed_is_never_taken_for_the_one_that_was_made(tmp_path: Path) -> None:
    """Its recipe and its name are still right."""
    fill(tmp_path, 3)
    before, path = content(tmp_path), tmp_path / "000001_8.png"
    changed = encode_png(replace(make_image(1), pixels=make_image(2).pixels))
    path.write_bytes(changed)
    for _ in range(2):  # the first of two runs may be killed
        with ImageFolder(tmp_path) as folder:
            assert folder.completed(1, make_image(1).recipe) is None
            assert len(folder.files) == 2
    assert content(tmp_path) == before | {path.name: changed}
    fill(tmp_path, 3)
    assert content(tmp_path) == before


def test_lines_that_were_never_written_are_as_they_would_have_been(tmp_path: Path) -> None:
    """A kill between image and line: the recipe in the image has its keys sorted, a line has them as they come."""
    versions = dict.fromkeys(("cxr", "torch", "diffusers", "transformers", "peft", "another"), "1.0")
    with ImageFolder(tmp_path) as folder:
        folder.write(make_image(0, library_versions=versions))
    before = content(tmp_path)
    (tmp_path / "metadata.jsonl").write_bytes(b"")
    with ImageFolder(tmp_path):
        pass
    assert content(tmp_path) == before


def test_images_made_in_any_order_give_the_same_folder(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 4)
    with ImageFolder(tmp_path / "mixed") as folder:
        for index in (2, 0, 3, 1):
            folder.write(make_image(index))
    assert content(tmp_path / "mixed") == content(tmp_path / "whole")


def test_a_line_that_names_a_value_twice_is_nobodys(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    lines = tmp_path / "metadata.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b'"seed":', b'"seed": 8, "seed":'))
    with pytest.raises(OutputError, match="line 1 was not written by this program"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        '{"file_name": "cat.png", "text": "a cat"}',
        '{"file_name": "../000000_7.png"}',
        "[]",
        '"text"',
        "not JSON",
        '{"file_name": 5, "sha256": ""}',
        "",
    ],
)
def test_metadata_of_another_program_is_left_alone(line: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(line + "\n")
    with pytest.raises(OutputError, match=r"metadata\.jsonl line 1 was not written by this program"):
        ImageFolder(tmp_path)
    assert content(tmp_path) == {"metadata.jsonl": (line + "\n").encode()}


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "000000_99.png").write_bytes(b"not a picture of ours")
    (tmp_path / ".cat.png.partial").write_text("mine, too")
    fill(tmp_path, 1)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / ".cat.png.partial").read_text() == "mine, too"
    assert (tmp_path / "000000_99.png").read_bytes() == b"not a picture of ours"
    assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_one_run_at_a_time(tmp_path: Path) -> None:
    with ImageFolder(tmp_path), pytest.raises(OutputError, match="another run is writing"):
        ImageFolder(tmp_path)
    ImageFolder(tmp_path).close()


# --- Accidents


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot write .*choose a folder that you may write to"):
            ImageFolder(place)


@pytest.mark.parametrize(("name", "call"), [("fsync", 4), ("fsync", 5), ("fsync", 6), ("write", 2), ("replace", 2)])
def test_full_disk_keeps_what_is_finished(
    name: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "whole", 3)
    directory = tmp_path / "full"
    with (
        pytest.raises(OutputError, match=r"no space left on device; free some space"),
        failing(name, call, errno.ENOSPC, monkeypatch),
    ):
        fill(directory, 3)
    left = content(directory)
    assert not any(entry.endswith(".partial") for entry in left)
    assert left["metadata.jsonl"].endswith(b"\n")
    assert set(left) <= {"000000_7.png", "000001_8.png", "metadata.jsonl"}
    fill(directory, 3)
    assert content(directory) == content(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_write_that_the_system_really_cuts_short(tmp_path: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ImageFolder(tmp_path) as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
        try:
            with pytest.raises(OutputError, match="file too large"):
                folder.write(make_image(0))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert content(tmp_path) == {}
        folder.write(make_image(0))


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ImageFolder(tmp_path) as folder:

        def refuse(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(OutputError, match=r"000000_7\.png: permission denied; choose a folder"):
            folder.write(make_image(0))
        monkeypatch.undo()
    assert content(tmp_path) == {}


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sample_images import fill

def die_at(moment):
    # Before and after every call that changes something on disk; a write dies half done.
    count = 0
    def tick():
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    def wrap(name):
        real = getattr(os, name)
        def call(*arguments):
            tick()
            if name == "write":
                real(arguments[0], arguments[1][:50])
                tick()
                return 50 + real(arguments[0], arguments[1][50:])
            result = real(*arguments)
            tick()
            return result
        setattr(os, name, call)
    for name in ("fsync", "replace", "write"):
        wrap(name)

moment, killed = 0, True
while killed:
    moment += 1
    folder = Path(sys.argv[2]) / str(moment)
    child = os.fork()
    if child == 0:
        die_at(moment)
        fill(folder, 2)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_killed_at_every_moment_and_continued(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 3)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(Path(__file__).parent), str(tmp_path / "runs")],
        check=True,
        env=environment | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        timeout=60,
    )
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) > 16  # two images: file, folder entry, rename and line, before and after each
    for directory in runs:
        fill(directory, 3)
        assert content(directory) == content(tmp_path / "whole"), f"killed at moment {directory.name}"


@pytest.mark.parametrize(
    "name", ["train/000000_0.dcm", "train-000000.tar", "data/train-00000-of-00001.parquet", "report.json"]
)
def test_exports_and_reports_stay_as_they_are(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(OutputError, match="of which more images would seem to be a part"):
        ImageFolder(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_a_folder_that_holds_its_own_export_goes_on(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "000000_7.dcm").write_bytes(b"")
    with ImageFolder(tmp_path) as folder:
        folder.write(make_image(1))
        assert len(folder.files) == 2
