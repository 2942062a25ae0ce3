"""Signed images: the same images, provably synthetic; and what ``detect`` says of anybody's files."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hostile_pictures import PIXELS, bomb, chunk, png
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from sample_dataset import make_dataset
from sample_images import RECIPE, fill, make_image

from cxr.commands.main import main
from cxr.folders.archive import write_zip
from cxr.folders.dicom import SyntheticPatient, encode_dicom
from cxr.folders.image_folder import ImageFolder
from cxr.folders.metadata import CHECKSUMS_NAME, CHECKSUMS_NAMES, file_sha256
from cxr.images.png import encode_png, read_recipe
from cxr.images.png_signature import unsigned_pieces, unsigned_size
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import DataError

pytest.importorskip("c2pa", reason="signatures are optional")
x509 = pytest.importorskip("cryptography.x509")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

from cxr.provenance import detection, evidence, keys  # noqa: E402
from cxr.provenance.checksums import changed_files, read_list  # noqa: E402
from cxr.provenance.log import signing_folder  # noqa: E402
from cxr.provenance.signing import sign_path  # noqa: E402


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no key yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signed folder of two images."""
    fill(tmp_path / "images", 2)
    sign_path(tmp_path / "images", keys.own_key(), lambda text: None)
    return tmp_path / "images"


def found(path: Path, authorities: bytes | None = None) -> detection.Detection:
    return detection.detect(path, keys.known_authorities() if authorities is None else authorities)


def test_signing_adds_one_chunk_and_changes_nothing_else(tmp_path: Path) -> None:
    plain = encode_png(make_image(0))
    path = tmp_path / "image.png"
    path.write_bytes(plain)
    before = read_recipe(path)
    sign_path(path, keys.own_key(), lambda text: None)
    signed = path.read_bytes()
    assert len(signed) > len(plain)
    assert b"".join(unsigned_pieces(io.BytesIO(signed))) == plain
    assert unsigned_size(path) == len(plain)
    assert read_recipe(path) == before
    assert np.array_equal(np.asarray(Image.open(path)), make_image(0).pixels)


def test_signing_again_replaces_the_manifest(folder: Path) -> None:
    image = next(folder.glob("*.png"))
    size = image.stat().st_size
    sign_path(folder, keys.own_key(), lambda text: None)
    assert abs(image.stat().st_size - size) < 200
    assert found(image).verdict == detection.PROVEN


def test_tables_and_hashes_of_a_signed_folder_stay(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "plain", 2)
    assert (folder / "metadata.jsonl").read_bytes() == (tmp_path / "plain" / "metadata.jsonl").read_bytes()
    signed = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    with ImageFolder(folder) as again:
        assert len(again.files) == 2
        for index in range(2):
            again.write(make_image(index))
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")} == signed


def test_a_zip_holds_the_signed_images(folder: Path, tmp_path: Path) -> None:
    import zipfile

    with ImageFolder(folder) as images:
        write_zip(tmp_path / "images.zip", images)
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        for path in folder.glob("*.png"):
            assert archive.read(path.name) == path.read_bytes()


def test_who_has_no_home_can_detect_and_is_told_where_a_key_would_go(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    fill(tmp_path / "plain", 1)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", home)
    assert found(next(folder.glob("*.png"))).verdict == detection.CLAIMED
    assert main(["sign", str(tmp_path / "plain")]) == 2
    assert "no home folder to keep a key and a log in; set XDG_CONFIG_HOME" in capsys.readouterr().err


@pytest.mark.parametrize("sample", ["0"])
def test_verify_names_who_signed_and_what_has_changed_since(
    folder: Path, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(folder), "--sample", sample]) == 0
    assert "signed by CXR Studio, key made on this machine" in capsys.readouterr().out
    with (folder / "metadata.jsonl").open("a") as file:
        file.write("\n")
    assert main(["verify", str(folder), "--sample", sample]) == 1
    assert f"has changed since {CHECKSUMS_NAME} was signed" in capsys.readouterr().out


def test_a_finished_data_set_is_signed_and_still_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset(tmp_path / "set")
    main(["verify", str(tmp_path / "set"), "--sample", "0"])
    before = capsys.readouterr().out
    assert main(["sign", str(tmp_path / "set")]) == 0
    capsys.readouterr()
    main(["verify", str(tmp_path / "set"), "--sample", "0"])
    after = capsys.readouterr().out
    assert after.replace("signed by CXR Studio, key made on this machine\n", "") == before


