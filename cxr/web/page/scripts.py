"""What runs in the browser: the viewer and the strip of examples, from the files in ``browser/``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("browser")


def _read(*names: str) -> str:
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


# Gradio makes functions of these; the page's content policy allows that and no scripts of other sites.
EXAMPLES = _read("nodes.js", "examples.js")
BEGIN_TEMPLATE, BEGIN = _read("begin.html"), _read("begin.js")
VIEWER_TEMPLATE = _read("viewer.html")
VIEWER = _read(
    "nodes.js",
    "grey_view.js",
    "gestures.js",
    "details.js",
    "compare.js",
    "history.js",
    "address.js",
    "toasts.js",
    "stage.js",
)
SAVE_FILE = """(file) => {
    const link = Object.assign(document.createElement("a"), {href: file.url, download: file.orig_name});
    link.click();
}"""
