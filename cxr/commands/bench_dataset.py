"""What the ``bench`` command measures of data sets: which options there are and what they start."""

from __future__ import annotations

import argparse
import sys

from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.messages import say


def add_dataset_bench_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bench`` that are about data sets."""
    parser.add_argument(
        "--dataset", type=int, metavar="N", help="instead make a data set of N images with each number of processes"
    )
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], metavar="N", help="with --dataset (default: 1 2)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=GenerationRequest.num_inference_steps,
        metavar="N",
        help="with --dataset (default: %(default)s)",
    )


def run_dataset_bench(arguments: argparse.Namespace) -> int:
    """Measure, and print a line for each number of processes.

    Raises:
        RequestError: an option is not allowed.
        GenerationError: a data set could not be made.
    """
    if arguments.dataset < 1:
        raise RequestError(f"--dataset is {arguments.dataset}; use 1 or more images")
    if min(arguments.processes) < 1:
        raise RequestError(f"--processes is {min(arguments.processes)}; use 1 or more")
    GenerationRequest("any", num_inference_steps=arguments.steps)  # a wrong number is told before minutes are spent
    from cxr.bench.dataset import bench_dataset, format_dataset_bench

    for count in arguments.processes:
        result = bench_dataset(arguments.dataset, arguments.steps, count, arguments.model, arguments.adapter)
        say(sys.stdout, format_dataset_bench(result))
    return 0
