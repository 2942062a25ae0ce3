"""The only exceptions that users are meant to see.

    CxrError
    ├── RequestError      a value that the user gave is outside what is allowed
    ├── ModelError        a base model is missing, incomplete or cannot be reached
    │   └── HubError      the Hugging Face Hub refused, or sent something else than it announced
    │       └── HubUnreachableError   the Hub did not answer
    ├── AdapterError      a LoRA file is unknown, unreadable, foreign or unsafe
    ├── DataError         a training or reference folder is not what was expected
    ├── OutputError       a result cannot be written (full disk, read-only folder, foreign files)
    └── GenerationError   the model could not finish, or its result is not an image

Each message says what was given, what is allowed and what to do, in one line. The command line and the page print that
line; any other exception is a fault of this program and keeps its trace.
"""


class CxrError(Exception):
    """Base of all errors whose message is written for the user."""


class RequestError(CxrError):
    """A value that the user gave is outside what is allowed."""


class ModelError(CxrError):
    """A base model is missing, incomplete or cannot be reached."""


class HubError(ModelError):
    """The Hugging Face Hub refused a file, does not know it, or sent something else than it announced."""


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
