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
        "--kills", type=int, default=0, metavar="N", help="with --dataset: kill the job N times, and compare every byte"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=GenerationRequest.num_inference_steps,
        metavar="N",
        help="with --dataset (default: %(default)s)",
    )


def run_dataset_bench(arguments: argparse.Namespace) -> int:
    """Measure, and print a line for each number of processes; 1 if a job that was killed has given other bytes.

    Raises:
        RequestError: an option is not allowed.
        GenerationError: a data set could not be made.
    """
    if arguments.dataset < 1:
        raise RequestError(f"--dataset is {arguments.dataset}; use 1 or more images")
    if not 0 <= arguments.kills <= arguments.dataset:
        raise RequestError(f"--kills is {arguments.kills}; use 0 to the number of images")
    if min(arguments.processes) < 1:
        raise RequestError(f"--processes is {min(arguments.processes)}; use 1 or more")
    GenerationRequest("any", num_inference_steps=arguments.steps)  # a wrong number is told before minutes are spent
    from cxr.bench.dataset import bench_dataset, format_dataset_bench
    from cxr.bench.endurance import bench_kills, format_kill_bench

    amount, given = (arguments.dataset, arguments.steps), (arguments.model, arguments.adapter)
    for count in arguments.processes:
        if not arguments.kills:
            say(sys.stdout, format_dataset_bench(bench_dataset(*amount, count, *given)))
            continue
        result = bench_kills(*amount, count, arguments.kills, *given)
        say(sys.stdout, format_kill_bench(result))
        if result.different:
            return 1
    return 0
