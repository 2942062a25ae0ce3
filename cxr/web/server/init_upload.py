"""The door for pictures that images are to begin from: uploads of visitors, and pictures that this page has made.

An upload is read once and deleted; what goes on is its grey levels and their hash, in memory. Nobody learns its name.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cxr.images.init_picture import read_init_picture, read_mask
from cxr.request.errors import DataError
from cxr.request.init_image import InitImage
from cxr.web.server.temporary import temp_root
from cxr.web.server.uploads import discard_upload

READERS_AT_ONCE = 2  # child processes
NOT_UPLOADED = "the picture is not an uploaded file"

Result = TypeVar("Result")


class PictureReader:
    """Reads pictures in limited child processes, a few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(READERS_AT_ONCE)

    async def picture(self, path: Path) -> InitImage:
        """Read a picture that images are to begin from; an upload is then deleted.

        Args:
            path: of an upload or of a picture that this page has made.
        Raises:
            DataError: it is neither, or no picture; the message does not repeat its name.
        """
        return await self._read(path, read_init_picture)

    async def mask(self, path: Path, picture: InitImage) -> str:
        """Read the region that a mask of a picture paints white, as cells; an upload is then deleted.

        Args:
            path: as for `picture`.
            picture: that the mask lies over.
        Raises:
            DataError: as `picture`, or the mask does not suit the picture.
        """
        return await self._read(path, lambda path: read_mask(path, picture))

    async def _read(self, path: Path, read: Callable[[Path], Result]) -> Result:
        try:
            _check_place(path)
            async with self._places:
                return await asyncio.to_thread(read, path)
        finally:
            discard_upload(path)


def _check_place(path: Path) -> None:
    try:
        inside = path.resolve().is_relative_to(temp_root().resolve())
        if not inside or not stat.S_ISREG(path.lstat().st_mode):
            raise DataError(NOT_UPLOADED)
    except (OSError, ValueError) as error:
        raise DataError(NOT_UPLOADED) from error
