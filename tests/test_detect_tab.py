"""The tab that tells whether a picture is synthetic."""

import asyncio
from pathlib import Path

import gradio as gr
import pytest
from hostile_pictures import GOOD_JPEG, GOOD_PNG

from cxr.provenance.detection import CHANGED, CLAIMED, NOTHING, PROVEN, Detection
from cxr.provenance.evidence import Evidence
from cxr.web.page.detect_tab import IDLE, build_detect_tab, describe
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.temporary import temp_root

UPLOAD = "0123456789abcdef0123456789abcdef.png"  # as the server names them


def found(verdict: str, *evidence: Evidence) -> Detection:
    return Detection(Path("x.png"), verdict, evidence)


@pytest.mark.parametrize(
    ("verdict", "tone"), [(PROVEN, "good"), (CLAIMED, "good"), (CHANGED, "bad"), (NOTHING, "quiet")]
)
def test_each_verdict_is_a_sentence_that_is_read_out(verdict: str, tone: str) -> None:
    said = describe(found(verdict))
    assert f'cxr-{tone}" role="status"' in said
    assert f"{verdict[:1].upper()}{verdict[1:]}." in said


def test_what_stands_in_a_strangers_file_is_text_and_no_page() -> None:
    said = describe(found(CLAIMED, Evidence("claim", 'carries <img src=x onerror="alert(1)">')))
    assert "<img" not in said
    assert "<b>Claim</b> <span>Carries &lt;img" in said


def test_evidence_keeps_its_order() -> None:
    said = describe(found(CHANGED, Evidence("fault", "b"), Evidence("claim", "a"), Evidence("remark", "c")))
    assert said.index("Broken") < said.index("Claim") < said.index("Remark")


@pytest.mark.parametrize(
    ("content", "expected"), [(GOOD_PNG, NOTHING), (GOOD_JPEG, NOTHING), (b"\x89PNG nothing", "not ")]
)
def test_an_upload_is_read_and_deleted(content: bytes, expected: str) -> None:
    with gr.Blocks() as page:
        build_detect_tab(PictureReader())
    (event,) = [fn for fn in page.fns.values() if fn.name == "check"]
    path = temp_root() / UPLOAD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    said, emptied = asyncio.run(event.fn(str(path)))
    assert emptied is None
    assert expected[1:] in said
    assert UPLOAD not in said
    assert said != IDLE
    assert not path.exists()


def test_a_file_outside_the_uploads_is_refused_and_stays(tmp_path: Path) -> None:
    with gr.Blocks() as page:
        build_detect_tab(PictureReader())
    (event,) = [fn for fn in page.fns.values() if fn.name == "check"]
    path = tmp_path / "mine.png"
    path.write_bytes(GOOD_PNG)
    said, _ = asyncio.run(event.fn(str(path)))
    assert 'role="alert"' in said
    assert path.exists()
