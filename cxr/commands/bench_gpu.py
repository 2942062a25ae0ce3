"""What the ``bench`` command measures on a GPU: which options there are and what they start."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from cxr.generate.prompt_table import renamed
from cxr.request.errors import RequestError


def add_gpu_bench_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench`` that are about GPUs."""
    text = "instead time a CUDA device against plain diffusers, 5 times, and the share of its arithmetic that is used"
    parser.add_argument("--gpu", action="store_true", help=text)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)  # for the tests


def run_gpu_bench_command(arguments: argparse.Namespace) -> int:
    """Measure, and print a line for each ratio.

    Raises:
        RequestError: an option is not allowed, or there is no CUDA device.
    """
    from cxr.bench.gpu import format_gpu_bench, run_gpu_bench

    given: dict[str, Any] = {} if arguments.runs is None else {"runs": arguments.runs}
    try:
        result = run_gpu_bench(arguments.model, device=arguments.device, **given)
    except RequestError as error:
        raise RequestError(renamed(error, {"runs": "--runs"})) from error
    sys.stdout.write(format_gpu_bench(result) + "\n")
    return 0