def test_the_list_is_what_sha256sum_and_openssl_read(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", CHECKSUMS_NAME], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    public = tmp_path / "public.pem"
    chain = x509.load_pem_x509_certificates((folder / CHECKSUMS_NAMES[2]).read_bytes())
    public.write_bytes(
        chain[0].public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", CHECKSUMS_NAMES[1], CHECKSUMS_NAME]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("change", ["edit", "delete", "add", "list", "signature"])
def test_the_list_notices(folder: Path, change: str) -> None:
    image = next(folder.glob("*.png"))
    if change == "edit":
        image.write_bytes(image.read_bytes() + b" ")
    elif change == "delete":
        image.unlink()
    elif change == "add":
        (folder / "more.txt").write_text("more")
    else:
        path = folder / CHECKSUMS_NAMES[0 if change == "list" else 1]
        data = bytearray(path.read_bytes())
        data[10] ^= 1
        path.write_bytes(bytes(data))
    signed = read_list(folder, keys.known_authorities())
    assert signed is not None
    assert not signed.is_valid or len(list(changed_files(folder, signed))) == 1
    assert signed.is_valid == (change in {"edit", "delete", "add"})


def test_the_key_is_for_its_owner_alone_and_its_authority_keeps_none(tmp_path: Path) -> None:
    key = keys.own_key()
    path = signing_folder() / keys.KEY_NAME
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(list(signing_folder().glob("*.pem"))) == 2
    assert key.certificates[0].issuer == key.certificates[1].subject != key.certificates[0].subject
    assert keys.own_key().key_pem == key.key_pem


def own_pair(tmp_path: Path, private: object, name: str = "mine") -> tuple[Path, Path]:
    """A key of the user's own with a chain, made as this program makes its own."""
    assert isinstance(private, keys.PrivateKey)
    authority = ec.generate_private_key(ec.SECP256R1())
    root, leaf = keys.name_of("root"), keys.name_of(name)
    own = keys.make_certificate(root, root, authority.public_key(), authority)
    signer = keys.make_certificate(leaf, root, private.public_key(), authority)
    key, chain = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
    found_key = keys.SigningKey(private, (signer, own))
    key.write_bytes(found_key.key_pem)
    chain.write_bytes(found_key.chain_pem)
    return key, chain


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
@pytest.mark.slow
def test_a_key_of_ones_own(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    private: keys.PrivateKey
    if kind == "RSA":
        private = rsa.generate_private_key(65537, 2048)
    else:
        private = ec.generate_private_key(ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())
    key, chain = own_pair(tmp_path, private)
    fill(tmp_path / "images", 1)
    options = ["--signing-key", str(key), "--certificate", str(chain)]
    assert main(["sign", str(tmp_path / "images"), *options]) == 0
    assert "own key" not in capsys.readouterr().out
    image = next((tmp_path / "images").glob("*.png"))
    assert found(image, b"").verdict == detection.PROVEN  # this machine's log knows it
    (signing_folder() / "log.jsonl").unlink()
    assert found(image, b"").verdict == detection.CLAIMED
    root = chain.read_bytes().split(b"-----END CERTIFICATE-----\n")[1] + b"-----END CERTIFICATE-----\n"
    assert found(image, root).verdict == detection.PROVEN


@pytest.mark.parametrize(
    ("key", "certificate", "message"),
    [
        (b"no key", None, "holds no private key"),
        (None, b"no certificate", "holds no certificate"),
        ("encrypted", None, "is encrypted"),
        ("other", None, "does not begin with the certificate of"),
    ],
)
def test_bad_keys_are_one_sentence(
    tmp_path: Path, key: bytes | str | None, certificate: bytes | None, message: str
) -> None:
    good = ec.generate_private_key(ec.SECP256R1())
    key_path, chain = own_pair(tmp_path, good)
    if key == "other":
        key_path, _ = own_pair(tmp_path, ec.generate_private_key(ec.SECP256R1()), "other")
    elif key == "encrypted":
        secret = serialization.BestAvailableEncryption(b"secret")
        key_path.write_bytes(good.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    elif isinstance(key, bytes):
        key_path.write_bytes(key)
    if certificate is not None:
        chain.write_bytes(certificate)
    with pytest.raises(DataError, match=message):
        keys.read_key(key_path, chain)


def test_signing_what_is_no_image_of_this_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "other.png")
    assert main(["sign", str(tmp_path / "other.png")]) == 2
    assert "holds no recipe" in capsys.readouterr().err
    assert main(["sign", str(tmp_path / "gone")]) == 2
    assert main(["sign", str(tmp_path), "--signing-key", "x"]) == 2


def stranger(path: Path, **texts: str) -> Path:
    """A PNG of another program."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("L", (8, 8), 90).save(path, pnginfo=info)
    return path


@pytest.mark.usefixtures("without_child")
def test_nothing_found_is_not_real(tmp_path: Path) -> None:
    outcome = found(stranger(tmp_path / "a.png"))
    assert outcome.verdict == detection.NOTHING
    assert "does not mean that it is real" in outcome.verdict
    assert outcome.evidence == ()


@pytest.mark.parametrize("name", ["parameters", "workflow", "invokeai_metadata"])
@pytest.mark.usefixtures("without_child")
def test_marks_of_other_programs(tmp_path: Path, name: str) -> None:
    outcome = found(stranger(tmp_path / "a.png", **{name: "a cat, steps 20"}))
    assert outcome.verdict == detection.CLAIMED
    assert "cat" not in str(outcome.evidence)


@pytest.mark.usefixtures("without_child")
def test_a_jpeg_whose_xmp_says_so(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">digitalsourcetype/trainedAlgorithmicMedia</x:xmpmeta>'
    Image.new("L", (8, 8), 90).save(tmp_path / "a.jpg", xmp=xmp)
    assert found(tmp_path / "a.jpg").verdict == detection.CLAIMED


@pytest.mark.usefixtures("without_child")
def test_edited_pixels_break_the_signature(folder: Path) -> None:
    image = next(folder.glob("*.png"))
    data = bytearray(image.read_bytes())
    data[-40] ^= 1
    copy = folder.parent / "edited.png"
    copy.write_bytes(bytes(data))
    outcome = found(copy)
    assert outcome.verdict == detection.CHANGED
    assert any(one.kind == "fault" and "has changed" in one.text for one in outcome.evidence)


def test_a_signature_of_a_stranger_is_a_claim(folder: Path) -> None:
    image = next(folder.glob("*.png"))
    copy = folder.parent / "copy.png"
    copy.write_bytes(image.read_bytes())
    (signing_folder() / "log.jsonl").unlink()
    outcome = found(copy, b"")
    assert outcome.verdict == detection.CLAIMED
    assert any("nobody here vouches" in one.text for one in outcome.evidence)


def test_the_log_has_hashes_and_times_and_no_prompt(folder: Path) -> None:
    rows = [json.loads(line) for line in (signing_folder() / "log.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("sha256", "recipe_sha256", "signed_at")}
    assert {row["sha256"] for row in rows} == {file_sha256(path) for path in folder.glob("*.png")}


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\1", b"caBX" * 9, b"\xff\xd8\xff\xe1\xff"]
)
@pytest.mark.usefixtures("without_child")
def test_broken_files_of_strangers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    assert b"".join(unsigned_pieces(io.BytesIO(content))) == content
    assert unsigned_size(path) == len(content)
    assert found(path).verdict in {detection.NOTHING, detection.CHANGED}


@pytest.mark.parametrize("name", ["empty.png", "text.png", "text.jpg", "signature.jpg", "page.webp", "text.tif"])
@pytest.mark.usefixtures("without_child")
def test_what_is_no_picture_has_no_manifest(name: str, tmp_path: Path) -> None:
    contents = {"empty": b"", "text": b"A man", "signature": b"\xff\xd8\xff", "page": b"<html></html>"}
    path = tmp_path / name
    path.write_bytes(contents[path.stem])
    assert [one.text for one in found(path, b"").evidence] == [
        "its pixels cannot be read, and were not searched for this program's mark"
    ]


@pytest.mark.parametrize("text", ["{}", "flour, eggs, milk", '{"model": 5}', "[" * 9_000, '{"a": 1, "a": 2}'])
@pytest.mark.usefixtures("without_child")
def test_a_recipe_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("recipe", text)
    Image.new("L", (8, 8)).save(path := tmp_path / "other.png", pnginfo=info)
    verdict = found(path, b"")
    assert verdict.verdict == detection.NOTHING
    (evidence,) = verdict.evidence
    assert evidence.text.startswith("its texts cannot be read here: the recipe ")


@pytest.mark.usefixtures("without_child")
def test_a_recipe_that_cannot_be_read_is_named_in_dicom_too(tmp_path: Path) -> None:
    patient = SyntheticPatient("SYN0000001", PromptLabels())
    path = tmp_path / "image.dcm"
    content = encode_dicom(np.zeros((32, 32), np.uint8), RECIPE, patient, 8)
    path.write_bytes(content.replace(b'"seed":', b'"weed":'))
    texts = [evidence.text for evidence in found(path, b"").evidence]
    assert "its texts cannot be read here: the recipe has “weed”, which newer versions may know" in texts


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.usefixtures("without_child")
def test_long_and_damaged_texts_hide_no_other_program(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.png"
    path.write_bytes(png(bomb(kind, 400_000), chunk(kind, b"workflow\0" + bytes(400_000)), PIXELS))
    evidence = found(path, b"").evidence
    assert [one.kind for one in evidence] == ["claim", "remark"]
    assert evidence[0].text == "carries a workflow of ComfyUI"
    assert evidence[1].text.startswith("its texts cannot be read here: it carries a text of more than 256 kB")


@pytest.mark.parametrize(
    ("kinds", "is_synthetic"),
    [
        ("SYNTHETIC", True),
        (["DERIVED", "SECONDARY", "SYNTHETIC"], True),
        ("NONSYNTHETIC", False),
        (["ORIGINAL", "PRIMARY", "NO SYNTHETICS"], False),
        ("", False),
    ],
)
@pytest.mark.usefixtures("without_child")
def test_a_dicom_image_type_counts_as_a_whole_value(kinds: object, is_synthetic: bool, tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    dataset.ImageType = kinds
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path := tmp_path / "film.dcm", enforce_file_format=True)
    assert found(path, b"").verdict == (detection.CLAIMED if is_synthetic else detection.NOTHING)


def test_the_command_reads_folders_and_writes_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(folder), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["verdict"] for row in rows] == [detection.PROVEN] * 2
    assert main(["detect", str(folder.parent / "gone")]) == 2
    empty = folder.parent / "empty"
    empty.mkdir()
    assert main(["detect", str(empty)]) == 2


@pytest.mark.parametrize("content", [b"", b"A man", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.usefixtures("without_child")
def test_a_picture_that_cannot_be_read_is_no_success(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.png").write_bytes(content)
    assert main(["detect", str(tmp_path)]) == 1
    assert evidence.UNREAD in capsys.readouterr().out


@pytest.mark.usefixtures("without_child")
def test_a_folder_is_searched_as_all_commands_search_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "elsewhere").mkdir()
    names = ("a.bmp", "b.gif", "c.jp2", "d.pgm", "e.jfif")
    for name in names:
        Image.new("L", (16, 16)).save(tmp_path / "elsewhere" / name)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "._a.png").write_bytes(b"\0\5\26\7")  # of macOS
    assert main(["detect", str(tmp_path / "set")]) == 0
    out = capsys.readouterr().out
    assert all(f"/linked/{name}: " in out for name in names)
    assert "._a.png" not in out


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("06072a8648ce3d0201", "06072a8648ce3d0277"),  # a kind of key that nobody knows
        ("06082a8648ce3d030107", "06082a8648ce3d030177"),  # a curve
        (b"signer".hex(), b"sig\xff\xfer".hex()),  # a name that is not UTF-8
        ("a003020102", "a00302014d"),  # a version
        ("0603551d23", "0603551d0e"),  # an extension twice
    ],
)
def test_certificates_of_strangers_are_one_sentence(folder: Path, old: str, new: str) -> None:
    path = folder / "SHA256SUMS.pem"
    certificates = [one.public_bytes(serialization.Encoding.DER) for one in keys.read_certificates(path)]
    changed = [one.replace(bytes.fromhex(old), bytes.fromhex(new)) for one in certificates]
    assert changed != certificates
    lines = "".join(
        f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(one).decode()}\n-----END CERTIFICATE-----\n" for one in changed
    )
    path.write_text(lines, encoding="ascii")
    for read in (lambda: keys.read_certificates(path), lambda: read_list(folder, b"")):
        with pytest.raises(DataError, match="holds no certificate in PEM format, or one of a kind that is not known"):
            read()


@pytest.mark.usefixtures("without_child")
def test_a_list_that_cannot_be_read_hides_no_verdict_and_no_fault(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted(folder.glob("*.png"))[0]
    (folder / "SHA256SUMS.sig").unlink()  # as of anybody who has called sha256sum
    assert found(image).verdict == detection.PROVEN
    assert any("the list of its folder was not looked at" in one.text for one in found(image).evidence)
    (folder / "new.txt").write_bytes(b"")
    assert main(["verify", str(folder), "--sample", "0"]) == 1
    said = capsys.readouterr().out
    assert "SHA256SUMS.sig cannot be read" in said
    assert "new.txt" in said


@pytest.mark.usefixtures("without_child")
def test_a_folder_names_all_that_is_called_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("film.dicom", "1.2.840.10008.7", "radiograph"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    assert main(["detect", str(tmp_path)]) == 1
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    for name in ("film.dicom", "1.2.840.10008.7", "radiograph", "pipe.png", "nowhere.png", "loop.png"):
        assert sum(f"/{name}" in line for line in lines) == 1, (name, lines)
