"""This project's own networks as extractors: the features from which they read labels."""

from __future__ import annotations

from cxr.evaluate.extractors.extract import Extractor
from cxr.evaluate.judges.judge import Judge
from cxr.evaluate.judges.networks import SIZE
from cxr.pixels import from_uint8

VERSION = 1  # of the code around the weights


def extractor_of(name: str, judge: Judge) -> Extractor:
    """Features [B, D] of a judge's network; `cxr.evaluate.judges.judge.scores_of` reads labels off them."""
    network = judge.network
    return Extractor(name, VERSION, judge.sha256, SIZE, lambda pixels: network.embed(from_uint8(pixels)))
