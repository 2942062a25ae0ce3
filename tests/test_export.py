"""PNG, folder and ZIP: what is written reads back equal, and no accident leaves half a file behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cxr.errors import DataError, OutputError
from cxr.export import ImageFolder, encode_png, read_recipe, write_zip
from cxr.schema import DIGITAL_SOURCE_TYPE, ExportedFile, GeneratedImage, Recipe

RECIPE = Recipe(
    prompt="A 55-year-old man with pneumonia",
    negative_prompt="",
    seed=7,
    num_inference_steps=8,
    guidance_scale=3.0,
    scheduler="UniPCMultistepScheduler",
    model="embedded",
    model_revision="sha256:00",
    adapter="clinical",
    adapter_sha256="11",
    adapter_weight=1.0,
    width=32,
    height=32,
    weight_dtype="float32",
    device="cpu",
    micro_batch_size=1,
    library_versions={"torch": "2.13.0"},
)


def make_image(index: int, seed: int | None = None, **changes: Any) -> GeneratedImage:
    seed = 7 + index if seed is None else seed
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
    return GeneratedImage(index, pixels, Recipe(**(vars(RECIPE) | {"seed": seed} | changes)))


def fill(directory: Path, count: int = 4) -> None:
    with ImageFolder(directory) as folder:
        for index in range(count):
            folder.write(make_image(index))


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


# --- PNG


@pytest.mark.parametrize(
    "prompt", ["pneumonia", "épanchement pleural", "肺炎\nصدر", 'a "quoted" <b>&amp;</b> \u2028 text']
)
def test_png_gives_back_pixels_and_recipe(prompt: str, tmp_path: Path) -> None:
    image = make_image(0, prompt=prompt)
    data = encode_png(image)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "L"
        assert np.array_equal(np.asarray(opened), image.pixels)
    assert read_recipe(data) == image.recipe
    (tmp_path / "image.png").write_bytes(data)
    assert read_recipe(tmp_path / "image.png") == image.recipe
    assert encode_png(image) == data


def test_png_says_twice_that_it_is_synthetic() -> None:
    with Image.open(io.BytesIO(encode_png(make_image(0)))) as opened:
        assert opened.info["Software"].startswith("CXR Studio")
        assert "Synthetic" in opened.info["Warning"]
        packet = ElementTree.fromstring(opened.info["XML:com.adobe.xmp"].encode())
    field = packet.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert field is not None
    assert field.text == DIGITAL_SOURCE_TYPE
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")


def test_pixels_of_another_kind_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="uint8"):
        encode_png(GeneratedImage(0, np.zeros((4, 4), np.uint16), RECIPE))


def _png_with(recipe: str | None) -> bytes:
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    if recipe is not None:
        text.add_itxt("recipe", recipe)
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as a PNG"),
        (b"BM" + bytes(60), "cannot be read as a PNG"),
        (encode_png(make_image(0))[:60], "cannot be read as a PNG|carries no recipe"),
        (encode_png(make_image(0))[:40] + b"\xff" * 400, "cannot be read as a PNG"),
        (_png_with(None), "carries no recipe"),
        (_png_with("not JSON"), "a recipe that this version cannot read"),
        (_png_with("[1]"), "a recipe that this version cannot read"),
        (_png_with("[" * 100_000), "a recipe that this version cannot read"),
        (_png_with('{"prompt": "only"}'), "a recipe that this version cannot read"),
    ],
)
def test_foreign_or_damaged_png_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_recipe(data)


def test_missing_png_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read as a PNG: No such file"):
        read_recipe(tmp_path / "gone.png")


# --- Folder


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


def test_images_made_in_any_order_give_the_same_folder(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 4)
    with ImageFolder(tmp_path / "mixed") as folder:
        for index in (2, 0, 3, 1):
            folder.write(make_image(index))
    assert content(tmp_path / "mixed") == content(tmp_path / "whole")


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


@contextlib.contextmanager
def failing(name: str, call: int, code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the n-th call of a function of ``os`` fail as the system would; a failing write leaves half its bytes."""
    real, calls = getattr(os, name), 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < call:
            return real(*arguments, **options)
        if name == "write":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


# Per image: file, its folder entry (fsync 1, 2), line (write 1, fsync 3).
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
from test_export import fill

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


# --- ZIP


def test_zip_holds_the_folder_byte_for_byte(tmp_path: Path) -> None:
    fill(tmp_path / "images")
    with ImageFolder(tmp_path / "images") as folder:
        written = write_zip(tmp_path / "all.zip", folder)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    manifest = json.loads(packed.pop("manifest.json"))
    assert packed == content(tmp_path / "images")
    assert written.metadata == manifest
    assert {row["file_name"]: row["sha256"] for row in manifest["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in packed.items()
    }
    assert manifest["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert written.sha256 == hashlib.sha256((tmp_path / "all.zip").read_bytes()).hexdigest()


def test_zip_bytes_do_not_depend_on_time_or_place(tmp_path: Path) -> None:
    hashes = set()
    for place in ("here", "there"):
        fill(tmp_path / place)
        os.utime(tmp_path / place / "000000_7.png", (0, 0))
        with ImageFolder(tmp_path / place) as folder:
            hashes.add(write_zip(tmp_path / f"{place}.zip", iter(folder.files)).sha256)
    assert len(hashes) == 1


def _without_images(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    return ()


def _changed(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    folder.files[1].path.write_bytes(b"changed")
    return folder.files


def _deleted(folder: ImageFolder) -> tuple[ExportedFile, ...]:
    folder.files[1].path.unlink()
    return folder.files


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_images, "there are no images"),
        (_changed, r"000001_8\.png has changed since it was written"),
        (_deleted, r"cannot read .*000001_8\.png: no such file"),
    ],
)
def test_zip_that_cannot_be_right_is_not_written(spoil: Any, message: str, tmp_path: Path) -> None:
    fill(tmp_path / "images")
    folder = ImageFolder(tmp_path / "images")
    with pytest.raises(OutputError, match=message):
        write_zip(tmp_path / "all.zip", spoil(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_full_disk_leaves_no_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "images")
    with (
        ImageFolder(tmp_path / "images") as folder,
        failing("fsync", 1, errno.ENOSPC, monkeypatch),
        pytest.raises(OutputError, match="no space left"),
    ):
        write_zip(tmp_path / "all.zip", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_contact_sheet_sets_equal_prompts_of_several_folders_together(tmp_path: Path) -> None:
    from cxr.export.sheet import contact_sheet, rows_of_folders

    for number, name in enumerate(("with", "without")):
        with ImageFolder(tmp_path / name) as folder:
            for index, prompt in enumerate(("first", "second", "first")):
                folder.write(make_image(index=index, prompt=prompt, adapter_weight=float(number)))
    rows = rows_of_folders([tmp_path / "with", tmp_path / "without"], columns=2)
    assert [row.label.split()[0] for row in rows] == ["first", "first", "second", "second"]
    assert [len(row.images) for row in rows] == [2, 2, 1, 1]
    sheet = contact_sheet(rows, tmp_path / "deep" / "sheet.png")
    height, width = rows[0].images[0].shape
    with Image.open(sheet) as picture:
        assert picture.width > 2 * width
        assert picture.height > 4 * height
    with pytest.raises(DataError, match="holds no images"):
        rows_of_folders([tmp_path / "none"], columns=2)
