"""The prompts that a model is measured with: fixed beforehand, the same for every model, none left out afterwards.

Their wording is not that of the training captions: what is measured is whether the model understood, not what it knows
by heart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from cxr.labels.captions import fixed_prompt
from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import PromptLabels
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
FIDELITY_SEED, MATCHED_SEED, DIVERSITY_SEED = 10_000, 100_000, 500_000
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


def _requests(prompts: Sequence[str], first_seed: int) -> list[GenerationRequest]:
    return [GenerationRequest(prompt, seed=first_seed + number, reword=False) for number, prompt in enumerate(prompts)]
