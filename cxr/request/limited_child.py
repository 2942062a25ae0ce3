"""A child process with little memory and time, for input that may be hostile: what happens there stays there.

``run_limited`` starts ``python -m cxr.request.limited_child``, which imports a module of this program, limits itself,
and lets that module's ``main(arguments) -> bytes`` read standard input and return what the parent gets.
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

REFUSED = 3  # exit code of a child whose output is a sentence for the user
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
        arguments: for its ``main``.
        label: what the input is called in messages, "picture 'a.png'" for example.
        error: what to raise.
        memory_bytes: address space of the child beyond what interpreter and module take (torch: 0.6 GB or more).
        timeout_s: wall-clock seconds after which it is killed.
        max_output_bytes: of the result, and of each file that it writes.
        stdin: what it reads from standard input.
    Returns:
        What ``main`` returned.
    Raises:
        error: the child refused the input, or needed more memory or time than it may use.
    """
    limits = [str(memory_bytes), str(max(1, int(timeout_s) + 1)), str(max_output_bytes)]
    command = [sys.executable, "-P", "-m", "cxr.request.limited_child", *limits, module, *arguments]
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as result:
        source.write(stdin)
        source.seek(0)
        try:
            ended = subprocess.run(  # noqa: S603
                command,
                stdin=source,
                stdout=result,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise error(f"{label} took more than {timeout_s:g} s to read and was refused") from expired
        result.seek(0)
        if ended.returncode == REFUSED:
            raise error(f"{label} {result.read(MAX_SENTENCE_BYTES).decode('utf-8', 'replace')}")
        if ended.returncode != 0:
            raise error(f"{label} could not be read within {memory_bytes // 2**20} MB of memory and was refused")
        return result.read(max_output_bytes)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {"PYTHONPATH": str(PACKAGE_PARENT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _limit_self(memory_bytes: int, cpu_s: int, max_file_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's clock remains
        return
    limits = {resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_FSIZE: max_file_bytes, resource.RLIMIT_CORE: 0}
    counts = Path("/proc/self/statm")
    if counts.exists():  # only Linux counts what is in use already, and only it keeps this limit everywhere
        used_bytes = int(counts.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limits[resource.RLIMIT_AS] = used_bytes + memory_bytes
    for kind, limit in limits.items():
        highest = resource.getrlimit(kind)[1]  # ulimit's, which cannot be raised
        limit = limit if highest == resource.RLIM_INFINITY else min(limit, highest)
        resource.setrlimit(kind, (limit, limit))


def _main(command: Sequence[str]) -> int:
    memory_bytes, cpu_s, max_file_bytes, module, *arguments = command
    main = importlib.import_module(module).main
    _limit_self(int(memory_bytes), int(cpu_s), int(max_file_bytes))
    try:
        output, code = main(arguments), 0
    except CxrError as refusal:
        output, code = refusal.without_path.encode(), REFUSED  # the parent says what the input is called
    sys.stdout.buffer.write(output)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
