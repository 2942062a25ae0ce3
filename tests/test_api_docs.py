"""The lines of docs/api.md, run as they stand against a running page."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_page import LivePage
from PIL import Image
from test_init_image import noisy, written

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def url(tiny_page: LivePage) -> str:
    return tiny_page.url


def blocks(language: str, url: str) -> list[str]:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    return [code.replace(ADDRESS, url) for kind, code in FENCED.findall(text) if kind == language]


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="curl or bash is not there")
def test_the_lines_for_curl(url: str, tmp_path: Path) -> None:
    generate, restore = blocks("bash", url)
    made = run(["bash", "-euc", generate], tmp_path)
    assert made.count("event: complete") == 1
    path = re.search(r'"path": "([^"]+\.png)"', made)
    assert path is not None
    shutil.copy(path[1], tmp_path / "picture.png")
    restored = run(["bash", "-euc", restore], tmp_path)
    assert "event: complete" in restored
    assert '"prompt": "A 55-year-old man with pneumonia"' in restored


def test_the_lines_for_python(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, begun = blocks("python", url)
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(first, "docs/api.md", "exec"), names)
    assert said.getvalue().rstrip().endswith("True")
    written(tmp_path / "film.dcm", noisy(64, 64))
    Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), 24)).save(tmp_path / "region.png")
    exec(compile(begun, "docs/api.md", "exec"), names)
    names["client"].close()
    assert names["facts"]["columns"] == ["guidance 1", "guidance 1.5", "guidance 3"]


def has_javascript_client() -> bool:
    """Whether node is there and finds ``@gradio/client``, in NODE_PATH or as a global package."""
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", "require.resolve('@gradio/client')"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_javascript_client(), reason="node with @gradio/client is not there")
def test_the_lines_for_javascript(url: str, tmp_path: Path) -> None:
    (code,) = blocks("javascript", url)
    found = subprocess.run(
        ["node", "-p", "require.resolve('@gradio/client')"], capture_output=True, text=True, check=True
    ).stdout
    modules = next(parent for parent in Path(found.strip()).parents if parent.name == "node_modules")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "lines.mjs").write_text(f"{code}\nprocess.exit(0);\n", encoding="utf-8")
    said = run(["node", "lines.mjs"], tmp_path)
    assert ".png" in said
    assert "[ 7 ]" in said
