"""The ``verify`` command: whether images and data sets are what they say they are."""

from __future__ import annotations

import argparse

from cxr.commands.options import Commands, add_command, add_path, check_numbers, say_result
from cxr.request.errors import RequestError

DESCRIPTION = """\
Check images of this program: a PNG or DICOM file is made again from its own recipe and compared; a data
set is checked against its manifest and its labels, and some of its images are made again.
"""


def add_verify_parser(commands: Commands) -> None:
    parser = add_command(commands, "verify", _verify, "check images and data sets of this program", DESCRIPTION)
    add_path(parser, "path", "PATH", "a .png or .dcm file, or a folder")
    parser.add_argument(
        "--sample", type=int, default=3, metavar="N", help="images of a folder to make again (default %(default)s)"
    )
    parser.add_argument("--model", help="instead of the model that the recipe names")
    parser.add_argument("--adapter", help="instead of its LoRA")
    add_path(
        parser, "--init-image", "FILE", "a picture that images began from; may be repeated", action="append", default=[]
    )


def _verify(arguments: argparse.Namespace) -> int:
    path = arguments.path
    if not path.exists():
        raise RequestError(f"{path} does not exist; name a PNG or DICOM file of this program, or a folder")
    check_numbers(arguments, {"sample": (0, None)})
    from cxr.dataset.reproduce import Reproducer
    from cxr.dataset.verify import verify_file, verify_folder
    from cxr.images.init_picture import read_init_picture

    pictures = [read_init_picture(picture, str(picture)) for picture in arguments.init_image]
    reproducer = Reproducer(arguments.model, arguments.adapter, pictures)
    if path.is_dir():
        return verify_folder(path, reproducer, arguments.sample, say_result)
    return verify_file(path, reproducer, say_result)
