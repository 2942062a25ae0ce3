"""What the server logs about faults: where they happened, never what a visitor typed.

The text of an exception may hold the value that caused it, and that may be a prompt. So a fault is written as the kind
of the exception and the lines of code that led to it, without its text.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

LOGGERS = ("uvicorn.error", "asyncio", "gradio", "httpx")


def keep_values_out_of_logs() -> None:
    """Make everything in this process that logs an exception leave out its text."""
    traceback.print_exc = _print_current  # what gradio calls
    sys.excepthook = lambda kind, error, trace: _write(describe_fault(error, trace))
    threading.excepthook = lambda fault: _write(describe_fault(fault.exc_value, fault.exc_traceback))
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_without_values)


def describe_fault(error: BaseException | None, trace: TracebackType | None = None) -> str:
    """Kind of an exception and where it came from, without its text; so for the exceptions that caused it.

    Args:
        trace: where it came from, if it is not the place that the exception itself knows.
    """
    lines: list[str] = []
    while error is not None and len(lines) < 200:
        frames = traceback.extract_tb(trace or error.__traceback__)
        lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
        lines.append(type(error).__name__)
        trace, error = None, error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if error is not None:
            lines.append("caused by:")
    return "\n".join(lines) + "\n"


def _print_current(*_: object, **__: object) -> None:
    _write(describe_fault(sys.exception()))


def _without_values(record: logging.LogRecord) -> bool:
    if record.exc_info:
        fault = record.exc_info[1] if isinstance(record.exc_info, tuple) else sys.exception()
        record.msg, record.args = f"{record.name}: a fault\n{describe_fault(fault)}", ()
        record.exc_info = record.exc_text = None
    return True


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
