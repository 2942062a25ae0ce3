"""Endpoints and panel that begin from a picture: uploads come in by one door, and are nobody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from live_page import LivePage
from PIL import Image
from test_init_image import START, as_dicom, noisy

from cxr.images.reading import read_grey
from cxr.request.errors import DataError, RequestError
from cxr.request.init_image import hash_of
from cxr.request.notices import DERIVED_NOTICE
from cxr.web.page.begin_panel import NOTHING, TITLE, BeginPanel, beginning_values, begun_values
from cxr.web.server import init_upload
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.temporary import LIFETIME_S
from cxr.web.server.uploads import discard_upload

UPLOAD = "0123456789abcdef0123456789abcdef.png"


@pytest.fixture(scope="module")
def temp(tiny_page: LivePage) -> Path:
    return tiny_page.temp


@pytest.fixture(scope="module")
def client(tiny_page: LivePage, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return tiny_page.client(downloads=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A picture as PNG and DICOM, and a mask of its upper left quarter."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(noisy()).save(folder / "Miller^Anna.png")
    (folder / "Miller^Anna.dcm").write_bytes(as_dicom(noisy()))
    mask = np.zeros((32, 32), np.uint8)
    mask[:16, :16] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return {path.suffix + path.stem[:1]: str(path) for path in folder.iterdir()}


def begin(client: Client, **values: Any) -> tuple[Path, dict[str, Any]]:
    given = {"prompt": "effusion", "seed": 3, "num_inference_steps": 4, "strength": 1.0} | values
    gallery, _, facts = client.predict(**given, api_name="/generate")
    return Path(gallery[0]["image"]), facts


def test_images_begin_from_an_upload_and_are_verified_with_it(
    client: Client, files: dict[str, str], temp: Path
) -> None:
    path, facts = begin(client, init_image=handle_file(files[".pngM"]), mask=handle_file(files[".pngm"]))
    assert facts["init_image_sha256"] == hash_of(noisy())
    assert facts["mask_cells"] == " ".join(f"{row}:0-7" for row in range(8))
    assert (facts["strength"], facts["notice"].startswith(DERIVED_NOTICE)) == (1.0, True)
    pixels = read_grey(path)
    assert np.array_equal(pixels[16:], noisy()[16:])
    assert np.array_equal(pixels[:, 16:], noisy()[:, 16:])
    assert not np.array_equal(pixels[:16, :16], noisy()[:16, :16])
    told = {"mask_cells": facts["mask_cells"]}
    again, _ = begin(client, init_image=handle_file(files[".dcmM"]), **told)
    assert np.array_equal(read_grey(again), pixels)
    verified = client.predict(handle_file(str(path)), init_image=handle_file(files[".pngM"]), api_name="/verify")
    assert verified["is_same"]
    with pytest.raises(
        AppError, match=f"init_image is missing; the image began from a picture with hash {hash_of(noisy())}"
    ):
        client.predict(handle_file(str(path)), api_name="/verify")
    restored = client.predict(handle_file(str(path)), api_name="/restore")
    assert restored["settings"]["strength"] == 1.0
    assert "give it as init_image" in restored["needs"]
    # Nothing of the upload stays, and no file is called as it was.
    left = [
        path
        for path in temp.rglob("*")
        if path.is_file() and "runs" not in path.parts and hash_of(noisy()) in path.parts
    ]
    assert left == []
    assert not any("Miller" in path.name for path in temp.rglob("*"))
    assert not any(b"Miller" in path.read_bytes() for path in temp.rglob("*") if path.is_file())


@pytest.mark.usefixtures("without_child")
def test_a_list_of_cells_is_a_region(client: Client, files: dict[str, str]) -> None:
    _, facts = begin(client, init_image=handle_file(files[".pngM"]), mask_cells=[[0, 1], [0, 0]])
    assert facts["mask_cells"] == "0:0-1"
    _, plain = begin(client, strength=0.75)
    assert "init_image_sha256" not in plain


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 0.5}, "strength only applies where images begin from a picture"),
        ({"mask_cells": "1:1", "strength": 0.75}, "mask_cells only applies where"),
        ({"mask": True, "strength": 0.75}, "mask only applies where"),
        ({"init_image": 7}, "init_image is int; give a PNG, JPEG or DICOM file"),
        ({"init_image": "path"}, "init_image is str"),
        ({"init_image": ".pngM", "mask": ".pngm", "mask_cells": "1:1"}, "names the region a second time"),
        ({"init_image": ".pngM", "mask_cells": "1:99"}, "mask_cells has the cell 1:99"),
        ({"init_image": ".pngM", "strength": 2}, "strength is 2"),
        ({"init_image": ".pngM", "strength": None}, "strength is None"),
        ({"init_image": ".pngM", "strength": 0.1}, "leaves none of 4 steps"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("without_child")
def test_wrong_values_are_one_sentence(
    values: dict[str, Any], message: str, client: Client, files: dict[str, str]
) -> None:
    values = {name: handle_file(files[value]) if value in (*files,) else value for name, value in values.items()}
    with pytest.raises(AppError, match=message):
        begin(client, **values)


def test_files_of_others_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "temp"
    inside.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(inside))
    Image.fromarray(noisy()).save(tmp_path / UPLOAD)
    (inside / "link.png").symlink_to(tmp_path / UPLOAD)
    reader = PictureReader()
    for path in (tmp_path / UPLOAD, inside / "link.png", inside, inside / "none.png", Path("\0"), Path("/dev/zero")):
        with pytest.raises(DataError, match="the picture is not an uploaded file"):
            asyncio.run(reader.picture(path))
    assert (tmp_path / UPLOAD).exists()
    Image.fromarray(noisy()).save(inside / UPLOAD)
    assert asyncio.run(reader.picture(inside / UPLOAD)) == START
    assert not (inside / UPLOAD).exists()  # it has been read


def test_a_refused_upload_is_gone_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / UPLOAD).write_bytes(b"MZ")
    with pytest.raises(DataError, match="the picture cannot be read as an image"):
        asyncio.run(PictureReader().picture(tmp_path / UPLOAD))
    assert not (tmp_path / UPLOAD).exists()


def test_kept_pictures_are_found_by_a_secret_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, now = PictureReader(), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    secret = reader.keep(START)
    assert reader.find(secret) == START
    assert reader.find(START.sha256) is None  # every recipe has the hash
    for _ in range(init_upload.MAX_KEPT):
        reader.keep(START)
    assert reader.find(secret) is None
    secret = reader.keep(START)
    now[0] = LIFETIME_S + 1
    assert reader.find(secret) is None


def test_the_panel_gives_what_a_request_needs() -> None:
    reader = PictureReader()
    sent, region = {START.sha256: reader.keep(START)}, {"sha256": START.sha256, "cells": "1:1"}
    assert beginning_values(reader, sent, region, 0.5) == {"init_image": START, "strength": 0.5, "mask_cells": "1:1"}
    around = {"sha256": "", "cells": "1:1", "around": "normal"}
    assert beginning_values(reader, sent, around, 0.5) == {"mask_cells": "1:1", "surrounding_prompt": "normal"}
    for nothing in (NOTHING, None, "x", {}, {"sha256": 7}):
        assert beginning_values(reader, sent, nothing, 0.5) == {}
    with pytest.raises(RequestError, match=f"needs the picture with hash {START.sha256[:12]}…; choose that file"):
        beginning_values(reader, {}, region, 0.5)


def test_settings_of_a_picture_fill_the_panel() -> None:
    settings = {"init_image_sha256": START.sha256, "strength": 0.5, "mask_cells": "2:2 1:1"}
    accordion, region, strength = begun_values(settings)
    assert (region, strength) == (NOTHING | {"sha256": START.sha256, "cells": "1:1 2:2"}, 0.5)
    _, region, strength = begun_values({"surrounding_prompt": "normal", "mask_cells": "2:2 1:1"})
    assert (region, strength) == ({"sha256": "", "cells": "1:1 2:2", "around": "normal"}, gr.skip())
    accordion, region, strength = begun_values({"prompt": "x", "strength": 0.5})
    assert (accordion.label, region, strength) == (TITLE, NOTHING, gr.skip())
    for wrong in (
        {"init_image_sha256": "x"},
        {"init_image_sha256": 7},
        {"surrounding_prompt": 7, "mask_cells": "1:1"},
        {"surrounding_prompt": "normal", "mask_cells": 7},
        settings | {"strength": 2},
        settings | {"mask_cells": 7},
    ):
        with pytest.raises(RequestError):
            begun_values(wrong)


@pytest.mark.usefixtures("without_child")
def test_cells_stay_while_the_picture_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks():
        panel = BeginPanel(gr.Accordion(), gr.State({}), gr.HTML(), gr.Number(), PictureReader())

    def choose(seed: int, sent: dict[str, str], region: Any) -> tuple[dict[str, str], dict[str, str]]:
        Image.fromarray(noisy(seed=seed)).save(tmp_path / UPLOAD)
        _, sent, shown = asyncio.run(panel.choose(str(tmp_path / UPLOAD), sent, region))
        return sent, shown.value

    sent, value = choose(0, {}, {"sha256": START.sha256, "cells": "1:1"})
    assert value == NOTHING | {"sha256": START.sha256, "cells": "1:1"}
    for seed in range(1, 5):
        sent, value = choose(seed, sent, value)
        assert value["cells"] == ""
    assert len(sent) == 4
    assert START.sha256 not in sent
    discard_upload(tmp_path / UPLOAD)  # it is gone already, which is no error
    assert not (tmp_path / UPLOAD).exists()
