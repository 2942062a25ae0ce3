"""A start with too little memory: one sentence, and neither a trace nor a file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cxr.memory import NEEDED_MB, PAGE_MB, is_about_memory, one_sentence_without_memory

ROOT = Path(__file__).parents[1]
GENERATE = ("-m", "cxr", "generate", "normal chest x-ray", "--steps", "1", "--output")
START = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps this limit everywhere")
@pytest.mark.parametrize(
    "megabytes", [200, *(pytest.param(number, marks=pytest.mark.slow) for number in (300, 400, 550, 700, 900, 1_100))]
)
@pytest.mark.parametrize("command", [GENERATE, ("app.py", "--port", "7899")], ids=["generate", "app"])
def test_a_start_with_little_memory_ends_in_one_sentence(
    command: tuple[str, ...], megabytes: int, tmp_path: Path
) -> None:
    command = (*command, str(tmp_path / "out")) if command[-1] == "--output" else command
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    limited = [sys.executable, "-c", START, str(megabytes), *command]
    done = subprocess.run(limited, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    needed = PAGE_MB if command[0] == "app.py" else NEEDED_MB
    assert f": there is not enough memory: this process may use {megabytes:,} MB (ulimit -v)" in done.stderr
    assert done.stderr.endswith(f"; CXR Studio needs about {needed:,} MB\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps this limit everywhere")
def test_what_needs_no_model_needs_no_memory() -> None:
    limited = [sys.executable, "-c", START, "300", "-m", "cxr", "prompt", "pneumonia"]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=repr,
)
def test_what_libraries_say_without_memory_is_known(error: Exception) -> None:
    assert is_about_memory(error, None)


@pytest.mark.parametrize("error", [ImportError(), SystemError("error return without exception set")])
def test_errors_that_say_nothing_are_about_memory_where_it_is_little(error: Exception) -> None:
    assert is_about_memory(error, NEEDED_MB - 1)
    assert not is_about_memory(error, NEEDED_MB)
    assert not is_about_memory(error, None)


@pytest.mark.parametrize(
    "error", [ImportError("no module named x"), RuntimeError("shapes differ"), OSError(28, "No space left on device")]
)
def test_other_errors_keep_their_trace(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, one_sentence_without_memory("error"):
        raise error
    assert caught.value is error


COUNT_ARENAS = """
import ctypes, threading
from cxr.memory import keep_little_free_memory
keep_little_free_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait()
    for _ in range(50):
        libc.malloc(1000)  # without the interpreter's lock
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(stream := libc.fopen(b"/dev/stdout", b"w")))
libc.fclose(ctypes.c_void_p(stream))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library allocates")
@pytest.mark.parametrize(("variables", "arenas"), [({}, 2), ({"MALLOC_ARENA_MAX": "5"}, 5)])
def test_threads_share_arenas_unless_the_user_says_otherwise(variables: dict[str, str], arenas: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | variables
    done = subprocess.run(
        [sys.executable, "-c", COUNT_ARENAS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("<heap nr=") == arenas
