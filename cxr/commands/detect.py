"""The ``detect`` command: whether files are synthetic, and how that is known."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.commands.options import Commands, add_command, add_path, say_progress, say_result
from cxr.request.errors import CxrError, RequestError

if TYPE_CHECKING:
    from cxr.provenance.evidence import Remake

DESCRIPTION = """\
Look for what says that a picture or a DICOM file is synthetic: a signed C2PA manifest, this program's recipe,
marks of other programs, DICOM's Synthetic Data (0008,001C). --remake also makes the image again from its recipe.
A file in which nothing is found may still be synthetic: marks can be removed. The exit code is 1 where a file
could not be read, or its pixels could not and nothing else says what it is.
"""
FAILED = 1


def add_detect_parser(commands: Commands) -> None:
    parser = add_command(
        commands, "detect", _detect, "tell whether files are synthetic, and how that is known", DESCRIPTION
    )
    add_path(parser, "path", "PATH", "a picture, a DICOM file or a folder")
    parser.add_argument(
        "--remake", action="store_true", help="make images again from their recipes: the strongest proof"
    )
    add_path(parser, "--trust", "FILE", "certificates of authorities, PEM, beside this machine's own")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each file")
    parser.add_argument("--model", help="with --remake: instead of the model that the recipe names")
    parser.add_argument("--adapter", help="with --remake: instead of its LoRA")


def _detect(arguments: argparse.Namespace) -> int:
    path = arguments.path
    if not path.exists():
        raise RequestError(f"{path} does not exist; name a picture, a DICOM file or a folder")
    paths = list(_files(path))
    if not paths:
        from cxr.images.squares import SUFFIXES

        raise RequestError(f"{path} holds no picture; supported are {', '.join(sorted(SUFFIXES))}")
    from cxr.provenance.detection import detect, trusted_authorities

    authorities = trusted_authorities(arguments.trust)
    remake = _remaker(arguments) if arguments.remake else None
    code = 0
    for one in paths:
        try:
            found = detect(one, authorities, remake)
        except CxrError as error:
            say_progress(f"{error}")
            code = FAILED
            continue
        code = FAILED if found.is_unread else code
        if arguments.json:
            say_result(json.dumps(found.values))
        else:
            say_result(f"{one}: {found.verdict}")
            for known in found.evidence:
                say_result(f"  {known.text}")
    return code


def _files(path: Path) -> Iterator[Path]:
    from cxr.images.dicom_pixels import is_dicom
    from cxr.images.squares import SUFFIXES, walk_files

    if not path.is_dir():
        yield path
        return
    # Broken links and pipes are not files, but are kept, so that the refusal names them.
    yield from (one for one in sorted(walk_files(path)) if one.suffix.lower() in SUFFIXES or is_dicom(one))


def _remaker(arguments: argparse.Namespace) -> Remake:
    from cxr.dataset.reproduce import DIFFERENT, Reproducer
    from cxr.dataset.verify import describe_outcome
    from cxr.folders.foreign_image import read_foreign

    reproducer = Reproducer(arguments.model, arguments.adapter)

    def remake(path: Path) -> tuple[bool, str]:
        outcome = reproducer.check(*read_foreign(path))
        return outcome.verdict != DIFFERENT, describe_outcome(outcome)

    return remake
