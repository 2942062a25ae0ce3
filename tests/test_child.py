"""The child process for hostile input: its result, its refusal, and each of its limits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr.request import limited_child as child
from cxr.request.errors import DataError

WORKERS = """
import sys, time
from cxr.request.errors import CxrError

def main(arguments):
    what, *rest = arguments
    if what == "echo":
        return sys.stdin.buffer.read() + " ".join(rest).encode()
    if what == "refuse":
        raise CxrError("is no picture", path="a.png")
    if what == "memory":
        return bytes(2**30)[:1]
    if what == "sleep":
        time.sleep(60)
    if what == "long":
        return bytes(10_000)
    import os
    return repr(sorted(os.environ)).encode()
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "cxr_test_worker.py").write_text(WORKERS)
    # The child finds this package and, for these tests alone, the worker.
    monkeypatch.setattr(child, "PACKAGE_PARENT", f"{child.PACKAGE_PARENT}{os.pathsep}{tmp_path}")
    return "cxr_test_worker"


def run(worker: str, *arguments: str, stdin: bytes = b"", timeout_s: float = 20) -> bytes:
    return child.run_limited(
        worker,
        arguments,
        label="picture 'a'",
        error=DataError,
        memory_bytes=256 * 2**20,
        timeout_s=timeout_s,
        max_output_bytes=1000,
        stdin=stdin,
    )


def test_the_result_comes_back(worker: str) -> None:
    assert run(worker, "echo", "b", "c", stdin=b"a ") == b"a b c"


def test_a_refusal_is_one_sentence(worker: str) -> None:
    with pytest.raises(DataError, match=r"^picture 'a' is no picture$"):
        run(worker, "refuse")


def test_too_much_memory_is_refused(worker: str) -> None:
    with pytest.raises(DataError, match="could not be read within 256 MB"):
        run(worker, "memory")


def test_too_much_time_is_refused(worker: str) -> None:
    with pytest.raises(DataError, match=r"took more than 0\.5 s"):
        run(worker, "sleep", timeout_s=0.5)


def test_too_long_a_result_is_refused(worker: str) -> None:
    with pytest.raises(DataError, match="refused"):
        run(worker, "long")


def test_tokens_do_not_reach_the_child(worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert b"HF_TOKEN" not in run(worker, "environment")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize(("kind", "limit"), [("CPU", 40), ("FSIZE", 2_000_000), ("AS", 2**31), ("CORE", 0)])
def test_limits_of_the_user_that_are_lower_stay(kind: str, limit: int) -> None:
    code = (
        "import resource; from cxr.request.limited_child import _limit_self as limit;"
        f"kind = resource.RLIMIT_{kind}; resource.setrlimit(kind, ({limit}, {limit}));"
        "limit(2**40, 61, 4_000_000); print(resource.getrlimit(kind))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"({limit},", f"{limit})"], done.stderr
