"""The ``bench`` command: how fast images, data sets and graphics cards are on this machine."""

from __future__ import annotations

import argparse
import sys

from cxr.commands.options import (
    Commands,
    add_command,
    add_model_options,
    add_settings,
    check_numbers,
    check_sources,
    say_result,
    settings_of,
)
from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest

DESCRIPTION = "Time this program and others that make the same images from the same weights, in one run."
GPU = "the same on a CUDA device, which must be present"
DATASET = "instead make a data set of N images with each number of processes"
BATCHES = "images requested at once (default: 1 4)"
PROCESSOR = "count processor seconds instead of the clock's: for a busy machine, with one thread"
START = "instead start the page in new processes: until it answers, and until the first picture"
PEER = "interpreter of an environment with optimum-intel, to add its row"


def add_bench_parser(commands: Commands) -> None:
    parser = add_command(commands, "bench", _bench, "measure the speed on this machine", DESCRIPTION)
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="timed images of each kind (default %(default)s)"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4], metavar="N", help=BATCHES)
    parser.add_argument("--peer-python", metavar="PATH", help=PEER)
    parser.add_argument("--processor-time", action="store_true", help=PROCESSOR)
    parser.add_argument("--gpu", action="store_true", help=GPU)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)  # for the tests
    parser.add_argument("--start", action="store_true", help=START)
    parser.add_argument("--dataset", type=int, metavar="N", help=DATASET)
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], metavar="N", help="with --dataset (default: 1 2)"
    )
    add_settings(parser, "num_inference_steps", context="with --dataset: ")
    add_model_options(parser)


def _bench(arguments: argparse.Namespace) -> int:
    check_sources(arguments.model, arguments.adapter)
    if arguments.dataset is not None:
        return _bench_dataset(arguments)
    if arguments.start:
        from cxr.bench.start import format_start, measure_start

        started = measure_start(arguments.model, arguments.adapter, arguments.runs)
        sys.stdout.write(format_start(started) + "\n")
        return 0
    from cxr.bench.speed import run_bench
    from cxr.bench.speed_text import format_bench

    options = {name: getattr(arguments, name) for name in ("batch_sizes", "peer_python", "processor_time")}
    options["device"] = arguments.device if arguments.gpu else ""
    result = run_bench(arguments.model, arguments.adapter, arguments.runs, **options)
    sys.stdout.write(format_bench(result) + "\n")
    return 0


def _bench_dataset(arguments: argparse.Namespace) -> int:
    """Print a line for each number of processes."""
    check_numbers(arguments, {"dataset": (1, None)})
    if min(arguments.processes) < 1:
        raise RequestError(f"is {min(arguments.processes)}; use 1 or more", field="processes")
    # A wrong number is refused before minutes are spent.
    steps = GenerationRequest("any", **settings_of(arguments)).num_inference_steps
    from cxr.bench.dataset_speed import bench_dataset, format_dataset_bench

    one = None
    for count in arguments.processes:
        result = bench_dataset(arguments.dataset, steps, count, arguments.model, arguments.adapter)
        one = result if count == 1 else one
        say_result(format_dataset_bench(result, one))
    return 0
