"""The way in for files: how many, of which kinds, and whether there is room; decided before anything is stored.

Gradio's own ``max_file_size`` bounds each file. The ``file_types`` of its widgets are checked too, but only when an
event reads a file that is on the disk already, and by its name alone. Nothing of gradio bounds a whole request, the
number of its files or all uploads together, and it stores files of one name and content at one path. So each file gets
a name of its own here: what one visitor has sent is never another's, nor a picture of the page.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cxr.web.server.refusal import Refusal
from cxr.web.server.temporary import LIFETIME_S, SWEEP_EVERY_S, temp_root

MAX_FILES = 8
# Of everything that visitors have uploaded and that has not been swept yet; of one visitor a quarter of it.
MAX_UPLOADS, MAX_UPLOADS_BYTES, VISITORS_SHARE = 2_000, 512_000_000, 0.25
TEXT_SUFFIXES = (".yaml", ".yml", ".csv")
# The first bytes of each kind of picture, and where they stand: DICOM begins with a preamble of any 128 bytes.
MAGIC = {
    ".png": (0, b"\x89PNG\r\n\x1a\n"),
    ".jpg": (0, b"\xff\xd8\xff"),
    ".jpeg": (0, b"\xff\xd8\xff"),
    ".dcm": (128, b"DICM"),
}
LOOK_AT_BYTES = 1024
KINDS_HINT = f"this page takes {', '.join((*TEXT_SUFFIXES, *MAGIC))} files only"
INCOMPLETE = "the upload is not a complete form"
_OWN_NAME = re.compile(rf"[0-9a-f]{{32}}({'|'.join((*TEXT_SUFFIXES, *MAGIC))})".replace(".", r"\."))


@dataclass(frozen=True)
class Form:
    """A form that was checked, written again with a name of its own for each file.

    Args:
        content_type: its header, which names the boundary.
        sizes: bytes of each file, by its new name.
    """

    body: bytes
    content_type: str
    sizes: Mapping[str, int]


async def check_upload(body: bytes, content_type: str) -> Form:
    """Refuse a form whose files are not of the kinds that the page reads.

    Args:
        body: of the request, ``multipart/form-data``.
        content_type: its header, which names the boundary.
    Raises:
        Refusal: the form is broken, or a file's name or first bytes are of another kind.
    """
    try:
        form = await _FormInMemory(body, content_type).parse()
    except MultiPartException as error:
        raise Refusal(400, INCOMPLETE) from error
    try:
        parts = form.multi_items()
        if (count := sum(isinstance(value, UploadFile) for _, value in parts)) > MAX_FILES:
            raise Refusal(413, f"{count} files in one request; send at most {MAX_FILES}")
        boundary, written, sizes = secrets.token_hex(16), bytearray(), {}
        for field, value in parts:
            name, content = "", value.encode() if isinstance(value, str) else await value.read()
            if isinstance(value, UploadFile):
                name = secrets.token_hex(16) + _suffix_of(value.filename or "", content)
                sizes[name] = len(content)
            written += _part(boundary, field, name, content)
    finally:
        await form.close()
    written += f"--{boundary}--\r\n".encode()
    return Form(bytes(written), f"multipart/form-data; boundary={boundary}", sizes)


def discard_upload(path: Path) -> None:
    """Delete an uploaded file that is no longer needed; any other file stays."""
    if _OWN_NAME.fullmatch(path.name) and path.resolve().is_relative_to(temp_root().resolve()):
        path.unlink(missing_ok=True)


class UploadedFiles:
    """What has been uploaded and may still be there: how many files, how many bytes, and whose."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[float, int, str]] = {}  # in the order of their time

    def check_room(self, size: int, address: str) -> None:
        """Refuse more than may be kept at a time.

        Args:
            size: bytes that are to be stored.
        Raises:
            Refusal: the visitor has used up a share, or all together the whole.
        """
        oldest_s = time.monotonic() - LIFETIME_S - SWEEP_EVERY_S
        if not self._has_room(size, address):  # only then the disk is asked
            self._kept = {path: kept for path, kept in self._kept.items() if kept[0] > oldest_s and path.exists()}
        if not self._has_room(size, address):
            raise Refusal(507, "there is no room for more uploads at the moment; try again in an hour")

    def keep(self, paths: Sequence[str], sizes: Mapping[str, int], address: str) -> None:
        """Note what was stored; names that are not in ``sizes`` are not uploads."""
        for path in map(Path, paths):
            if path.name in sizes:
                self._kept[path] = time.monotonic(), sizes[path.name], address

    def _has_room(self, size: int, address: str) -> bool:
        everything = [(bytes_, whose) for _, bytes_, whose in self._kept.values()]
        own = [bytes_ for bytes_, whose in everything if whose == address]
        return (
            len(everything) < MAX_UPLOADS
            and len(own) < MAX_UPLOADS * VISITORS_SHARE
            and sum(bytes_ for bytes_, _ in everything) + size <= MAX_UPLOADS_BYTES
            and sum(own) + size <= MAX_UPLOADS_BYTES * VISITORS_SHARE
        )


class _FormInMemory(MultiPartParser):
    """The parser that gradio's is made from; it writes nothing to the disk."""

    spool_max_size = 2**30  # bytes, more than any request has
    is_complete = False

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(Headers({"content-type": content_type}), self._in_one_piece(body))

    async def _in_one_piece(self, body: bytes) -> AsyncGenerator[bytes, None]:
        yield body
        if not self.is_complete:
            raise MultiPartException(INCOMPLETE)

    def on_end(self) -> None:
        """Note that the form is complete."""
        self.is_complete = True


def _suffix_of(name: str, content: bytes) -> str:
    suffix, start = PurePath(name).suffix.lower(), content[:LOOK_AT_BYTES]
    place, magic = MAGIC.get(suffix, (0, b""))
    is_picture = bool(magic) and start[place:].startswith(magic)
    if not is_picture and (suffix not in TEXT_SUFFIXES or b"\0" in start):
        raise Refusal(415, KINDS_HINT)
    return suffix


def _part(boundary: str, field: str, name: str, content: bytes) -> bytes:
    if not field.isprintable() or '"' in field:
        raise Refusal(400, INCOMPLETE)
    kind = f'; filename="{name}"\r\nContent-Type: application/octet-stream' if name else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{kind}\r\n\r\n'
    return head.encode() + content + b"\r\n"
