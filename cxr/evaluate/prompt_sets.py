"""The prompts that a model is measured with: fixed beforehand, the same for every model, none left out afterwards.

Their wording is not that of the training captions: what is measured is whether the model understood, not what it knows
by heart.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from cxr.labels.radiograph import Radiograph
from cxr.request.generation_request import GenerationRequest
from cxr.vocabulary import FINDING_PHRASES, VAGUE_AGES, PromptLabels

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
FORMS = (
    "{finding} in a {age}-year-old {noun}, {view}",
    "{age}-year-old {noun}. {finding}. {view}.",
    "{view}: {age}-year-old {noun} who has {finding}",
)
VIEWS = {"PA": "PA view", "AP": "AP view"}


def fidelity_requests() -> list[GenerationRequest]:
    """One image for each prompt: a finding alone or none, sexes and views balanced, in an order that mixes them all.

    Any first part of the list therefore is a fair sample of it.
    """
    chance = random.Random(VERSION)
    wanted: list[tuple[str, ...]] = [(name,) for name, count in COUNTS.items() for _ in range(count)] + [
        ()
    ] * NUM_NORMAL
    records = [
        PromptLabels(findings, chance.randint(YOUNGEST, OLDEST), "MF"[number % 2], ("PA", "AP")[number // 2 % 2])
        for number, findings in enumerate(wanted)
    ]
    chance.shuffle(records)
    return _requests([prompt_for(record, chance) for record in records], FIDELITY_SEED)


def matched_requests(records: Sequence[Radiograph]) -> list[GenerationRequest]:
    """One image for each real radiograph, with its labels as prompt: two sets that differ in nothing that was asked."""
    chance = random.Random(VERSION)
    return _requests([prompt_for(record, chance) for record in records], MATCHED_SEED)


def diversity_requests() -> list[GenerationRequest]:
    """`IMAGES_OF_ONE_PROMPT` images of each of the first `NUM_DIVERSE` prompts of `fidelity_requests`."""
    return [
        GenerationRequest(request.prompt, seed=DIVERSITY_SEED + number * 100, num_images=IMAGES_OF_ONE_PROMPT)
        for number, request in enumerate(fidelity_requests()[:NUM_DIVERSE])
    ]


def prompt_for(record: Radiograph | PromptLabels, chance: random.Random) -> str:
    """A prompt that says all that is known of a radiograph, in one of `FORMS`."""
    noun = _noun(record)
    shown = " and ".join(chance.choice(FINDING_PHRASES[name]) for name in record.findings or ())
    finding = shown or ("no findings" if record.findings == () else "")
    form = chance.choice(FORMS)
    if record.age is None or record.view is None or not finding:
        return _partial(record, noun, finding)
    text = form.format(age=record.age, noun=noun, finding=finding, view=VIEWS[record.view])
    return text[0].upper() + text[1:]


def _partial(record: Radiograph | PromptLabels, noun: str, finding: str) -> str:
    """Where a label is unknown it is not named."""
    subject = noun if record.age is None else f"{record.age}-year-old {noun}"
    parts = [VIEWS.get(record.view or "", "Chest x-ray"), subject, finding]
    return ", ".join(part for part in parts if part)


def _noun(record: Radiograph | PromptLabels) -> str:
    youngest_adult = VAGUE_AGES[0][0]
    if record.age is not None and record.age < youngest_adult:
        return {"M": "boy", "F": "girl"}.get(record.sex or "", "child")
    return {"M": "man", "F": "woman"}.get(record.sex or "", "patient")


def _requests(prompts: Sequence[str], first_seed: int) -> list[GenerationRequest]:
    return [GenerationRequest(prompt, seed=first_seed + number) for number, prompt in enumerate(prompts)]
