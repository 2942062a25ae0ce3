"""The ``export`` command: which options there are and what they start."""

from __future__ import annotations

import argparse

from cxr.commands.options import Commands, add_command, add_path, say_progress, say_result
from cxr.request.messages import plural

EXPORT = """\
Write a finished data set in another format. No image is made again, and none is changed.

DIR is a folder that `dataset` or `generate` wrote. The same data set always gives the same bytes. A run
that was stopped leaves whole files only; run it again to finish.
"""
EXPORT_EPILOG = """\
formats:
  dicom       OUTPUT/<split>/<index>_<seed>.dcm, one object per image, marked as synthetic data
  webdataset  OUTPUT/<split>-000000.tar and so on: PNG, JSON and prompt of each image
  parquet     OUTPUT/data/<split>-00000-of-00001.parquet and so on, with the images inside;
              read it with datasets.load_dataset("OUTPUT")
  zip         OUTPUT is one ZIP of the whole folder

examples:
  python -m cxr export dataset --format zip --output dataset.zip
  python -m cxr export dataset --format dicom --bits 12 --output dicom
"""


def add_export_parser(commands: Commands) -> None:
    summary = "write a data set as DICOM, WebDataset, Parquet or ZIP"
    export = add_command(commands, "export", _export, summary, EXPORT, EXPORT_EPILOG)
    add_path(export, "directory", "DIR", "finished data set")
    # The names are those of cxr.dataset.convert, which is too heavy to import for a help text.
    export.add_argument("--format", required=True, metavar="FORMAT", help="dicom, webdataset, parquet or zip")
    add_path(export, "--output", "OUTPUT", "new or empty folder, or the ZIP to write", required=True)
    export.add_argument(
        "--bits",
        type=int,
        metavar="N",
        help="bits of DICOM: 8, 12 or 16; the last two need images of 16 bits (default: those of the images)",
    )


def _export(arguments: argparse.Namespace) -> int:
    from cxr.dataset.convert import convert

    paths = convert(arguments.directory, arguments.output, arguments.format, arguments.bits, say_progress)
    count = "" if arguments.format == "zip" else f"{plural(len(paths), 'file')} in "
    say_result(f"{count}{arguments.output}")
    return 0
