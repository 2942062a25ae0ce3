"""Starting the page: arguments, environment, ports and temporary folders."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from server_process import ServerProcess, free_port

from cxr.folders.lock import locked
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.table import JobTable
from cxr.web.server import launch, temporary
from cxr.web.server.arguments import ServerSettings, parse_arguments
from cxr.web.server.hosts import allowed_hosts, check_host, is_own_page
from cxr.web.server.launch import launch_options, prepare_environment
from cxr.web.server.limits import SPACE_LIMITS, Limits
from cxr.web.server.refusal import Refusal
from cxr.web.server.temporary import sweep_old_folders

ROOT = Path(__file__).parents[1]


def test_bound_to_this_machine_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("SPACE_ID", "CXR_MODEL", "CXR_ADAPTER", "CXR_MAX_DATASET_IMAGES", "CXR_MAX_QUEUE"),
        *("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"),
    ):
        monkeypatch.delenv(name, raising=False)
    settings = parse_arguments([])
    assert settings == ServerSettings(
        "127.0.0.1", 7860, False, None, ModelChoice("embedded", "default"), Limits(1_000, 32)
    )
    assert not settings.is_public
    assert parse_arguments(["--host", "0.0.0.0"]).is_public
    assert parse_arguments(["--share"]).is_public
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert parse_arguments([]).host == "0.0.0.0"


def test_environment_gives_the_defaults_of_model_and_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MODEL", "models/own")
    monkeypatch.setenv("CXR_ADAPTER", "none")
    assert parse_arguments([]).choice == ModelChoice("models/own", "none")
    assert parse_arguments(["--adapter", "clinical"]).choice == ModelChoice("models/own", "clinical")


def test_address_and_port_of_the_environment_are_obeyed_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7990")
    settings = parse_arguments([])
    assert (settings.host, settings.port, settings.is_public) == ("0.0.0.0", 7990, True)
    settings = parse_arguments(["--host", "127.0.0.1", "--port", "8000"])
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    monkeypatch.setenv("GRADIO_SERVER_PORT", "many")
    with pytest.raises(SystemExit) as refused:
        parse_arguments([])
    assert refused.value.code == 2
    message = capsys.readouterr().err
    assert "--port: 'many' is" in message
    assert message.count("\n") == 1


def test_limits_are_settings_and_smaller_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACE_ID", "SPACES_ZERO_GPU", "CXR_MAX_DATASET_IMAGES", "CXR_MAX_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    assert parse_arguments(["--max-dataset-images", "5", "--max-queue", "3"]).limits == Limits(5, 3)
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert parse_arguments([]).limits == SPACE_LIMITS
    monkeypatch.setenv("CXR_MAX_DATASET_IMAGES", "250")
    monkeypatch.setenv("CXR_MAX_QUEUE", "8")
    assert parse_arguments([]).limits == replace(SPACE_LIMITS, dataset_images=250, queue=8)
    assert parse_arguments(["--max-dataset-images", "0"]).limits.dataset_images == 0
    monkeypatch.setenv("CXR_MAX_JOB_S", "30")
    assert parse_arguments(["--max-pixel-steps", "7"]).limits == replace(
        SPACE_LIMITS, dataset_images=250, queue=8, job_s=30, pixel_steps=7
    )
    monkeypatch.delenv("CXR_MAX_DATASET_IMAGES")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert parse_arguments([]).limits.dataset_images == 0


def test_a_wrong_limit_in_the_environment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_MAX_DATASET_IMAGES", "many")
    with pytest.raises(SystemExit):
        parse_arguments([])
    assert "'many' is not allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0"], "1 to 65535"),
        (["--port", "x"], "1 to 65535"),
        (["--max-dataset-images", "-1"], "0 to 1,000,000"),
        (["--max-dataset-images", "1000001"], "0 to 1,000,000"),
        (["--max-queue", "0"], "1 to 1,000,000"),
        (["--allowed-host", "http://a.example"], "'http://a.example' is not a host name"),
        (["--allowed-host", "a.example,b:80"], "'b:80' is not a host name"),
        (["--auth", "userpassword"], "USER:PASSWORD"),
        (["--auth", ":secret"], "USER:PASSWORD"),
        (["--shar"], "--shar"),
        (["extra"], "extra"),
    ],
)
def test_wrong_flags_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(arguments)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message.count("\n") == 1
    assert words in message
    assert "secret" not in message


def test_app_answers_a_wrong_flag_without_loading_anything() -> None:
    result = subprocess.run([sys.executable, "app.py", "--port", "99999"], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "app.py: argument --port: '99999' is not a valid port; use a whole number from 1 to 65535\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "names"),
    [
        (["--host", "cxr.example.org"], {}, ["cxr.example.org"]),
        (["--share"], {}, ["1234abcd.gradio.live"]),
        (["--allowed-host", "a.example, *.b.example"], {}, ["A.example:443", "x.b.example", "a.example."]),
        ([], {"CXR_ALLOWED_HOSTS": "a.example"}, ["a.example"]),
        ([], {"SPACE_ID": "someone/space", "SPACE_HOST": "own.example"}, ["someone-space.hf.space", "own.example"]),
        ([], {"GRADIO_ROOT_PATH": "https://proxy.example:8443/cxr"}, ["proxy.example"]),
    ],
)
def test_names_that_are_allowed(
    arguments: list[str], environment: dict[str, str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SPACE_ID", "SPACE_HOST", "CXR_ALLOWED_HOSTS", "GRADIO_ROOT_PATH"):
        monkeypatch.delenv(name, raising=False)
    usual = allowed_hosts("127.0.0.1", False, parse_arguments([]).allowed_hosts)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = parse_arguments(arguments)
    allowed = allowed_hosts(settings.host, settings.share, settings.allowed_hosts)
    for name in names:
        check_host(name, allowed)
        with pytest.raises(Refusal, match=r"does not answer to the name “.*”; allow it with --allowed-host") as refused:
            check_host(name, usual)
        assert refused.value.status == 403


HOSTS_HERE = ("*.b.example", "cxr.example.org", "localhost", "machine", "machine.local")


@pytest.mark.parametrize(
    "host",
    [
        *("LOCALHOST", "localhost.", "LocalHost.:7860", "localhost:", "127.0.0.1", "127.0.0.1:7860", "0.0.0.0:7860"),
        *("[::1]", "[::1]:7860", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]:7860", "[FE80::1]", "10.0.0.7:7860", ""),
        *("x.b.example", "X.B.example:443", "a_b.b.example", "cxr.example.org", "machine.local:7860", "machine"),
    ],
)
def test_hosts_that_are_its_own_in_every_form(host: str) -> None:
    check_host(host, HOSTS_HERE)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "localhost.evil",
            "localhost.evil.example:7860",
            "evil.localhost.example",
            "127.0.0.1.nip.io",
        ),
        *("2130706433", "0x7f.0.0.1", "0x7f000001", "127.1", "017700000001", "127.0.0.1evil", "127.0.0.1 evil"),
        *("user@localhost", "user:pw@localhost", "localhost@evil.example", "localhost/evil", "localhost#evil"),
        *("localhost?x", "localhost\\evil", "localhost,evil.example", "localhost, localhost", "localhost localhost"),
        *("[::1]evil.example", "evil.example[::1]", "[::1", "::1]", "[evil.example]", "[]", "[::1]:7860:1", "[::1]:x"),
        *("localhost:evil", "localhost:1:2", "localhost:123456", ":7860", ".", "..", "localhost..", "b.example"),
        *("xn--lclhst-5sa", "l\xf6calhost", "x.b.example.evil", "cxr.example.org.evil", "notcxr.example.org", "*"),
        *("machine.localx", "machine.evil", "null", "file://", "http://localhost", "x" * 9_000),
    ],
)
def test_hosts_that_are_not_its_own_in_every_form(host: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_host(host, HOSTS_HERE)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://localhost:7860", "localhost:7860", True),
        ("http://LOCALHOST", "127.0.0.1:7860", True),
        ("http://127.0.0.1:3000", "localhost.:7860", True),
        ("http://[::1]:3000", "127.0.0.2", True),
        ("http://192.168.1.5:7860", "192.168.1.5:7860", True),
        ("https://cxr.example.org", "127.0.0.1:7860", True),
        ("https://x.b.example", "cxr.example.org", True),
        ("http://evil.example", "localhost:7860", False),
        ("http://evil.example", "localhost.:7860", False),
        ("http://evil.example", "[::1]:7860", False),
        ("http://evil.example", "127.0.0.2:7860", False),
        ("http://evil.example", "192.168.1.5:7860", False),
        ("http://evil.example", "cxr.example.org", False),
        ("http://6.6.6.6", "localhost", False),
        ("http://6.6.6.6", "192.168.1.5", False),
        ("http://localhost.evil.example", "localhost", False),
        ("http://evil@localhost", "localhost", False),
        ("http://localhost/evil", "localhost", False),
        ("http://localhost, http://evil.example", "localhost", False),
        ("http://evil.example, http://localhost", "localhost", False),
        ("localhost", "localhost", False),
        ("http://xyz.gradio.live", "127.0.0.1", False),
        ("null", "localhost", False),
        ("file://", "localhost", False),
        ("", "localhost", False),
        ("http://localhost", "", False),
        ("http://[::1", "[::1]", False),
    ],
)
def test_pages_that_may_read_its_answers(origin: str, host: str, is_own: bool) -> None:
    assert is_own_page(origin, host, (*HOSTS_HERE, "*.gradio.live")) == is_own


def test_a_space_and_a_public_link_are_for_the_pages_of_everybody() -> None:
    assert is_own_page("https://other.example", "someone-space.hf.space", ("*.hf.space",))
    assert is_own_page("https://other.example", "abc.gradio.live", ("*.gradio.live", "localhost"))
    assert not is_own_page("null", "someone-space.hf.space", ("*.hf.space",))


def test_password_is_not_in_the_settings_text() -> None:
    settings = parse_arguments(["--auth", "user:pass:word"])
    assert settings.auth == ("user", "pass:word")
    assert "pass" not in repr(settings)


def blank_page() -> gr.Blocks:
    page: gr.Blocks
    with gr.Blocks() as page:
        gr.Markdown("nothing")
    return page


def test_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # What belongs to a process that serves, and not to this one.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(launch, "keep_values_out_of_logs", lambda: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServerSettings(port=taken.getsockname()[1])
        with pytest.raises(SystemExit) as stopped:
            launch.serve(blank_page(), settings, JobTable())
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_page_starts_behind_a_proxy_and_on_a_machine_too_busy_for_gradios_own_check(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    start = (
        "import runpy, sys; from gradio import networking; networking.url_ok = lambda url: False; "
        "sys.argv[0] = 'app.py'; runpy.run_path('app.py', run_name='__main__')"
    )
    page = ServerProcess(
        tmp_path, tiny_model_dir, start=start, http_proxy=dead, HTTP_PROXY=dead, no_proxy="intranet.example"
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(page.url, timeout=60) as answer:
            assert answer.status == 200
    finally:
        assert page.end() == 0
    assert "Traceback" not in page.output


def test_telemetry_is_off_and_temporary_files_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.setenv(name, "")  # so that monkeypatch puts them back
    prepare_environment()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0


def test_sweep_removes_what_no_running_server_holds(tmp_path: Path) -> None:
    for name in ("cxr-studio-left", "cxr-studio-busy", "other"):
        (tmp_path / name / "runs").mkdir(parents=True)
        (tmp_path / name / "runs" / "a.png").touch()
    (tmp_path / "cxr-studio-link").symlink_to(tmp_path / "other")
    (tmp_path / "cxr-studio-file").touch()
    with locked(tmp_path / "cxr-studio-busy") as is_held:
        assert is_held
        sweep_old_folders(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cxr-studio-busy", "cxr-studio-link", "cxr-studio-file", "other"}
    assert (tmp_path / "other" / "runs" / "a.png").exists()


def test_where_locks_do_not_work_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def no_lock(path: Path) -> Iterator[bool]:
        yield True  # as on Windows

    monkeypatch.setattr(temporary, "locked", no_lock)
    long_ago = time.time() - 3 * 24 * 3600
    for name in ("cxr-studio-old", "cxr-studio-new", "cxr-studio-busy"):
        (tmp_path / name / "runs").mkdir(parents=True)
    for name in ("cxr-studio-old", "cxr-studio-busy"):
        for path in (tmp_path / name / "runs", tmp_path / name):
            os.utime(path, (long_ago, long_ago))
    os.utime(tmp_path / "cxr-studio-busy" / "runs")
    sweep_old_folders(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cxr-studio-new", "cxr-studio-busy"}


def test_launch_keeps_clinical_text_private() -> None:
    options = launch_options(ServerSettings(host="127.0.0.1", port=1234), blank_page(), JobTable())
    assert options["run_history"] is False
    assert options["enable_monitoring"] is False
    assert options["strict_cors"] is True
    assert options["share"] is False
    assert "show_error" not in options  # gradio's default hides the text of unexpected errors
    assert (options["server_name"], options["server_port"]) == ("127.0.0.1", 1234)
