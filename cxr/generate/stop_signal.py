"""Ctrl-C and SIGTERM as a request to stop, which keeps what is finished."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopSignal:
    """Whether the user has asked to stop, and by which signal."""

    event: threading.Event = field(default_factory=threading.Event)
    number: int = 0


@contextlib.contextmanager
def stop_on_signals(ended_by: Collection[int] = SIGNALS) -> Iterator[StopSignal]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop.

    Args:
        ended_by: signals that end the program at once when they come second.
    """
    stop = StopSignal()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.event.is_set():
            if number in ended_by:
                raise KeyboardInterrupt
            return
        stop.number = number
        stop.event.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
