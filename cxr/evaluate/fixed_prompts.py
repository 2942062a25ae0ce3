"""The prompts that a model is measured with: fixed beforehand, the same for every model, none left out afterwards.

Their wording is not that of the training captions: what is measured is whether the model understood, not what it knows
by heart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cxr.generate.prompt_table import Job
from cxr.labels.captions import fixed_prompt
from cxr.labels.radiograph import Radiograph
from cxr.request.generation_request import GenerationRequest
from cxr.vocabulary import PromptLabels

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


def fidelity_jobs() -> list[Job]:
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
    return _jobs([fixed_prompt(record, rng) for record in records], FIDELITY_SEED)


def matched_jobs(records: Sequence[Radiograph]) -> list[Job]:
    """One image for each real radiograph, with its labels as prompt: two sets that differ in nothing that was asked."""
    rng = random.Random(VERSION)
    return _jobs([fixed_prompt(record, rng) for record in records], MATCHED_SEED)


def diversity_jobs() -> list[Job]:
    """`IMAGES_OF_ONE_PROMPT` images of each of the first `NUM_DIVERSE` prompts of `fidelity_jobs`."""
    return [
        Job(
            number * IMAGES_OF_ONE_PROMPT,
            GenerationRequest(job.request.prompt, seed=DIVERSITY_SEED + number * 100, num_images=IMAGES_OF_ONE_PROMPT),
        )
        for number, job in enumerate(fidelity_jobs()[:NUM_DIVERSE])
    ]


def _jobs(prompts: Sequence[str], first_seed: int) -> list[Job]:
    return [Job(number, GenerationRequest(prompt, seed=first_seed + number)) for number, prompt in enumerate(prompts)]
