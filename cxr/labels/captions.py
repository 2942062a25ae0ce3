"""Labels -> prompts: as people write them, to train with; and in few fixed forms, to measure with.

Captions are coarse and many images share one: unique captions make a diffusion model memorise patients
(arXiv 2310.02664). Attributes are left out at random, so that each also works alone.
"""

from __future__ import annotations

import random
import re

from cxr.labels.vocabulary import (
    AGE_FORMS,
    CHILDREN,
    FILLERS,
    FINDING_PHRASES,
    FINDINGS,
    MODALITIES,
    NORMAL_PHRASES,
    NORMAL_WORDS,
    SHOWING,
    SIDE_FORMS,
    SUBJECTS,
    VAGUE_AGES,
    VIEW_PHRASES,
    PromptLabels,
    with_side,
)

UNNAMED_SIDES = 0.2  # share of the known sides that captions leave out
ADULT = VAGUE_AGES[0][0]  # years
# Forms that are not those of the captions, for prompts that measure whether a model understood.
FIXED_FORMS = (
    "{finding} in a {age}-year-old {noun}, {view}",
    "{age}-year-old {noun}. {finding}. {view}.",
    "{view}: {age}-year-old {noun} who has {finding}",
)
FIXED_VIEWS = {"PA": "PA view", "AP": "AP view"}
# Sex -> a grown person, a child.
NOUNS = {"M": ("man", "boy"), "F": ("woman", "girl"), None: ("patient", "child")}


def caption(
    record: PromptLabels, rng: random.Random, *, findings: bool, keep: float = 0.8, empty_share: float = 0.1
) -> str:
    """Write one prompt for a radiograph, real or made up.

    Args:
        record: the labels.
        rng: source of all choices.
        findings: name findings (or their absence); without them only anatomy, view, sex and age are named.
        keep: probability that each known attribute is named at all.
        empty_share: probability of the empty prompt, which classifier-free guidance needs.
    Returns:
        The prompt; "" for the empty one.
    """
    if rng.random() < empty_share:
        return ""
    age = record.age if rng.random() < keep else None
    sex = record.sex if rng.random() < keep else None
    view = rng.choice(VIEW_PHRASES[record.view]) if record.view and rng.random() < 0.75 * keep else ""
    shown = _finding_phrases(record, rng) if findings and rng.random() < 0.95 else []
    normal = findings and record.findings == () and not shown
    subject = _subject(age, sex, rng)
    writers = (_sentence, _sentence, _list, _list, _of_subject)
    return rng.choice(writers)(subject, view, shown, normal, rng)


def fixed_prompt(record: PromptLabels, rng: random.Random) -> str:
    """A prompt that says all that is known of a radiograph, in one of `FIXED_FORMS`; what is unknown is not named."""
    noun = noun_of(record.sex, record.age)
    shown = " and ".join(rng.choice(FINDING_PHRASES[name]) for name in record.findings or ())
    finding = shown or ("no findings" if record.findings == () else "")
    form = rng.choice(FIXED_FORMS)
    if record.age is None or record.view is None or not finding:
        subject = noun if record.age is None else f"{record.age}-year-old {noun}"
        parts = [FIXED_VIEWS.get(record.view or "", "Chest x-ray"), subject, finding]
        return ", ".join(part for part in parts if part)
    text = form.format(age=record.age, noun=noun, finding=finding, view=FIXED_VIEWS[record.view])
    return text[0].upper() + text[1:]


def noun_of(sex: str | None, age: int | None) -> str:
    """What a person of this sex and age is called; without an age, an adult."""
    grown, child = NOUNS[sex]
    return grown if age is None or age >= ADULT else child


def known_words() -> list[str]:
    """Every word that a caption can hold, lower case, sorted."""
    phrases = [*FINDINGS, *NORMAL_PHRASES, *NORMAL_WORDS, *MODALITIES, *SHOWING, FILLERS]
    phrases += [form.format(age="", noun="") for form in AGE_FORMS] + [word for _, _, word in VAGUE_AGES]
    for table in (FINDING_PHRASES, VIEW_PHRASES, SUBJECTS, CHILDREN):
        for choices in table.values():
            phrases += choices
    phrases += [form.format(finding="") for forms in SIDE_FORMS.values() for form in forms]
    return sorted(set(re.findall(r"[a-z]+", " ".join(phrases).lower())))


def _sentence(subject: str, view: str, shown: list[str], normal: bool, rng: random.Random) -> str:
    """A 55-year-old man with pneumonia, PA view."""
    article = "An" if subject[0] in "aeiou8" or subject[:2] in ("11", "18") else "A"
    if normal and rng.random() < 0.4:
        subject, article, normal = f"{rng.choice(NORMAL_WORDS)} {subject}", "A", False
    return _with_view(f"{article} {subject}", "with", view, shown, normal, rng)


def _list(subject: str, view: str, shown: list[str], normal: bool, rng: random.Random) -> str:
    """Chest X-ray, PA view, 60-year-old woman, emphysema."""
    modality = rng.choice(MODALITIES)
    if normal and rng.random() < 0.6:
        modality, normal = f"{rng.choice(NORMAL_WORDS)} {modality}", False
    middle = [part for part in (view, subject) if part and not (part == "patient" and rng.random() < 0.9)]
    if rng.random() < 0.3:
        middle.reverse()
    end = shown or ([rng.choice(NORMAL_PHRASES)] if normal else [])
    return ", ".join([modality, *middle, *end] if rng.random() < 0.85 else [*end, modality, *middle])


def _of_subject(subject: str, view: str, shown: list[str], normal: bool, rng: random.Random) -> str:
    """PA chest radiograph of a 40-year-old woman showing nodules."""
    modality = rng.choice(MODALITIES)
    if view and rng.random() < 0.6:
        modality, view = f"{view.replace(' view', '')} {modality}", ""
    if normal and rng.random() < 0.6:
        modality, normal = f"{rng.choice(NORMAL_WORDS)} {modality}", False
    return _with_view(f"{modality} of a {subject}", "", view, shown, normal, rng)


def _with_view(text: str, showing: str, view: str, shown: list[str], normal: bool, rng: random.Random) -> str:
    """Text, what it shows, and the view; ``showing`` is the word between, one of `SHOWING` if it is empty."""
    shown = shown or ([rng.choice(NORMAL_PHRASES)] if normal else [])
    if shown:
        text += f" {showing or rng.choice(SHOWING)} {' and '.join(shown)}"
    return f"{text}, {view}" if view else text


def _finding_phrases(record: PromptLabels, rng: random.Random) -> list[str]:
    names = list(record.findings or ())
    rng.shuffle(names)
    if len(names) > 1 and rng.random() < 0.3:
        names = names[: rng.randint(1, len(names))]
    phrases = []
    for name in names:
        phrase, side = rng.choice(FINDING_PHRASES[name]), dict(record.sides).get(name)
        is_named = side is not None and rng.random() >= UNNAMED_SIDES
        phrases.append(with_side(phrase, rng.choice(SIDE_FORMS[side])) if side and is_named else phrase)
    return phrases


def _subject(age: int | None, sex: str | None, rng: random.Random) -> str:
    noun = rng.choice((SUBJECTS if age is None or age >= ADULT else CHILDREN)[sex])
    if age is None:
        return noun
    vague = [word for low, high, word in VAGUE_AGES if low <= age < high]
    if vague and rng.random() < 0.15:
        return f"{vague[0]} {noun}"
    return rng.choice(AGE_FORMS).format(age=age, noun=noun)
