"""The only exceptions that users are meant to see.

    CxrError
    ├── RequestError      a value that the user gave is outside what is allowed
    ├── ModelError        a base model is missing, incomplete or cannot be reached
    │   └── HubError      the Hugging Face Hub refused, or sent something other than it announced
    │       └── HubUnreachableError   the Hub did not answer
    ├── AdapterError      a LoRA file is unknown, unreadable, foreign or unsafe
    ├── DataError         a training or reference folder is not what was expected
    ├── OutputError       a result cannot be written (full disk, read-only folder, foreign files)
    └── GenerationError   the model could not finish, or its result is not an image

Each message says what was given, what is allowed and what to do, in one line. The command line and the page print that
line; any other exception is a fault of this program and keeps its trace.

An error about a value carries the value's name as its field, and each face says the name that its users know: the
command line an option, the page a label, a list of prompts a column.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path


class CxrError(Exception):
    """Base of all errors whose message is written for the user.

    Args:
        message: one line; with a field, what follows its name: "is 0; use 1 or more".
        field: which value the message is about, by its name in `cxr.request.settings.SETTINGS` or in the function that
            refuses it.
        path: which file the message is about, if it is what follows the file's name: "cannot be read".
    """

    def __init__(self, message: str = "", *, field: str | None = None, path: Path | str | None = None) -> None:
        super().__init__(message)
        self.field, self.path = field, path

    def __str__(self) -> str:
        """The message, with the field under its own name."""
        return self.described({})

    def described(self, names: Mapping[str, str]) -> str:
        """The message, with the field under the name that the reader knows.

        Args:
            names: what fields are called; one that is not among them keeps its own name.
        """
        subject = self.path if self.field is None else names.get(self.field, self.field)
        return super().__str__() if subject is None else f"{subject} {super().__str__()}"

    @property
    def without_path(self) -> str:
        """The message without the name of the file that it is about."""
        return str(self) if self.path is None else super().__str__()


@contextlib.contextmanager
def naming_fields(names: Mapping[str, str], where: str = "") -> Iterator[None]:
    """Report errors about a value under these names, with the place of the value; other errors pass unchanged.

    Args:
        names: as for `CxrError.described`.
        where: goes before the message, "row 3: " for example.
    """
    try:
        yield
    except CxrError as error:
        if error.field is None:
            raise
        raise type(error)(where + error.described(names)) from error


class RequestError(CxrError):
    """A value that the user gave is outside what is allowed."""


class ModelError(CxrError):
    """A base model is missing, incomplete or cannot be reached."""


class HubError(ModelError):
    """The Hugging Face Hub refused a file, does not know it, or sent something other than it announced."""


class HubUnreachableError(HubError):
    """The Hub did not answer, and this machine holds no complete copy."""


class AdapterError(CxrError):
    """A LoRA file is unknown, unreadable, foreign to the base model or unsafe."""


class DataError(CxrError):
    """A folder of images is not of the documented shape."""


class OutputError(CxrError):
    """A result cannot be written."""


class GenerationError(CxrError):
    """The model could not finish (memory), or what came out is not an image (NaN, flat or black)."""
