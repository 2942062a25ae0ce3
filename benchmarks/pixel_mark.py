"""How well the mark in the pixels is found, and how seldom where it is not.

Run it from the top of the repository. ``python benchmarks/pixel_mark.py marked DIR`` marks the pictures of a folder,
damages them in the ways that pictures are damaged, and looks for the mark; ``unmarked DIR ...`` looks for it in films
that have none. ``mark DIR OUTPUT`` writes the marked pictures, for ``python -m cxr evaluate``.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cxr.images.pixel_mark import FEWEST_BITS, NUM_BITS, FoundMark, find_mark, mark_for
from cxr.images.reading import read_grey

Picture = NDArray[np.uint8]
Damage = Callable[[Picture, random.Random], Picture]


def jpeg(picture: Picture, _: random.Random) -> Picture:
    """Saved once as JPEG of quality 50."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def half(picture: Picture, _: random.Random) -> Picture:
    """Half as wide and high."""
    return np.asarray(
        Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2), Image.Resampling.LANCZOS)
    )


def cropped(picture: Picture, rng: random.Random) -> Picture:
    """A fifth of the width and of the height cut away, at any place."""
    rows, columns = (round(0.8 * side) for side in picture.shape)
    top, left = rng.randint(0, picture.shape[0] - rows), rng.randint(0, picture.shape[1] - columns)
    return picture[top : top + rows, left : left + columns]


def cropped_and_enlarged(picture: Picture, rng: random.Random) -> Picture:
    """The same, brought back to the size of before."""
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(Image.fromarray(cropped(picture, rng)).resize(size, Image.Resampling.BICUBIC))


def windowed(picture: Picture, rng: random.Random) -> Picture:
    """Another window and gamma."""
    low, width, gamma = rng.uniform(-0.1, 0.25), rng.uniform(0.6, 1.3), rng.uniform(0.7, 1.4)
    return np.rint(((picture / 255 - low) / width).clip(0, 1) ** gamma * 255).astype(np.uint8)


DAMAGES: dict[str, Damage] = {
    "8 bits": lambda picture, _: picture,
    "JPEG 50": jpeg,
    "half the size": half,
    "crop of 20 %": cropped,
    "crop of 20 %, enlarged": cropped_and_enlarged,
    "window and gamma": windowed,
    "window, then JPEG 50": lambda picture, rng: jpeg(windowed(picture, rng), rng),
    "crop of 20 %, then JPEG 50": lambda picture, rng: jpeg(cropped(picture, rng), rng),
}


def marked(picture: Picture, psnr: float) -> Picture:
    """As a model marks it, in 8 bits."""
    unit = picture / 255
    return np.rint((unit + mark_for(unit, psnr)).clip(0, 1) * 255).astype(np.uint8)


def pictures_in(folders: Sequence[Path], limit: int) -> Iterator[tuple[Path, Picture]]:
    """All, or so many of them, drawn by a fixed seed."""
    paths = [
        path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in {".png", ".jpg", ".webp"}
    ]
    for path in random.Random(0).sample(paths, min(limit, len(paths))):
        yield path, read_grey(path)


def tell(name: str, found: Sequence[FoundMark]) -> None:
    """One row: how many, the share that is found, and the extremes."""
    bits, peaks = np.array([one.num_bits for one in found]), np.array([one.peak for one in found])
    print(
        f"{name:28} {len(bits):6,} {(bits >= FEWEST_BITS).mean():7.2%}  bits {bits.min()}-{bits.max()} "
        f"mean {bits.mean():.2f} sd {bits.std():.2f}  peak {peaks.min():.1f}-{peaks.max():.1f}",
        flush=True,
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["marked", "unmarked", "mark"])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="of pictures")
    parser.add_argument("--psnr", type=float, default=44.0, help="of marked pictures in dB (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=100_000, help="pictures to take (default: all)")
    arguments = parser.parse_args()
    if arguments.task == "unmarked":
        tell("no mark", [find_mark(picture) for _, picture in pictures_in(arguments.folders, arguments.limit)])
        print(f"found from {FEWEST_BITS} of {NUM_BITS} bits on; sd of tossed coins {math.sqrt(NUM_BITS) / 2:.2f}")
    elif arguments.task == "mark":
        source, output = arguments.folders
        shutil.copytree(source, output)
        for path, picture in pictures_in([output], arguments.limit):
            Image.fromarray(marked(picture, arguments.psnr)).save(path)
    else:
        measure_damages([picture for _, picture in pictures_in(arguments.folders, arguments.limit)], arguments.psnr)


def measure_damages(pictures: Sequence[Picture], psnr: float) -> None:
    """A row for each damage."""
    with_mark = [marked(picture, psnr) for picture in pictures]
    errors = [float(((one.astype(float) - other) ** 2).mean()) for one, other in zip(with_mark, pictures, strict=True)]
    reached = [10 * math.log10(255**2 / error) for error in errors]
    print(f"PSNR {min(reached):.2f}-{max(reached):.2f} dB, mean {sum(reached) / len(reached):.2f}")
    for name, damage in DAMAGES.items():
        rng = random.Random(1)
        tell(name, [find_mark(damage(picture, rng)) for picture in with_mark])


if __name__ == "__main__":
    main()
