"""Files are encoded and written beside the model's work, in the order in which they were made."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

MAX_WAITING = 16  # images; a slow disk then slows the model down instead of filling the memory


class Writer:
    """One thread that does what it is given, in order; the first error ends it and comes back to whoever gives more.

    Used as a context manager it waits for all that was given.

    Attributes:
        waited_s: how long the giver has had to wait because the queue was full.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def give(self, task: Callable[[], None]) -> None:
        """Have something done after all that was given before.

        Raises:
            BaseException: what an earlier task has raised.
        """
        self._raise()
        began = time.perf_counter()
        self._tasks.put(task)
        self.waited_s += time.perf_counter() - began

    def __enter__(self) -> Writer:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until everything is done."""
        self._tasks.put(None)
        self._thread.join()
        if error[0] is None:
            self._raise()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._error is not None:
                continue  # what follows may rely on what failed
            try:
                task()
            except BaseException as error:  # it is the giver's, whatever it is
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
