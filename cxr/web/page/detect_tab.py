"""The tab that says whether a picture is synthetic, and what that rests on."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from cxr.provenance.detection import CHANGED, CLAIMED, NOTHING, PROVEN, Detection
from cxr.request.errors import CxrError
from cxr.request.messages import as_sentence
from cxr.web.page import panels
from cxr.web.page.shared_events import PRIVATE
from cxr.web.server.init_upload import PictureReader
from cxr.web.server.uploads import MAGIC

HINT = (
    "A signature, a recipe, or the marks that programs and DICOM leave show that a picture was generated. It is read "
    "once and deleted. Marks can be removed: a picture without any may be synthetic all the same."
)
TONES: dict[str, panels.Tone] = {PROVEN: "good", CLAIMED: "good", CHANGED: "bad", NOTHING: "quiet"}
KINDS = {"proof": "Proof", "fault": "Broken", "claim": "Claim", "remark": "Remark"}
IDLE = panels.hint("Nothing has been checked yet.")


def describe(found: Detection) -> str:
    """What the page says about a picture: the verdict and a list of what it rests on, as HTML."""
    rows = "".join(
        f"<li><b>{KINDS[one.kind]}</b> <span>{escape(as_sentence(one.text))}.</span></li>" for one in found.evidence
    )
    verdict = f'<p class="cxr-verdict"><strong>{escape(as_sentence(found.verdict))}.</strong></p>'
    return f'<div class="cxr-detected cxr-{TONES[found.verdict]}" role="status">{verdict}<ul>{rows}</ul></div>'


def build_detect_tab(reader: PictureReader) -> None:
    """Build the content of the tab.

    Args:
        reader: reads pictures of visitors.
    """
    gr.HTML('<h2 class="cxr-heading">Is a picture synthetic?</h2>' + panels.hint(HINT))
    with gr.Column(elem_id="detect"):
        file = gr.UploadButton("Choose a PNG, JPEG or DICOM file", file_types=[*MAGIC], elem_id="detect-file")
        said = gr.HTML(IDLE, elem_id="detect-said")

    async def check(path: str) -> tuple[str, None]:
        try:
            return describe(await reader.detection(Path(path))), None
        except CxrError as error:
            return panels.alert(as_sentence(str(error))), None

    file.upload(check, inputs=file, outputs=[said, file], concurrency_limit=2, **PRIVATE)
