"""The way in for files: how many, of which kinds, and whether there is room; decided before anything is stored.

Gradio's own ``max_file_size`` bounds each file. The ``file_types`` of its widgets are checked too, but only when an
event reads a file that is on the disk already, and by its name alone. Nothing of gradio bounds a whole request, the
number of its files or all uploads together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import PurePath

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cxr.web.server.refusal import Refusal
from cxr.web.server.temporary import KINDS, folder_bytes, temp_root

MAX_FILES = 8
MAX_UPLOADS_BYTES = 512_000_000  # of everything that visitors have uploaded and that has not been swept yet
TEXT_SUFFIXES = (".yaml", ".yml", ".csv")
MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
LOOK_AT_BYTES = 1024
KINDS_HINT = f"this page takes {', '.join((*TEXT_SUFFIXES, *MAGIC))} files only"
INCOMPLETE = "the upload is not a complete form"


async def check_upload(body: bytes, content_type: str) -> None:
    """Refuse a form whose files are not of the kinds that the page reads, or that there is no room for.

    Args:
        body: of the request, ``multipart/form-data``.
        content_type: its header, which names the boundary.
    Raises:
        Refusal: the form is broken, a file's name or first bytes are of another kind, or the disk's share is used up.
    """
    try:
        form = await _FormInMemory(body, content_type).parse()
    except MultiPartException as error:
        raise Refusal(400, INCOMPLETE) from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) > MAX_FILES:
            raise Refusal(413, f"{len(files)} files in one request; send at most {MAX_FILES}")
        for file in files:
            suffix, start = PurePath(file.filename or "").suffix.lower(), await file.read(LOOK_AT_BYTES)
            is_picture = suffix in MAGIC and start.startswith(MAGIC[suffix])
            if not is_picture and (suffix not in TEXT_SUFFIXES or b"\0" in start):
                raise Refusal(415, KINDS_HINT)
    finally:
        await form.close()
    await asyncio.to_thread(_check_room, len(body))


class _FormInMemory(MultiPartParser):
    """The parser that gradio's is made from, so that both see the same; it writes nothing to the disk."""

    spool_max_size = 2**30  # bytes, more than any request has
    is_complete = False

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(Headers({"content-type": content_type}), self._in_one_piece(body))

    async def _in_one_piece(self, body: bytes) -> AsyncGenerator[bytes, None]:
        yield body
        if not self.is_complete:
            raise MultiPartException(INCOMPLETE)

    def on_end(self) -> None:
        """Note that the form has an end."""
        self.is_complete = True


def _check_room(size: int) -> None:
    root = temp_root()
    uploads = [path for path in root.iterdir() if path.name not in KINDS] if root.is_dir() else []
    if sum(folder_bytes(path) for path in uploads) + size > MAX_UPLOADS_BYTES:
        raise Refusal(507, "there is no room for more uploads at the moment; try again in an hour")
