"""The finished images of a data set that is still being made, or was stopped."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cxr.dataset.plan import Plan
from cxr.web.jobs.plan_text import SPLITS

NUM_NEWEST = 12


def find_newest(folder: Path) -> tuple[Path, ...]:
    """The images that were finished last, the newest first."""
    found: list[tuple[int, Path]] = []
    for path in _images(folder):
        with contextlib.suppress(FileNotFoundError):  # it did not show what was asked, or was there twice
            found.append((path.stat().st_mtime_ns, path))
    return tuple(path for _, path in sorted(found, reverse=True)[:NUM_NEWEST])


def pack_finished(folder: Path, plan: Plan) -> Path | None:
    """Pack the images of a data set that was stopped as single images are packed; None if there are none.

    Raises:
        OutputError: the disk refused the ZIP.
    """
    from cxr.folders.metadata import adopt_image
    from cxr.web.jobs.package import zip_images

    files = [file for path in _images(folder) if (file := adopt_image(path))]
    if not files:
        return None
    total = len(plan.images)
    about = f"{len(files):,} of the {total:,} images of a data set that was stopped"
    return zip_images(folder / f"dataset_{len(files)}_of_{total}_{plan.sha256[:8]}.zip", files, (), about)


def _images(folder: Path) -> list[Path]:
    """By index: each has a number of its own, whatever its split."""
    paths = (path for split in SPLITS for path in (folder / "set" / split).glob("[0-9]*.png"))
    return sorted(paths, key=lambda path: path.name)
