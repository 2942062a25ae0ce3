"""Captions of made-up patients, and what a text encoder has to read off them."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cxr.labels.captions import caption
from cxr.labels.targets import yes_or_no
from cxr.labels.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES, VAGUE_AGES, PromptLabels, labels_of

AGE_STEP, AGE_TOP = 5, 100  # years: an age is read as a mixture of steps, so that near ages look alike
NUM_AGES = AGE_TOP // AGE_STEP + 1
LEFT_OR_RIGHT = tuple((name, side) for name in SIDED_FINDINGS for side in ("left", "right"))
FLAGS = (
    *("view named", "PA", "sex named", "male", "age named", "findings named", *FINDINGS),
    *(f"{side} {name}" for name, side in LEFT_OR_RIGHT),
)


def random_captions(rng: random.Random, count: int) -> list[str]:
    """Captions of made-up patients, in whom no attribute hints at another."""
    captions = []
    for _ in range(count):
        findings = tuple(rng.sample(FINDINGS, rng.choice((0, 0, 1, 1, 1, 1, 2, 3))))
        record = PromptLabels(
            findings=findings,
            age=rng.randint(1, 95),
            sex=rng.choice("FM"),
            view=rng.choice(("PA", "AP")),
            sides=tuple(
                (name, rng.choice(SIDES)) for name in findings if name in SIDED_FINDINGS and rng.random() < 0.6
            ),
        )
        captions.append(caption(record, rng, findings=rng.random() < 0.7))
    return captions


def targets_of_captions(captions: list[str]) -> Tensor:
    """[B, F + A] float32: the flags (NaN where nothing is said), then the mixture of ages (zeros if none is said)."""
    return torch.tensor([_target(text) for text in captions])


def _target(text: str) -> list[float]:
    labels = labels_of(text)
    age = labels.age if labels.age is not None else _vague_age(text)
    flags = [
        _named(labels.view),
        yes_or_no(labels.view, "PA"),
        _named(labels.sex),
        yes_or_no(labels.sex, "M"),
        _named(age),
    ]
    flags += [_named(labels.findings), *(float(name in (labels.findings or ())) for name in FINDINGS)]
    sides = dict(labels.sides)
    flags += [float(sides.get(name) in (side, "bilateral")) for name, side in LEFT_OR_RIGHT]
    ages = [0.0] * NUM_AGES
    if age is not None:
        place = min(age, AGE_TOP) / AGE_STEP
        low = min(int(place), NUM_AGES - 2)
        ages[low], ages[low + 1] = 1 - (place - low), place - low
    return flags + ages


def _vague_age(text: str) -> int | None:
    ages = [(low + min(high, 90)) // 2 for low, high, word in VAGUE_AGES if word in text]
    return ages[0] if ages else None


def _named(value: object) -> float:
    return float(value is not None)
