"""The switch "Reword before generating": what a model reads in place of a prompt as it was typed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from cxr.labels.captions import known_words
from cxr.labels.vocabulary import labels_of
from cxr.prompts.compilation import compile_prompt
from cxr.prompts.forms import find_form
from cxr.prompts.halves import by_halves, side_of, without_sides
from cxr.prompts.inspection import asked_labels
from cxr.request.settings import ImageSettings

Settings = TypeVar("Settings", bound=ImageSettings)
_WORDS = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(r"[^\w\s.,;:'/-]|_")  # that no caption has: brackets, bars, stars


@lru_cache(maxsize=256)  # a folder has many images of one prompt
def reword(text: str, form: str) -> str:
    """Put a prompt into a model's own form, without what it denies; what needs no other words stays as it was typed.

    Rewording twice gives what rewording once gives.

    Args:
        text: as a user or a report writes it.
        form: a name of ``FORMS``. ``plain`` models read any words: their prompts stay as they are.
    Raises:
        RequestError: the form is unknown.
    """
    if form == "plain":
        return text
    compiled = compile_prompt(text, form)
    if not compiled.text:
        return text
    if form == "caption" and all(chip.kind == "understood" for chip in compiled.chips) and _is_caption(text):
        return text
    return compiled.text


def with_sent_prompt(settings: Settings, form: str) -> Settings:
    """Fix what the model reads: a request or a recipe whose ``sent_prompt`` is filled if it is to be reworded.

    What lies around a region is reworded, too, and stands in the recipe as the model reads it. Findings on one
    side become a region, where a form only places them and nothing else says what is to be made.

    Args:
        settings: one that has a ``sent_prompt`` already, as a recipe gives it, keeps that, whatever is made of the
            prompt today.
        form: the model's, a name of ``FORMS``.
    """
    if not settings.reword or settings.sent_prompt:
        return settings
    sent, around = (text and (reword(text, form) or text) for text in (settings.prompt, settings.surrounding_prompt))
    if not find_form(form).sided:
        return replace(settings, sent_prompt=sent, surrounding_prompt=around)
    if settings.mask_cells or settings.is_derived:
        return replace(settings, sent_prompt=without_sides(sent), surrounding_prompt=without_sides(around))
    sent, cells, around = by_halves(sent)
    return replace(settings, sent_prompt=sent, mask_cells=cells, surrounding_prompt=around)


def describe_sent(settings: ImageSettings) -> str:
    """What the model reads, between quotes: one prompt, or one for each half."""
    side = side_of(settings.mask_cells) if settings.surrounding_prompt else None
    other = f" for the patient's {side} half, “{settings.surrounding_prompt}” for the other" if side else ""
    return f"“{settings.model_prompt}”{other}"


def to_type_again(settings: Settings, form: str) -> Settings:
    """What has to be asked for to get the same picture: rewording by today's rules, or the reworded text itself.

    Args:
        settings: a recipe or a request whose ``sent_prompt`` is known.
        form: of its model.
    """
    if not settings.reword:
        return settings
    typed = replace(settings, sent_prompt="")
    for one in (replace(typed, mask_cells="", surrounding_prompt=""), typed):  # what a side stands for is not typed
        if with_sent_prompt(one, form) == settings:
            return one
    return replace(settings, prompt=settings.model_prompt, reword=False, sent_prompt="")


def _is_caption(text: str) -> bool:
    """Whether a reader of words alone, such as the embedded model, gets from the text what it asks for."""
    words = {word.lower() for word in _WORDS.findall(text)}
    if _MARKS.search(text):
        return False
    return words <= _caption_words() and replace(labels_of(text), sides=()) == replace(asked_labels(text), sides=())


@lru_cache(maxsize=1)
def _caption_words() -> frozenset[str]:
    return frozenset(known_words())
