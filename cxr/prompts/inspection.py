"""What a prompt asks for, and what a model that reads words alone makes of it instead."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cxr.labels.vocabulary import FINDINGS, SIDED_FINDINGS, VIEW_PHRASES, PromptLabels, labels_of
from cxr.prompts.halves import side_of
from cxr.prompts.parsing import parse_prompt
from cxr.prompts.records import SHOWN, Finding, ParsedPrompt
from cxr.request.settings import FULL_SHARE, LABELS, ImageSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_GUIDANCE = "It has no effect, as guidance is off."
LITTLE_GUIDANCE = f"It changes little while guidance_stop ({LABELS['guidance_stop']}) is below {FULL_SHARE:g}."
SIDE_NOT_DRAWN = "Its side is not drawn: the picture to begin from, or the region, already says what is made where."
MAX_WORDS = 20_000  # tokens of a vocabulary that is made of words; CLIP's own has 49,408


@dataclass(frozen=True)
class PromptReport:
    """What the model makes of a prompt: words it never saw, what is cut off, denied findings that it may show."""

    num_tokens: int
    max_tokens: int
    unknown_words: tuple[str, ...] = ()
    cut_text: str = ""
    denied: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user; empty when there is nothing to say."""
        notes = []
        if self.unknown_words:
            listed = ", ".join(f"“{word}”" for word in self.unknown_words)
            notes.append(f"This model was not trained with: {listed}. It may ignore them.")
        if self.denied:
            names = ", ".join(self.denied)
            notes.append(f"This model ignores negation: it may show {names}. Leave out what should not be there.")
        if self.cut_text:
            limit = self.max_tokens
            notes.append(f"The prompt is longer than {limit} tokens; this part was left out: “{self.cut_text}”")
        return tuple(notes)


@functools.lru_cache(maxsize=256)  # a data set has many images of one prompt
def asked_labels(prompt: str) -> PromptLabels:
    """Read what a prompt asks for, denials understood; of captions that this program writes, what it wrote.

    A finding in doubt is asked for, one that is denied or history is not.

    Args:
        prompt: as a user or a report writes it.
    Returns:
        NIH's 14 findings in their order; an empty tuple if the prompt asks for none, None if it does not say. Sides are
        left and right, of `SIDED_FINDINGS`, and of those that are not on both.
    """
    parsed = parse_prompt(prompt)
    shown = {finding.name for finding in parsed.findings if finding.certainty in SHOWN}
    findings = tuple(name for name in FINDINGS if name in shown)
    return PromptLabels(
        findings=findings or (() if parsed.normal else None),
        age=parsed.age,
        sex=parsed.sex,
        view=parsed.view if parsed.view in VIEW_PHRASES else None,
        sides=_asked_sides(parsed),
    )


def labels_asked_by(settings: ImageSettings) -> PromptLabels:
    """What an image is asked to show; without sides where the prompt is not reworded, which is what draws them."""
    labels = asked_labels(settings.prompt)
    return labels if settings.reword else replace(labels, sides=())


def _asked_sides(parsed: ParsedPrompt) -> tuple[tuple[str, str], ...]:
    sides: dict[str, set[str]] = {}
    for finding in parsed.findings:
        if finding.certainty in SHOWN and finding.name in SIDED_FINDINGS:
            sides.setdefault(finding.name, set()).add(finding.side or "")
    return tuple((name, found.pop()) for name, found in sorted(sides.items()) if found in ({"left"}, {"right"}))


def denied_findings(prompt: str) -> tuple[str, ...]:
    """NIH's findings that a prompt says are not there at all: neither "no left effusion" nor "no large effusion" do."""
    said, asked = parse_prompt(prompt).findings, asked_labels(prompt).findings or ()
    denied = {one.name for one in said if one == Finding(one.name, "absent") and not one.descriptors}
    return tuple(name for name in FINDINGS if name in denied and name not in asked)


def misread_findings(prompt: str) -> tuple[str, ...]:
    """Findings that a prompt names without asking for them; a model that reads words alone may show them.

    Args:
        prompt: "effusion, no pneumothorax" names Pneumothorax so.
    """
    asked = asked_labels(prompt).findings or ()
    return tuple(name for name in labels_of(prompt).findings or () if name not in asked)


def inspect_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase) -> PromptReport:
    """Find the words that the model was never trained with, what it will not read as denied, and what is cut off.

    Of the embedded model's vocabulary, a word is known when it is one single token: it was built so that every caption
    word is. The general vocabularies of larger models spell rare words in pieces, which says nothing.

    Args:
        prompt: the user's text.
        tokenizer: the pipeline's.
    Returns:
        A report whose ``num_tokens`` and ``max_tokens`` count the text's own tokens, without the start and end marks.
    """
    encoded = tokenizer(prompt, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False)
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    tokens = [*tokenizer.convert_ids_to_tokens(encoded["input_ids"])]
    max_tokens = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    cut = min(max_tokens, len(tokens))
    while 0 < cut < len(tokens) and not _ends_word(prompt, tokens, offsets, cut - 1):
        cut -= 1  # half a word is no word: name all of it
    cut_text = prompt[offsets[cut][0] :].strip() if cut < len(tokens) else ""
    knows_words = len(tokenizer) <= MAX_WORDS
    unknown, denied = (_unknown_words(prompt, tokens, offsets), misread_findings(prompt)) if knows_words else ((), ())
    return PromptReport(len(tokens), max_tokens, unknown, cut_text, denied)


def notes_on(request: ImageSettings, tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[str, ...]]:
    """What to tell the user of the two texts of a request, as the model reads them.

    Args:
        request: reworded already, if it is to be.
        tokenizer: the pipeline's.
    Returns:
        Sentences on "prompt" and on "negative_prompt".
    """
    is_placed = not request.is_derived and side_of(request.mask_cells) is not None
    has_side = len(tokenizer) <= MAX_WORDS and bool(labels_asked_by(request).sides)
    unplaced = (SIDE_NOT_DRAWN,) if has_side and not is_placed else ()
    notes = {"prompt": (*unplaced, *inspect_prompt(request.model_prompt, tokenizer).notes), "negative_prompt": ()}
    if request.negative_share == 0:
        notes["negative_prompt"] = (NO_GUIDANCE,)
    elif request.negative_prompt.strip():
        faint = (LITTLE_GUIDANCE,) if request.negative_share < FULL_SHARE else ()
        notes["negative_prompt"] = (*faint, *inspect_prompt(request.negative_prompt, tokenizer).notes)
    return notes


def _ends_word(prompt: str, tokens: list[str], offsets: list[tuple[int, int]], position: int) -> bool:
    if any(token.endswith("</w>") for token in tokens):  # CLIP marks the last token of each word
        return tokens[position].endswith("</w>")
    start = offsets[position + 1][0]
    return not (prompt[start : start + 1].isalnum() and prompt[start - 1 : start].isalnum())


def _unknown_words(prompt: str, tokens: list[str], offsets: list[tuple[int, int]]) -> tuple[str, ...]:
    unknown: dict[str, None] = {}  # a dict keeps the order of first use
    start = 0
    for position, token in enumerate(tokens):
        if not token.endswith("</w>"):  # CLIP marks the last token of each word
            continue
        word = prompt[offsets[start][0] : offsets[position][1]]
        if position > start and _has_content(word):
            unknown[word] = None
        start = position + 1
    return tuple(unknown)


def _has_content(word: str) -> bool:
    # Punctuation, white space and clitics such as "'s" carry no finding: naming them would only be noise.
    return not word.startswith("'") and any(unicodedata.category(letter)[0] not in "PZC" for letter in word)
