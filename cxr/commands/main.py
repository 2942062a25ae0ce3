"""The command line, ``python -m cxr COMMAND``: which commands there are, and what becomes of errors.

Arguments are checked before anything heavy is imported, so that help and messages come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cxr import __version__
from cxr.commands.adapter import add_adapter_parsers
from cxr.commands.bench import add_bench_parser
from cxr.commands.dataset import add_dataset_parser
from cxr.commands.deploy import add_deploy_parser
from cxr.commands.detect import add_detect_parser
from cxr.commands.evaluate import add_evaluate_parser
from cxr.commands.export import add_export_parser
from cxr.commands.generate import add_generate_parser
from cxr.commands.models import add_models_parser
from cxr.commands.options import Commands, described
from cxr.commands.prompt import add_prompt_parser
from cxr.commands.report import add_report_parser
from cxr.commands.restore import add_restore_parser
from cxr.commands.sheet import add_sheet_parser
from cxr.commands.sign import add_sign_parser
from cxr.commands.sweep import add_sweep_parser
from cxr.commands.train import add_train_parser
from cxr.commands.verify import add_verify_parser
from cxr.images.guarded import reason_of
from cxr.memory import is_about_memory, limit_mb
from cxr.request.errors import CxrError, RequestError
from cxr.request.messages import say, shorten
from cxr.request.notices import SYNTHETIC_NOTICE

WRONG_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
UNREAD = 141  # 128 + SIGPIPE: "| head" has seen enough
MAX_ERROR_CHARACTERS = 1_000  # names in files of third parties may be longer

DESCRIPTION = f"CXR Studio: clinical text in, chest radiographs out.\n{SYNTHETIC_NOTICE}"
EPILOG = """\
examples:
  python -m cxr generate "A 55-year-old man with pneumonia" --output out
  python -m cxr generate "normal chest x-ray" --count 4 --seed 7 --output normal
  python -m cxr generate --prompts prompts.csv --output dataset

Wrong input ends with one line on standard error and exit code 2.
"""

# In the order of the help.
PARSERS = (
    *(add_generate_parser, add_prompt_parser, add_adapter_parsers, add_models_parser, add_sheet_parser),
    *(add_bench_parser, add_train_parser, add_dataset_parser, add_verify_parser, add_export_parser),
    *(add_sign_parser, add_detect_parser, add_restore_parser, add_evaluate_parser, add_report_parser),
    *(add_sweep_parser, add_deploy_parser),
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, without a dump of the usage."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process when None.
    Returns:
        The exit code: 2 for anything that the user can fix.
    """
    try:
        arguments = build_parser().parse_args(argv)
        return int(arguments.run(arguments))
    except CxrError as error:
        say(sys.stderr, f"error: {shorten(described(error), MAX_ERROR_CHARACTERS)}")
        return WRONG_INPUT
    except KeyboardInterrupt:
        say(sys.stderr, "stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes standard output once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:  # what no command foresees: a name that is too long, too many open files
        if is_about_memory(error, limit_mb()):
            raise
        say(sys.stderr, f"error: cannot use {error.filename or 'a file'}: {reason_of(error)}")
        return WRONG_INPUT


def build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="python -m cxr",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"CXR Studio {__version__}")
    commands: Commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in PARSERS:
        add(commands)
    return parser
