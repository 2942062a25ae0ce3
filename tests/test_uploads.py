"""The way in for files, and the headers of every answer, on a live server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from pathlib import Path

import pytest
from hostile_pictures import GOOD_PNG
from live_page import LivePage
from server_process import request

from cxr.web.server import door, places, uploads
from cxr.web.server.door import MAX_BODY_BYTES
from cxr.web.server.headers import security_headers
from cxr.web.server.places import MAX_AT_ONCE_OF_ONE, Places
from cxr.web.server.refusal import Refusal
from cxr.web.server.uploads import MAX_UPLOADS_BYTES, UploadedFiles, check_upload, discard_upload

KIND = "multipart/form-data; boundary=b"
HEADERS = {"Content-Type": KIND}
PLAN = b"prompts: [normal chest x-ray]\n"


def form(*files: tuple[str, bytes]) -> bytes:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in files
    ]
    return b"".join(parts) + b"--b--\r\n"


@pytest.fixture(scope="module")
def url(empty_page: LivePage) -> str:
    return f"{empty_page.url}/gradio_api/upload"


@pytest.fixture(scope="module")
def temp(empty_page: LivePage) -> Path:
    return empty_page.temp


def test_known_kinds_come_in_unchanged(url: str) -> None:
    status, answer = request(url, form(("plan.YAML", PLAN), ("a.png", GOOD_PNG)), HEADERS)
    assert status == 200
    assert [Path(path).read_bytes() for path in json.loads(answer)] == [PLAN, GOOD_PNG]


def uploaded(temp: Path) -> list[Path]:
    """Everything that was stored, but for the folders of jobs, which may still be running."""
    return sorted(path for path in temp.rglob("*") if "runs" not in path.relative_to(temp).parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.exe", b"MZ"),
        ("plan", PLAN),
        ("a.html", b"<script>"),
        ("a.svg", b"<svg/>"),
        ("a.tiff", b"II*\0"),
        ("a.png", b"II*\0"),
        ("a.jpg", GOOD_PNG),
        ("a.png", b""),
        ("a.yaml", b"PK\3\4\0\0"),
        ("a.csv", b"a,b\0"),
        ("a.dcm", b"DICM"),
        ("a.dcm", GOOD_PNG),
        ("a.png/../../b.safetensors", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_other_kinds_stay_outside(name: str, content: bytes, url: str, temp: Path) -> None:
    before = uploaded(temp)
    status, answer = request(url, form(("plan.yaml", PLAN), (name, content)), HEADERS)
    assert (status, answer) == (415, "this page takes .yaml, .yml, .csv, .png, .jpg, .jpeg, .dcm files only")
    assert uploaded(temp) == before


def test_names_in_other_spellings_are_seen() -> None:
    for head in (b"filename=a.exe", b'filename="a.csv"; filename="a.exe"', b'FileName="a.exe"'):
        body = b'--b\r\ncontent-disposition: form-data; name="files"; ' + head + b"\r\n\r\nMZ\r\n--b--\r\n"
        with pytest.raises(Refusal, match="files only"):
            asyncio.run(check_upload(body, KIND))


@pytest.mark.parametrize(
    ("body", "kind"), [(b"nonsense", KIND), (b"--b\r\n", "multipart/form-data"), (form(("a.csv", b"a"))[:-9], KIND)]
)
def test_broken_forms_are_refused(body: bytes, kind: str, url: str) -> None:
    assert request(url, body, {"Content-Type": kind})[0] == 400


def test_one_request_is_bounded_over_all_its_files(url: str) -> None:
    files = [(f"{number}.csv", b"a" * 2_000_000) for number in range(5)]
    assert request(url, form(*files[:3]), HEADERS)[0] == 200
    assert request(url, form(*[("a.csv", b"a")] * 9), HEADERS)[0] == 413
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", KIND)
    connection.putheader("Content-Length", str(len(form(*files))))
    connection.endheaders()  # the answer comes before the body is sent
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(("path", "kind"), [("upload", KIND), ("call/generate", "application/json")])
def test_a_body_without_a_length_is_bounded_too(path: str, kind: str, url: str) -> None:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    pieces = (b"a" * 500_000 for _ in range(MAX_BODY_BYTES // 500_000 + 1))
    connection.request("POST", f"/gradio_api/{path}", body=pieces, headers={"Content-Type": kind}, encode_chunked=True)
    assert connection.getresponse().status in (400, 413)
    connection.close()


def test_a_file_is_bounded(url: str) -> None:
    assert request(url, form(("a.csv", b"a" * 5_500_000)), HEADERS)[0] == 413


@pytest.mark.parametrize("limit", ["MAX_BODY_S", "MAX_SILENCE_S"])
def test_an_upload_that_never_ends_gives_its_place_back(limit: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, limit, 0.05)
    for _ in range(MAX_AT_ONCE_OF_ONE + 1):
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
        connection.putrequest("POST", "/gradio_api/upload")
        connection.putheader("Content-Type", KIND)
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"--b")
        assert connection.getresponse().status == 408
        connection.close()


def test_slow_uploads_of_one_visitor_leave_places_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_WAIT_S", 0.05)

    async def hold() -> None:
        held = Places()
        async with contextlib.AsyncExitStack() as slow:
            for _ in range(MAX_AT_ONCE_OF_ONE):
                await slow.enter_async_context(held.take("8.8.8.8"))
            with pytest.raises(Refusal, match="too many uploads at the same time"):
                await slow.enter_async_context(held.take("8.8.8.8"))
            async with held.take("8.8.4.4"):
                pass
            for number in range(places.MAX_AT_ONCE - MAX_AT_ONCE_OF_ONE):
                await slow.enter_async_context(held.take(f"8.8.4.{number}"))
            with pytest.raises(Refusal, match="too many uploads at the same time"):
                await slow.enter_async_context(held.take("1.1.1.1"))
        async with held.take("8.8.8.8"), held.take("1.1.1.1"):
            pass

    asyncio.run(hold())


def test_who_waits_for_a_place_gets_it() -> None:
    async def hold() -> list[str]:
        held, order = Places(), []

        async def send(name: str) -> None:
            async with held.take("8.8.8.8"):
                order.append(name)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(send(str(number)) for number in range(6)))
        return order

    assert asyncio.run(hold()) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("limit", "value", "sizes", "address"),
    [
        ("MAX_UPLOADS_BYTES", 4_000, [900, 200], "8.8.8.8"),  # a quarter for each visitor
        ("MAX_UPLOADS_BYTES", 4_000, [900, 900, 900, 900, 900], ""),
        ("MAX_UPLOADS", 4, [1, 1], "8.8.8.8"),
        ("MAX_UPLOADS", 4, [1] * 5, ""),
    ],
)
def test_number_and_bytes_of_uploads_are_bounded(
    limit: str, value: int, sizes: list[int], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, limit, value)
    kept, paths = UploadedFiles(), [tmp_path / f"{number}.csv" for number in range(len(sizes))]
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        visitor = address or f"8.8.8.{number}"
        if path == paths[-1]:
            with pytest.raises(Refusal, match="no room for more uploads"):
                kept.check_room(size, visitor)
            for gone in paths[:-1]:
                gone.unlink()  # what has been swept or read makes room
        kept.check_room(size, visitor)
        path.touch()
        kept.keep([str(path), "/etc/passwd"], {path.name: size}, visitor)


def test_a_full_share_takes_no_more(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOADS_BYTES", 1_000)
    status, answer = request(url, form(("a.csv", b"a" * 2_000)), HEADERS)
    assert status == 507
    assert "no room" in answer
    assert MAX_UPLOADS_BYTES > 1_000


def test_the_same_file_of_two_visitors_lies_at_two_paths(url: str) -> None:
    first, second = (json.loads(request(url, form(("a.png", GOOD_PNG)), HEADERS)[1])[0] for _ in range(2))
    assert first != second
    discard_upload(Path(first))
    assert not Path(first).exists()
    assert Path(second).read_bytes() == GOOD_PNG


@pytest.mark.parametrize("name", ["0001_a.png", "seed_5.png", "samples.png", "0123456789abcdef.png", "plan.yaml"])
def test_only_uploads_are_discarded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    discard_upload(tmp_path / name)
    assert (tmp_path / name).exists()


def test_names_of_visitors_are_not_kept(url: str) -> None:
    (path,) = json.loads(request(url, form(("Jane Doe 1970.png", GOOD_PNG)), HEADERS)[1])
    assert "Doe" not in path
    assert path.endswith(".png")


def test_fields_without_files_come_in_unchanged() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\nJ\xc3\xbcrgen\r\n--b--\r\n'
    sent = asyncio.run(check_upload(body, KIND))
    assert b'name="username"\r\n\r\nJ\xc3\xbcrgen\r\n' in sent.body
    assert sent.sizes == {}


def test_every_answer_has_the_headers(url: str) -> None:
    root = url.removesuffix("gradio_api/upload")
    for path in ("", "config", "theme.css", "nowhere", "gradio_api/info"):
        connection = http.client.HTTPConnection(root.split("/")[2], timeout=10)
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        answer.read()
        assert {name: answer.headers[name] for name in security_headers({})} == security_headers({})
        connection.close()


def test_policy_names_the_hub_and_nobody_else() -> None:
    policy = security_headers({})["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy
    assert policy.count("https://") == 2
    assert (
        "connect-src 'self' data: blob: https://huggingface.co"
        in (security_headers({"SPACE_ID": "someone/space"})["Content-Security-Policy"])
    )
