"""Pixels as people have them: read right, or refused with the reason; never almost black, wrapped or lying down."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hostile_pictures import chunk, ihdr
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)
from sample_dicom import write_dicom
from sample_images import make_image

from cxr.folders.dicom import SyntheticPatient, encode_dicom
from cxr.folders.dicom_reader import read_dicom, read_dicom_facts
from cxr.folders.reader import read_images
from cxr.images.dicom_pixels import read_dicom_grey
from cxr.images.guarded import quiet_libraries
from cxr.images.png import encode_png
from cxr.images.reading import read_grey
from cxr.images.squares import find_images, read_squares
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import DataError

RAMP = np.linspace(0, 1, 64 * 32).reshape(64, 32)
WANTED = (RAMP * 255).round().astype(int)


def off_by(path: Path) -> int:
    grey = read_grey(path)
    assert grey.dtype == np.uint8
    assert grey.shape == WANTED.shape
    return int(np.abs(grey.astype(int) - WANTED).max())


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_scanners_bits_in_16(bits: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray((RAMP * (2**bits - 1)).round().astype(np.uint16)).save(path)
    assert off_by(path) <= 1


def test_a_dark_picture_of_this_program_stays_dark(tmp_path: Path) -> None:
    image = make_image(0, bit_depth=16)
    object.__setattr__(image, "pixels", np.full((32, 32), 3_000, np.uint16))
    (tmp_path / "x.png").write_bytes(encode_png(image))
    assert set(np.unique(read_grey(tmp_path / "x.png"))) == {round(3_000 / 257)}


@pytest.mark.parametrize("top", [1.0, 255.0, 4095.0, 65535.0])
def test_floats(top: float, tmp_path: Path) -> None:
    Image.fromarray((RAMP * top).astype(np.float32)).save(tmp_path / "x.tif")
    assert off_by(tmp_path / "x.tif") <= 1


def test_dark_floats_stay_dark(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 0.1).astype(np.float32)).save(tmp_path / "x.tif")
    assert np.abs(read_grey(tmp_path / "x.tif") - 25.5 * RAMP).max() <= 1


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_whole_numbers_of_32_bits(top: int, tmp_path: Path) -> None:
    Image.fromarray((RAMP * top).round().astype(np.int32)).save(tmp_path / "x.tif")
    assert off_by(tmp_path / "x.tif") <= 1


def test_white_is_zero(tmp_path: Path) -> None:
    levels = ((1 - RAMP) * 65535).round().astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "x.tif", tiffinfo={262: 0})
    assert off_by(tmp_path / "x.tif") <= 1


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_cameras_say_which_way_is_up(turn: int, suffix: str, tmp_path: Path) -> None:
    lying = {1: WANTED, 3: np.rot90(WANTED, 2), 6: np.rot90(WANTED), 8: np.rot90(WANTED, -1)}[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    options: dict[str, Any] = {"quality": 100} | ({"lossless": True} if suffix == "webp" else {})
    Image.fromarray(lying.astype(np.uint8)).save(tmp_path / f"x.{suffix}", exif=exif, **options)
    assert off_by(tmp_path / f"x.{suffix}") <= 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colours(mode: str, tmp_path: Path) -> None:
    Image.fromarray(WANTED.astype(np.uint8)).convert(mode).save(tmp_path / "x.png")
    assert off_by(tmp_path / "x.png") <= 1


def _two_pages(path: Path) -> None:
    page = Image.fromarray(WANTED.astype(np.uint8))
    page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])


def _floats(low: float, top: float) -> Any:
    return lambda path: Image.fromarray((low + RAMP * (top - low)).astype(np.float32)).save(path.with_suffix(".tif"))


def _nan(path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path.with_suffix(".tif"))


def _header(width: int, height: int) -> Any:
    data = b"\x89PNG\r\n\x1a\n" + ihdr(width, height) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(data)


def _colours_of_16_bits(top: int) -> Any:
    levels = (RAMP * top).round().astype(">u2")
    rows = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in levels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *WANTED.shape[::-1], 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(data)


def test_colours_of_16_bits(tmp_path: Path) -> None:
    _colours_of_16_bits(65535)(tmp_path / "x.png")
    assert off_by(tmp_path / "x.png") <= 1


@pytest.mark.parametrize("top", [255, 1023, 4095, 65535])
@pytest.mark.parametrize("suffix", ["pgm", "PGM"])
def test_portable_graymaps(top: int, suffix: str, tmp_path: Path) -> None:
    levels = (RAMP * top).round().astype(">u2" if top > 255 else "u1")
    (tmp_path / f"x.{suffix}").write_bytes(b"P5 32 64 %d\n" % top + levels.tobytes())
    assert off_by(find_images(tmp_path)[0]) <= 1


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_header(30_000, 30_000), "more than 64,000,000 pixels"),
        (_header(9_000, 9_000), r"it is 9,000 x 9,000 pixels; use at most 64,000,000 in all"),
        (_header(2**31 - 1, 2**31 - 1), "cannot be read as an image"),
        (_two_pages, "it holds 2 pictures; save each as a file of its own"),
        (_floats(-1, 1), "its values are not from 0 to 1 or grey levels from 0 to 65,535"),
        (_floats(-1000, 3000), "its values are not from 0 to 1"),
        (_floats(0, 1e9), "its values are not from 0 to 1"),
        (_floats(0, 1.02), "its values are not from 0 to 1"),
        *((_colours_of_16_bits(top), "fill less than 15 of their 16 bits") for top in (1023, 4095, 16383)),
        (_nan, "its values are not from 0 to 1"),
        (
            lambda path: Image.fromarray((RAMP * 2**31 - 1).astype(np.int32)).save(path.with_suffix(".tif")),
            "its values are not 0 to 65,535",
        ),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.mkdir(), "cannot be read as an image"),
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
        (lambda path: path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"\xff" * 40), "cannot be read as an image"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_refused_says_why(write: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.png")
    path = next(iter(sorted(tmp_path.iterdir())), tmp_path / "x.png")
    with pytest.raises(DataError, match=message) as caught:
        read_grey(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# -- DICOM


STORED = (RAMP * 4095).round().astype(np.uint16)


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        (STORED, {}),
        (4095 - STORED, {"PhotometricInterpretation": "MONOCHROME1"}),
        (STORED, {"WindowCenter": 2048, "WindowWidth": 4096}),
        ((STORED // 4 + 1000).astype(np.uint16), {"WindowCenter": 1512, "WindowWidth": 1024}),
        (STORED, {"WindowCenter": [2048, 100], "WindowWidth": [4096, 50]}),
        (STORED, {"RescaleSlope": 2, "RescaleIntercept": -1000}),
        (STORED, {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 1024, "WindowWidth": 4096}),
        ((STORED.astype(np.int16) - 2048).astype(np.int16), {}),
        (STORED, {"syntax": RLELossless}),
        ((STORED * 16).astype(np.uint16), {"bits": 16}),
        (STORED, {"bits": 16}),
        (4095 - STORED, {"RescaleSlope": -1, "RescaleIntercept": 4095}),
        (STORED, {"VOILUTSequence": []}),
    ],
)
def test_dicom_as_a_viewer_shows_it(values: Any, elements: dict[str, Any], tmp_path: Path) -> None:
    assert off_by(write_dicom(tmp_path / "x.dcm", values, **elements)) <= 1


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": 65535}, {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 65535}]
)
def test_padding_is_black_and_no_grey_level(kind: str, padding: dict[str, int], tmp_path: Path) -> None:
    values = (STORED if kind == "MONOCHROME2" else 4095 - STORED).copy()
    values[:, :8] = 65535
    path = write_dicom(tmp_path / "x.dcm", values, bits=16, PhotometricInterpretation=kind, **padding)
    grey = read_grey(path)
    assert not grey[:, :8].any()
    assert np.abs(grey[:, 8:] - 255 * RAMP[:, 8:]).max() <= 1


def test_a_dicom_header_that_says_what_nothing_else_does(tmp_path: Path) -> None:
    write_dicom(tmp_path / "x.dcm", STORED, PatientSex="X")
    with pytest.raises(DataError, match=r"x\.dcm: sex 'X' is not one of F, M"):
        read_images(tmp_path)
    write_dicom(tmp_path / "x.dcm", STORED, PatientSex="O", ViewPosition="LL", PatientAge="018M")
    (record,) = read_images(tmp_path)
    assert (record.labels.age, record.labels.view, record.is_lateral) == (1, None, True)


def test_a_dicom_header_says_what_its_table_has_no_column_for(tmp_path: Path) -> None:
    header: dict[str, Any] = {"PatientID": "p7", "PatientAge": "055Y", "PatientSex": "F", "ViewPosition": "LL"}
    write_dicom(tmp_path / "x.dcm", STORED, **header)
    (tmp_path / "metadata.csv").write_text("file_name,findings,sex\nx.dcm,Mass,M\n")
    (record,) = read_images(tmp_path)
    assert record.labels == PromptLabels(("Mass",), 55, "M")
    assert (record.patient_id, record.is_lateral, record.is_real) == ("p7", True, True)


def test_pictures_of_kinds_that_are_not_read_are_not_left_out(tmp_path: Path) -> None:
    write_dicom(tmp_path / "x.dcm", STORED)
    (tmp_path / "y.HEIC").write_bytes(b"any")
    with pytest.raises(DataError, match=r"y\.HEIC is of a kind that is not read"):
        find_images(tmp_path)


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113", "x.DCM", "x.dicom", "x.IMA"])
def test_dicom_is_found_by_what_it_is(name: str, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / name, STORED)
    (tmp_path / "DICOMDIR").write_bytes(b"none")
    (tmp_path / "notes").write_text("none")
    assert find_images(tmp_path) == [path]
    assert read_squares([path], 16).shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 30_000, "Columns": 30_000}, "is 30,000 x 30,000 pixels; use at most 64,000,000 in all"),
        ({"NumberOfFrames": 2}, "several frames or colours"),
        ({"SamplesPerPixel": 3}, "several frames or colours"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is not one grey picture"),
        ({"WindowCenter": 100, "WindowWidth": 0}, "window or table of values"),
        ({"WindowCenter": 100_000, "WindowWidth": 10}, "its window shows one grey level"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "its window shows one grey level"),
        ({"Rows": 63}, None),
        ({"Rows": 640}, "its pixels are damaged"),
        ({"syntax": DeflatedExplicitVRLittleEndian}, "is a deflated DICOM file"),
        ({"VOILUTFunction": "SIGMOID", "WindowCenter": 1, "WindowWidth": 2}, "window or table of values"),
    ],
)
def test_dicom_that_is_refused(elements: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", STORED, **elements)
    if message is None:  # more bytes than are needed are padding
        assert read_grey(path).shape == (63, 32)
        return
    with pytest.raises(DataError, match=message):
        read_grey(path)


def of_unknown_kind(keyword: str) -> Callable[[bytes], bytes]:
    """An object with an element whose Value Representation no standard knows."""

    def change(content: bytes) -> bytes:
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag
        at = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF)) + 4
        return content[:at] + b"U\x06" + content[at + 2 :]

    return change


def refusal_of(read: Callable[[], object]) -> str:
    try:
        read()
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("read", [read_grey, read_dicom, read_dicom_facts])
@pytest.mark.parametrize(
    "damage",
    [
        *map(
            of_unknown_kind,
            ("Rows", "BitsStored", "WindowCenter", "PatientAge", "Manufacturer", "SpecificCharacterSet"),
        ),
        lambda content: content.replace(b"2.25.", b"+#\\)0", 1),
        lambda content: content[: len(content) // 2],
    ],
)
def test_dicom_whose_elements_cannot_be_read(
    read: Callable[[Path], object], damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """pydicom looks at an element when it is first asked for, and raises what happens to be raised there."""
    path, image = tmp_path / "x.dcm", make_image(0)
    content = encode_dicom(image.pixels, image.recipe, SyntheticPatient("SYN1", PromptLabels((), 5, "F", "PA")), 8)
    path.write_bytes(damage(content))
    with quiet_libraries():
        said = refusal_of(lambda: read(path))
    assert not said or said.startswith(f"{path} ") or "DICOM object holds" in said
    assert "\n" not in said


def test_a_dicom_picture_of_unknown_rows_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", STORED)
    path.write_bytes(of_unknown_kind("Rows")(path.read_bytes()))
    with pytest.raises(DataError, match="damaged or of another kind"):
        read_grey(path)


def test_dicom_of_a_compression_that_is_not_here(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "x.dcm", STORED)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.201")
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"x\.dcm .*(compressed in a way that cannot be read here|damaged)"):
        read_grey(path)


@pytest.mark.parametrize(
    "text", ["a" * 200, "a\\b", "tab\there", "line\nbreak", " ends ", "ü" * 80, "肺炎" * 400, "e\u0301" * 90]
)
def test_exported_dicom_has_values_that_the_standard_allows(text: str, tmp_path: Path) -> None:
    prompt = text if text.strip() else "x"
    image = make_image(0, prompt=prompt, model=text)
    patient = SyntheticPatient("SYN0000001", PromptLabels(("Mass",), 5, "F", "PA"))
    (tmp_path / "x.dcm").write_bytes(encode_dicom(image.pixels, image.recipe, patient, 8))
    dataset = pydicom.dcmread(tmp_path / "x.dcm")
    for name in ("ManufacturerModelName", "DerivationDescription"):
        value = dataset[name].value
        assert isinstance(value, str), "one value and not several"
        assert value.isprintable()
        assert "\\" not in value
    assert 0 < len(dataset.ManufacturerModelName.encode()) <= 64
    assert len(dataset.DerivationDescription.encode()) <= 1024
    assert read_dicom(tmp_path / "x.dcm")[1] == image.recipe, "whole in its own element"


def test_numbers_that_are_cut_are_damage(tmp_path: Path) -> None:
    """Of these pydicom raises an exception that is a kind of no other."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.add_new(0x00280010, "US", 2)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True, implicit_vr=False, little_endian=True)
    content = (tmp_path / "a.dcm").read_bytes()
    cut = content.replace(b"\x28\x00\x10\x00US\x02\x00\x02\x00", b"\x28\x00\x10\x00US\x03\x00\x02\x00\x00")
    assert cut != content
    (tmp_path / "a.dcm").write_bytes(cut)
    with pytest.raises(DataError, match="cannot be read as a DICOM image"):
        read_dicom_grey(tmp_path / "a.dcm", 100)
