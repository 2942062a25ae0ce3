"""Reads the pictures that images are to begin from: visitors' uploads, and pictures that this page has made.

An upload is read once and deleted; only its grey levels and their hash are kept, in memory and for an hour. Its name
is not revealed.
"""

from __future__ import annotations

import asyncio
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cxr.images.init_picture import read_init_picture, read_mask
from cxr.request.errors import DataError
from cxr.request.init_image import InitImage
from cxr.web.server.temporary import LIFETIME_S, temp_root
from cxr.web.server.uploads import discard_upload

if TYPE_CHECKING:
    from cxr.provenance.detection import Detection

READERS_AT_ONCE = 2  # child processes
MAX_KEPT = 64  # pictures of all visitors, each of at most a megabyte
NOT_UPLOADED = "the picture is not an uploaded file"

Result = TypeVar("Result")


class PictureReader:
    """Reads pictures in limited child processes, a few at a time, and keeps some for the pages that sent them."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(READERS_AT_ONCE)
        self._kept: dict[str, tuple[float, InitImage]] = {}  # the oldest first

    def keep(self, picture: InitImage) -> str:
        """Keep a picture for `LIFETIME_S`, or until `MAX_KEPT` others have come.

        Returns:
            Its secret key: a hash would not do, as it is in every recipe and does not prove having the picture.
        """
        secret = secrets.token_hex(16)
        self._forget_old()
        self._kept[secret] = time.monotonic(), picture
        while len(self._kept) > MAX_KEPT:
            self._kept.pop(next(iter(self._kept)))
        return secret

    def find(self, secret: str) -> InitImage | None:
        """A picture that is still kept."""
        self._forget_old()
        return self._kept[secret][1] if secret in self._kept else None

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

    async def detection(self, path: Path) -> Detection:
        """Gather the evidence that a picture or a DICOM file is synthetic; an upload is then deleted.

        Args:
            path: as for `picture`.
        Raises:
            DataError: as `picture`, but a file of any kind is read.
        """
        return await self._read(path, _detect)

    async def _read(self, path: Path, read: Callable[[Path], Result]) -> Result:
        try:
            _check_place(path)
            async with self._places:
                return await asyncio.to_thread(read, path)
        finally:
            discard_upload(path)

    def _forget_old(self) -> None:
        oldest_s = time.monotonic() - LIFETIME_S
        self._kept = {secret: kept for secret, kept in self._kept.items() if kept[0] > oldest_s}


def _detect(path: Path) -> Detection:
    from cxr.provenance.detection import detect, trusted_authorities

    return detect(path, trusted_authorities(), label="the picture")


def _check_place(path: Path) -> None:
    try:
        inside = path.resolve().is_relative_to(temp_root().resolve())
        if not inside or not stat.S_ISREG(path.lstat().st_mode):
            raise DataError(NOT_UPLOADED)
    except (OSError, ValueError) as error:
        raise DataError(NOT_UPLOADED) from error
