"""A child process with little memory and time, for input that may be hostile: what happens there stays there.

``run_limited`` starts ``python -m cxr.request.limited_child``, which limits itself before it imports the module that
does the work. That module has a ``main(arguments) -> bytes``; it reads standard input and returns what the parent gets.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cxr.request.errors import CxrError

REFUSED = 3  # exit code of a child whose standard error is a sentence for the user
MAX_SENTENCE_BYTES = 4096
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")


def run_limited(
    module: str,
    arguments: Sequence[str],
    *,
    label: str,
    error: type[CxrError],
    memory_bytes: int,
    timeout_s: float,
    max_output_bytes: int,
    stdin: bytes = b"",
) -> bytes:
    """Run ``module.main(arguments)`` in a child process that knows no tokens and holds no open files of this one.

    Args:
        module: full name of a module of this package.
        arguments: what its ``main`` is given.
        label: what the input is called in messages, "picture 'a.png'" for example.
        error: what to raise.
        memory_bytes: address space of the child; the interpreter alone takes about 30 MB, numpy about 150 MB more.
        timeout_s: wall-clock seconds after which it is killed.
        max_output_bytes: of the result, and of each file that it writes.
        stdin: what it reads from standard input.
    Returns:
        What ``main`` returned.
    Raises:
        error: the child refused the input, or needed more memory or time than it was given.
    """
    limits = [str(memory_bytes), str(max(1, int(timeout_s) + 1)), str(max_output_bytes)]
    command = [sys.executable, "-P", "-m", "cxr.request.limited_child", *limits, module, *arguments]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as said:
        given.write(stdin)
        given.seek(0)
        try:
            ended = subprocess.run(  # noqa: S603  our own interpreter and module
                command, stdin=given, stdout=result, stderr=said, env=_environment(), timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as expired:
            raise error(f"{label} took more than {timeout_s:g} s to read and was refused") from expired
        if ended.returncode == REFUSED:
            said.seek(0)
            raise error(f"{label} {said.read(MAX_SENTENCE_BYTES).decode('utf-8', 'replace')}")
        if ended.returncode != 0:
            raise error(f"{label} could not be read within {memory_bytes // 2**20} MB of memory and was refused")
        result.seek(0)
        return result.read(max_output_bytes)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {"PYTHONPATH": str(PACKAGE_PARENT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _limit_self(memory_bytes: int, cpu_s: int, max_file_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's clock remains
        return
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, max_file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _main(command: Sequence[str]) -> int:
    memory_bytes, cpu_s, max_file_bytes, module, *arguments = command
    _limit_self(int(memory_bytes), int(cpu_s), int(max_file_bytes))
    try:
        sys.stdout.buffer.write(importlib.import_module(module).main(arguments))
        sys.stdout.flush()
    except CxrError as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
