"""The prompts that a model is measured with: fixed beforehand, the same for every model, none left out afterwards.

Their wording is not that of the training captions: what is measured is whether the model understood, not what it knows
by heart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

from cxr.labels.captions import fixed_prompt
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDING_PHRASES, SIDE_FORMS, SIDED_FINDINGS, PromptLabels, with_side
from cxr.request.generation_request import GenerationRequest

VERSION = 1
# Images that ask for each finding alone. 300 make a figure; findings that are rare or hard to tell get fewer.
COUNTS = {
    **dict.fromkeys(("Atelectasis", "Cardiomegaly", "Edema", "Effusion", "Mass", "Pneumothorax"), 300),
    **dict.fromkeys(("Consolidation", "Infiltration", "Nodule", "Pneumonia"), 150),
    **dict.fromkeys(("Emphysema", "Fibrosis", "Hernia", "Pleural_Thickening"), 60),
}
NUM_NORMAL = 300
YOUNGEST, OLDEST = 20, 85
FIDELITY_SEED, MATCHED_SEED, DIVERSITY_SEED, PROBE_SEED = 10_000, 100_000, 500_000, 700_000
PROBED = ("Effusion", "Cardiomegaly", "Pneumothorax", "Mass")  # denied, and on the left and right where they have sides
NUM_PROBES = 25  # of each finding and kind
NUM_DIVERSE, IMAGES_OF_ONE_PROMPT = 24, 8


def fidelity_requests() -> list[GenerationRequest]:
    """One image for each prompt: a finding alone or none, sexes and views balanced, in an order that mixes them all.

    Any first part of the list therefore is a fair sample of it.
    """
    rng = random.Random(VERSION)
    wanted: list[tuple[str, ...]] = [(name,) for name, count in COUNTS.items() for _ in range(count)]
    wanted += [()] * NUM_NORMAL
    records = [
        PromptLabels(findings, rng.randint(YOUNGEST, OLDEST), "MF"[number % 2], ("PA", "AP")[number // 2 % 2])
        for number, findings in enumerate(wanted)
    ]
    rng.shuffle(records)
    return _requests([fixed_prompt(record, rng) for record in records], FIDELITY_SEED)


def matched_requests(records: Sequence[Radiograph]) -> list[GenerationRequest]:
    """One image for each real radiograph, with its labels as prompt: two sets that differ in nothing that was asked."""
    rng = random.Random(VERSION)
    return _requests([fixed_prompt(record, rng) for record in records], MATCHED_SEED)


def diversity_requests() -> list[GenerationRequest]:
    """`IMAGES_OF_ONE_PROMPT` images of each of the first `NUM_DIVERSE` prompts of `fidelity_requests`."""
    return [
        replace(request, seed=DIVERSITY_SEED + number * 100, num_images=IMAGES_OF_ONE_PROMPT)
        for number, request in enumerate(fidelity_requests()[:NUM_DIVERSE])
    ]


def probe_requests() -> list[GenerationRequest]:
    """Pairs of prompts that differ in one word, from one seed each: a finding and its denial, left and right."""
    rng = random.Random(VERSION)
    requests: list[GenerationRequest] = []
    for finding in PROBED:
        words = FINDING_PHRASES[finding][1]
        pairs: list[tuple[str, ...]] = [(f"with {words}", f"with no {words.removeprefix('a ').removeprefix('an ')}")]
        if finding in SIDED_FINDINGS:
            pairs.append(tuple(f"with {with_side(words, SIDE_FORMS[side][0])}" for side in ("left", "right")))
        for pair, number in itertools.product(pairs, range(NUM_PROBES)):
            age, noun, view = rng.randint(YOUNGEST, OLDEST), ("man", "woman")[number % 2], ("PA", "AP")[number // 2 % 2]
            seed = PROBE_SEED + len(requests)
            requests += [GenerationRequest(f"{age}-year-old {noun} {words}, {view} view", seed=seed) for words in pair]
    return requests


def _requests(prompts: Sequence[str], first_seed: int) -> list[GenerationRequest]:
    return [GenerationRequest(prompt, seed=first_seed + number, reword=False) for number, prompt in enumerate(prompts)]
