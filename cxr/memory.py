"""A start with too little memory ends in one sentence, whichever library was the first to miss it.

Where a process may not have more (``ulimit -v``, a batch system), libraries fail in many ways while they are imported:
as MemoryError, as an ImportError that may say nothing, as a SystemError, in the words of an allocator, or by an end
without any. So torch is not imported at all where the process may not use enough.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

NEEDED_MB = 1_500  # of address space, for one image of the embedded model
PAGE_MB = 3_000  # for the page, whose threads reserve more than they use
M_ARENA_MAX, ARENAS = -8, 2  # of malloc.h; one for the thread that computes, one for all that wait
WORDS = re.compile(
    "failed to map segment|cannot allocate memory|can't allocate memory|not enough memory|out of memory|bad_alloc"
    "|can't start new thread|could not create a primitive",
    re.IGNORECASE,
)


def refuse_little_memory(speaker: str, needed_mb: int) -> None:
    """End the process if it may not use as much.

    Args:
        speaker: what the sentence begins with, "app.py" for example.
        needed_mb: of address space.
    """
    if (limit := limit_mb()) is not None and limit < needed_mb:
        _end(speaker, needed_mb)


def keep_little_free_memory() -> None:
    """Let a server give back what its threads no longer use.

    glibc keeps freed memory in an arena for each thread that has ever run, up to eight for each core; ``malloc_trim``
    and time do not shrink them much. Does nothing where another library allocates, or where the user has decided.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(M_ARENA_MAX, ARENAS)


@contextmanager
def one_sentence_without_memory(speaker: str) -> Iterator[None]:
    """End the process with one sentence and exit code 2 where torch would lack memory; other errors pass."""
    sys.meta_path.insert(0, guard := _Guard(speaker))
    try:
        yield
    except (MemoryError, ImportError, OSError, RuntimeError, SystemError) as error:
        if not is_about_memory(error, limit_mb()):
            raise
        _end(speaker, NEEDED_MB)
    finally:
        sys.meta_path.remove(guard)


class _Guard(MetaPathFinder):
    """Sees the first import of torch, which commands that need no model never reach."""

    def __init__(self, speaker: str) -> None:
        self.speaker = speaker

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            refuse_little_memory(self.speaker, NEEDED_MB)


def is_about_memory(error: BaseException, limit_mb: int | None) -> bool:
    """Whether an error comes from a lack of memory.

    Args:
        error: what was raised.
        limit_mb: address space that this process may use; below `NEEDED_MB` no other reason is looked for.
    """
    if isinstance(error, MemoryError) or WORDS.search(str(error)):
        return True
    return limit_mb is not None and limit_mb < NEEDED_MB and isinstance(error, (ImportError, SystemError))


def limit_mb() -> int | None:
    """Address space that this process may use, in MB; None where there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20


def _end(speaker: str, needed_mb: int) -> None:
    limit = limit_mb()
    allowed = "" if limit is None else f": this process may use {limit:,} MB (ulimit -v)"
    sys.stderr.write(f"{speaker}: there is not enough memory{allowed}; CXR Studio needs about {needed_mb:,} MB\n")
    sys.stderr.flush()
    os._exit(2)  # what libraries do at the end needs memory, too
