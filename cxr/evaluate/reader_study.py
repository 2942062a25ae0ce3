"""A blind study for human readers: one page of mixed images to judge.

The page knows no answers: each image is named by a salted hash of its file, and only somebody with the files can tell
from that whether it is real. So the file that a reader sends back needs no key beside it.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np

from cxr.evaluate.detail import choose_side
from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.report.render import render_page
from cxr.evaluate.sets import check_apart, unknown_to
from cxr.images.png import data_uri, plain_png
from cxr.images.squares import read_squares
from cxr.labels.vocabulary import FINDINGS

FORMAT = "cxr reader study 1"
NO_FINDING = "none"
WORST, BEST = 1, 5  # quality
CHOICES = {
    "origin": ("real", "generated"),
    "finding": (NO_FINDING, *FINDINGS),
    "quality": tuple(range(WORST, BEST + 1)),
}


def make_study(generated: ImageSet, reference: ImageSet, count: int, seed: int = 0, salt: str = "") -> str:
    """One HTML page with as many generated as real images in random order, which needs nothing besides itself.

    Args:
        generated: the images in question.
        reference: real films; lateral ones and those smaller than the generated ones are not shown.
        count: of each kind, or as many as there are.
        seed: of the choice and the order.
        salt: of the names; a random one if empty.
    """
    check_apart(generated, reference)
    salt, rng = salt or secrets.token_hex(8), np.random.default_rng(seed)
    reference, _ = unknown_to((), reference)
    side, large = choose_side(generated, reference)
    items = []
    for images, among in ((generated, np.arange(len(generated))), (reference, large)):
        _, firsts = np.unique([images.hashes[k] for k in among], return_index=True)
        among = among[np.sort(firsts)]  # no file twice
        chosen = rng.choice(among, min(count, len(among)), replace=False)
        # Films are seldom square: black bars would give them away.
        pixels = read_squares([images.paths[k] for k in chosen], side, fill=True)
        items += [
            (code_of(salt, images.hashes[k]), data_uri(plain_png(image)))
            for k, image in zip(chosen, pixels, strict=True)
        ]
    order = rng.permutation(len(items))
    return render_page("study.j2", items=[items[k] for k in order], choices=CHOICES, format=FORMAT, salt=salt)


def code_of(salt: str, sha256: str) -> str:
    """What the page calls an image."""
    return hashlib.sha256(f"{salt} {sha256}".encode()).hexdigest()[:16]
