"""Which variables of gradio the page starts with, and which it refuses."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from server_process import ROOT, ServerProcess, request

from cxr.web.server.arguments import parse_arguments
from cxr.web.server.environment import ALLOW_FLAG, REFUSED, WITHOUT_EFFECT, find_danger

READ = re.compile(r"""(?:environ(?:\.get)?|getenv)\s*[(\[]\s*["'](GRADIO_[A-Z0-9_]+)""")
# What the page says itself, by an argument or by setting the variable.
OVERRIDDEN: Mapping[str, str] = {
    "GRADIO_ANALYTICS_ENABLED": "no news to gradio",
    "GRADIO_TEMP_DIR": "a private folder within it",
}
# What may be set: it restricts, tunes, or belongs to parts of gradio that the page does not use.
HARMLESS: Mapping[str, str] = {
    "GRADIO_ALLOW_FLAGGING": "no longer read; Spaces set it",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "how often queue statistics are made",
    "GRADIO_ANALYTICS_MAX_EVENTS": "size of the queue statistics",
    "GRADIO_AUTO_LOGOUT": "gradio's own command line",
    "GRADIO_BLOCKED_PATHS": "refuses more files",
    "GRADIO_CACHE_EXAMPLES": "gr.Examples, which the page does not use",
    "GRADIO_CACHE_MODE": "gr.Examples, which the page does not use",
    "GRADIO_CHAT_FLAGGING_MODE": "chats",
    "GRADIO_DEFAULT_CONCURRENCY_LIMIT": "the events of the page have limits of their own",
    "GRADIO_EXAMPLES_CACHE": "gr.Examples, which the page does not use",
    "GRADIO_FLAGGING_MODE": "gr.Interface, which the page does not use",
    "GRADIO_HEARTBEAT_INTERVAL": "how often a waiting page hears from the server",
    "GRADIO_NUM_PORTS": "the port is given, so that no other is tried; Spaces set it",
    "GRADIO_RESET_EXAMPLES_CACHE": "gr.Examples, which the page does not use",
    "GRADIO_ROOT_PATH": "the address behind a proxy",
    "GRADIO_SERVER_MODE_ENABLED": "written by gradio, read by nobody",
    "GRADIO_SERVER_NAME": "the default of --host",
    "GRADIO_SERVER_PORT": "the default of --port",
    "GRADIO_THEME": "no longer read; Spaces set it",
    "GRADIO_WORKFLOW_INBROWSER": "gradio's workflows",
}
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
    assert read - {*REFUSED, *OVERRIDDEN, *WITHOUT_EFFECT, *HARMLESS} == set()


def test_no_variable_is_in_two_tables() -> None:
    tables: list[Mapping[str, object]] = [REFUSED, OVERRIDDEN, WITHOUT_EFFECT, HARMLESS]
    assert len({name for table in tables for name in table}) == sum(map(len, tables))


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_the_page_does_not_obey_is_said(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, lines in (("False", 0), ("", 0), ("1", 1), ("/usr/bin/node", 1)):
        monkeypatch.setenv(name, value)
        assert parse_arguments([]).port
        said = capsys.readouterr().err
        assert said.count("\n") == lines
        assert said.startswith(f"app.py: {name} has no effect: " * lines)


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "passive 1000"),
        ({"GOMP_SPINCOUNT": "5"}, "passive 5"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
    ],
)
def test_waiting_threads_spin_for_a_moment_unless_the_user_decides(given: dict[str, str], expected: str) -> None:
    code = "import os, cxr; print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'))"
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=clean | given, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == expected
