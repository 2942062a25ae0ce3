"""Whether memory stays flat while a long data set is made.

Run it from the top of the repository: ``python benchmarks/dataset_memory.py 10000`` makes 10,000 images of one step
each in a temporary folder, and prints the memory of the process along the way.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cxr.bench.dataset_speed import job_command, watch, write_plan
from cxr.request.messages import say

SETTLED = 0.1  # share of the images after which memory is looked at: caches are full by then


def main() -> None:
    """Make the data set, and print one line each time that another tenth of it is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, metavar="N", help="images to make")
    parser.add_argument("--steps", type=int, default=1, help="denoising steps of each (default 1)")
    parser.add_argument("--model", default="embedded", help="as generate takes it")
    parser.add_argument("--adapter", default="default", help="as generate takes it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, plan = Path(name) / "set", write_plan(Path(name), arguments.images, arguments.steps)
        command = job_command(plan, folder, 1, arguments.model, arguments.adapter)
        due = SETTLED * arguments.images
        for sample in watch(command, folder, Path(name) / "log"):
            if sample["finished"] >= due:
                due += SETTLED * arguments.images
                say(sys.stdout, f"{sample['rss_mb']:.0f} MB after {sample['finished']:,} images")


if __name__ == "__main__":
    main()
