"""A checkout as small as possible that makes a Space."""

from __future__ import annotations

from pathlib import Path

from cxr.deploy.space_files import MAX_REPORT_FILE_BYTES

CARD = """\
---
title: Test
emoji: 🫁
colorFrom: gray
colorTo: blue
sdk: gradio
sdk_version: 6.31.0
python_version: "3.12.12"
app_file: app.py
short_description: Clinical text in, images out
license: apache-2.0
pinned: false
---

# Test

The text, with trailing lines and ümlauts.


"""


def make_checkout(root: Path) -> Path:
    """Write the files of a checkout, and some that must not be uploaded; returns the folder."""
    for name, content in (
        ("app.py", b"pass\n"),
        ("requirements.txt", b"# for users\ngradio>=6.31,<7\ntorch>=2.8\n"),
        ("README.md", CARD.encode()),
        ("LICENSE", b"free"),
        ("cxr/__init__.py", b""),
        ("cxr/embedded/unet/model.safetensors", bytes(11_000_000)),
        ("cxr/__pycache__/a.pyc", b"cache"),
        ("lora_weights/clinical/config.json", b"{}"),
        ("lora_weights/clinical/report/report.html", b"small"),
        ("lora_weights/clinical/report/all.html", bytes(MAX_REPORT_FILE_BYTES + 1)),
        ("examples/.hidden", b"x"),
        ("tests/test_a.py", b"pass"),
        (".env", b"HF_TOKEN=x"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
