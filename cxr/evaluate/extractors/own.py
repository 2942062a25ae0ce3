"""This project's own networks as extractors: the features from which they read labels."""

from __future__ import annotations

from cxr.evaluate.extractors.extract import Extractor
from cxr.images.pixels import from_uint8
from cxr.judges.judge import Judge
from cxr.judges.networks import SIZE

VERSION = 1  # of the code around the weights


def extractor_of(name: str, judge: Judge) -> Extractor:
    """Features [B, D] of a judge's network; `cxr.judges.judge.scores_of` reads labels off them."""
    network = judge.network
    return Extractor(name, VERSION, judge.sha256, SIZE, lambda pixels: network.embed(from_uint8(pixels)))
