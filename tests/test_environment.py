"""Which variables of gradio the page starts with, and which it refuses."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import ROOT, ServerProcess, request

from cxr.web.environment import ALLOW_FLAG, HARMLESS, OVERRIDDEN, REFUSED, find_danger
from cxr.web.launch import parse_arguments

READ = re.compile(r"""(?:environ(?:\.get)?|getenv)\s*[(\[]\s*["'](GRADIO_[A-Z0-9_]+)""")
# As a Space of a free account has them, besides what names its owner and its host.
SPACE = {
    "GRADIO_ALLOW_FLAGGING": "never",
    "GRADIO_NUM_PORTS": "1",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_SERVER_PORT": "7860",
    "GRADIO_THEME": "huggingface",
    "GRADIO_ANALYTICS_ENABLED": "True",
    "SYSTEM": "spaces",
    "SPACE_ID": "someone/space",
    "SPACE_HOST": "someone-space.hf.space",
    "SPACE_AUTHOR_NAME": "someone",
    "SPACE_REPO_NAME": "space",
}


def test_every_variable_that_gradio_reads_is_classified() -> None:
    files = [
        importlib.metadata.distribution("gradio").locate_file(str(path))
        for path in importlib.metadata.files("gradio") or ()
        if path.suffix == ".py" and "templates" not in path.parts
    ]
    read = {name for path in files for name in READ.findall(Path(str(path)).read_text(encoding="utf-8"))}
    assert len(read) > 30
    assert read - {*REFUSED, *OVERRIDDEN, *HARMLESS} == set()


def test_no_variable_is_in_two_tables() -> None:
    assert len({*REFUSED, *OVERRIDDEN, *HARMLESS}) == len(REFUSED) + len(OVERRIDDEN) + len(HARMLESS)


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_variables_are_refused_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "True")
    with pytest.raises(SystemExit) as stopped:
        parse_arguments([])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.count("\n") == 1
    assert f"{name} is set, which " in said
    assert ALLOW_FLAG in said
    assert parse_arguments([ALLOW_FLAG]).host


def test_switches_that_are_off_are_no_danger() -> None:
    assert find_danger({"GRADIO_SHARE": "False", "GRADIO_MCP_SERVER": "", "GRADIO_DEBUG": "0"}) == ""
    assert "GRADIO_SHARE" in find_danger({"GRADIO_SHARE": "true"})
    # Gradio reads these as on, whatever they hold.
    assert "GRADIO_LOCAL_DEV_MODE" in find_danger({"GRADIO_LOCAL_DEV_MODE": ""})
    assert "GRADIO_VIBE_MODE" in find_danger({"GRADIO_VIBE_MODE": "0"})
    assert "secret" not in find_danger({"GRADIO_ALLOWED_PATHS": "/secret"})
    assert find_danger(SPACE | dict.fromkeys((*OVERRIDDEN, *HARMLESS), "1")) == ""


def test_app_refuses_before_it_loads_anything() -> None:
    environment = {"PATH": "", "GRADIO_ALLOWED_PATHS": "/"}
    result = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "app.py: GRADIO_ALLOWED_PATHS is set, which lets visitors download files of this machine; unset it, allow it "
        "with --allow-gradio-variables\n"
    )


def test_it_starts_with_the_variables_of_a_space(tiny_model_dir: Path, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, tiny_model_dir, **SPACE)
    try:
        status, page = request(server.url)
        assert status == 200
        assert "CXR Studio" in page
        assert request(f"{server.url}/gradio_api/mcp/")[0] == 404
        assert request(f"{server.url}/monitoring/summary")[0] == 403
    finally:
        assert server.end() == 0
    assert server.names == []
