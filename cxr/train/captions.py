"""Labels -> prompts as people write them, and the tokenizer that knows exactly these words.

Captions are coarse and many images share one: unique captions make a diffusion model memorise patients
(arXiv 2310.02664). Attributes are left out at random, so that each also works alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from cxr.labels.radiograph import Radiograph
from cxr.train.architecture import TEXT_TOKENS
from cxr.vocabulary import (
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
    with_side,
)

UNTOLD_SIDES = 0.2  # share of the known sides that captions leave out


def caption(
    record: Radiograph, chance: random.Random, *, findings: bool, keep: float = 0.8, empty_share: float = 0.1
) -> str:
    """Write one prompt for a radiograph.

    Args:
        record: the labels.
        chance: source of all choices.
        findings: name findings (or their absence); without them only anatomy, view, sex and age are told.
        keep: probability that each known attribute is told at all.
        empty_share: probability of the empty prompt, which classifier-free guidance needs.
    Returns:
        The prompt; "" for the empty one.
    """
    if chance.random() < empty_share:
        return ""
    age = record.age if chance.random() < keep else None
    sex = record.sex if chance.random() < keep else None
    view = chance.choice(VIEW_PHRASES[record.view]) if record.view and chance.random() < 0.75 * keep else ""
    shown = _finding_phrases(record, chance) if findings and chance.random() < 0.95 else []
    normal = findings and record.findings == () and not shown
    subject = _subject(age, sex, chance)
    writers = (_sentence, _sentence, _list, _list, _of_subject)
    return chance.choice(writers)(subject, view, shown, normal, chance)


def _sentence(subject: str, view: str, shown: list[str], normal: bool, chance: random.Random) -> str:
    """A 55-year-old man with pneumonia, PA view."""
    article = "An" if subject[0] in "aeiou8" or subject[:2] in ("11", "18") else "A"
    if normal and chance.random() < 0.4:
        subject, article, normal = f"{chance.choice(NORMAL_WORDS)} {subject}", "A", False
    shown = shown or ([chance.choice(NORMAL_PHRASES)] if normal else [])
    text = f"{article} {subject}" + (f" with {' and '.join(shown)}" if shown else "")
    return f"{text}, {view}" if view else text


def _list(subject: str, view: str, shown: list[str], normal: bool, chance: random.Random) -> str:
    """Chest X-ray, PA view, 60-year-old woman, emphysema."""
    modality = chance.choice(MODALITIES)
    if normal and chance.random() < 0.6:
        modality, normal = f"{chance.choice(NORMAL_WORDS)} {modality}", False
    middle = [part for part in (view, subject) if part and not (part == "patient" and chance.random() < 0.9)]
    if chance.random() < 0.3:
        middle.reverse()
    end = shown or ([chance.choice(NORMAL_PHRASES)] if normal else [])
    parts = [modality, *middle, *end] if chance.random() < 0.85 else [*end, modality, *middle]
    return ", ".join(parts)


def _of_subject(subject: str, view: str, shown: list[str], normal: bool, chance: random.Random) -> str:
    """PA chest radiograph of a 40-year-old woman showing nodules."""
    modality = chance.choice(MODALITIES)
    if view and chance.random() < 0.6:
        modality, view = f"{view.replace(' view', '')} {modality}", ""
    if normal and chance.random() < 0.6:
        modality, normal = f"{chance.choice(NORMAL_WORDS)} {modality}", False
    shown = shown or ([chance.choice(NORMAL_PHRASES)] if normal else [])
    text = f"{modality} of a {subject}"
    text += f" {chance.choice(SHOWING)} {' and '.join(shown)}" if shown else ""
    return f"{text}, {view}" if view else text


def _finding_phrases(record: Radiograph, chance: random.Random) -> list[str]:
    if not record.findings:
        return []
    names = list(record.findings)
    chance.shuffle(names)
    if len(names) > 1 and chance.random() < 0.3:
        names = names[: chance.randint(1, len(names))]
    return [_with_side(chance.choice(FINDING_PHRASES[name]), name, record, chance) for name in names]


def _with_side(phrase: str, name: str, record: Radiograph, chance: random.Random) -> str:
    side = dict(record.sides).get(name)
    if side is None or chance.random() < UNTOLD_SIDES:
        return phrase
    return with_side(phrase, chance.choice(SIDE_FORMS[side]))


def _subject(age: int | None, sex: str | None, chance: random.Random) -> str:
    grown = age is None or age >= 16
    noun = chance.choice((SUBJECTS if grown else CHILDREN)[sex])
    if age is None:
        return noun
    vague = [word for low, high, word in VAGUE_AGES if low <= age < high]
    if vague and chance.random() < 0.15:
        return f"{vague[0]} {noun}"
    return chance.choice(AGE_FORMS).format(age=age, noun=noun)


def known_words() -> list[str]:
    """Every word that a caption can hold, lower case, sorted."""
    phrases = [*FINDINGS, *NORMAL_PHRASES, *NORMAL_WORDS, *MODALITIES, *SHOWING, FILLERS]
    phrases += [form.format(age="", noun="") for form in AGE_FORMS] + [word for _, _, word in VAGUE_AGES]
    for table in (FINDING_PHRASES, VIEW_PHRASES, SUBJECTS, CHILDREN):
        for choices in table.values():
            phrases += choices
    phrases += [form.format(finding="") for forms in SIDE_FORMS.values() for form in forms]
    return sorted(set(re.findall(r"[a-z]+", " ".join(phrases).lower())))


def build_tokenizer(words: Sequence[str] | None = None) -> CLIPTokenizer:
    """A CLIP tokenizer in which each given word is one token, and any other text falls apart into letters.

    So a word is known to the model exactly when it is a single token.

    Args:
        words: lower-case words; by default those of the captions.
    """
    # CLIP's vocabulary: each byte as a letter, each byte as the last letter of a word, merges, special tokens.
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in known_words() if words is None else words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            # Joining from the right makes pieces ("ray</w>") that are whole words only by chance.
            pair = (parts[-2], parts[-1])
            joined = "".join(pair)
            if joined not in tokens:
                tokens.append(joined)
            if pair not in merges:
                merges.append(pair)
            parts[-2:] = [joined]
    vocabulary = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_TOKENS)
