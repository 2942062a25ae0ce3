"""Free text -> a prompt in a model's own form, within its token limit, and chips that say what became of the text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace

from cxr.labels.vocabulary import MODALITIES
from cxr.prompts.forms import PromptForm, find_form
from cxr.prompts.parsing import parse_prompt
from cxr.prompts.records import Chip, CompiledPrompt, Finding, ParsedPrompt
from cxr.prompts.remarks import NO_WORDS
from cxr.prompts.selection import describe_age, select
from cxr.prompts.writers import SEXES

MAX_TOKENS = 75  # CLIP's 77 without the marks of start and end
LETTERS_PER_TOKEN = 4  # CLIP's tokenizer cuts medical words: "pneumothorax" is 4 tokens
MAX_LABEL_WORDS = 3  # of a chip for text that was cut off
TOO_LONG = "beyond the model's token limit"
_PIECES = re.compile(r"\d|[^\W\d_]+|[^\w\s]|_")

CountTokens = Callable[[str], int]


def compile_prompt(
    text: str, form: str, *, count_tokens: CountTokens | None = None, max_tokens: int = MAX_TOKENS
) -> CompiledPrompt:
    """Write a prompt in the form that a model was trained with.

    If it is too long, parts are left out in this order until it fits: absent findings, possible findings, view, age,
    sex, then present findings but for the first; each from the last to the first. ``plain`` loses words from its end.

    Args:
        text: as a user or a report writes it.
        form: a name of ``FORMS``.
        count_tokens: the model's own count, without start and end marks; by default the embedded model's for captions,
            for other forms an estimate on the high side.
        max_tokens: as many as the model reads.
    Returns:
        The prompt and its chips. Where nothing was read, the prompt is the text itself.
    Raises:
        RequestError: the form is unknown.
    """
    prompt_form = find_form(form)
    count = count_tokens or (count_pieces if form == "caption" else estimate_tokens)
    parsed = parse_prompt(text)
    selection = select(parsed, prompt_form)
    if form == "plain" or not _says_anything(parsed):
        written, dropped = _cut(" ".join(parsed.text.split()), count, max_tokens)
    else:
        written, dropped = _shorten(selection.prompt, prompt_form, count, max_tokens)
    gone = {*dropped, *(f"possible {label}" for label in dropped)}
    understood = [chip for chip in selection.understood if chip.label not in gone]
    ignored = [*selection.ignored, *(Chip(_short(label), "ignored", TOO_LONG) for label in dropped)]
    chips = (*understood, *ignored, *selection.conflicting)
    # An image of what was only denied, or of symptoms, is still a radiograph.
    return CompiledPrompt(written or (MODALITIES[0] if parsed.text else ""), form, chips, dropped)


def count_pieces(text: str) -> int:
    """Words, digits and marks of a text: the embedded model's tokens of a caption, whose words are its vocabulary."""
    return len(_PIECES.findall(text))


def estimate_tokens(text: str) -> int:
    """Tokens that CLIP makes of a text, on the high side: one for each digit, mark and begun four letters of a word."""
    return sum(-(-len(piece) // LETTERS_PER_TOKEN) for piece in _PIECES.findall(text))


def _short(label: str) -> str:
    words = label.split()
    return f"{' '.join(words[:MAX_LABEL_WORDS])} …”" if len(words) > MAX_LABEL_WORDS and label[0] == "“" else label


def _says_anything(parsed: ParsedPrompt) -> bool:
    read = tuple(note for note in parsed.notes if note.reason != NO_WORDS)
    return replace(parsed, notes=read) != ParsedPrompt(text=parsed.text, unread=parsed.unread)


def _cut(text: str, count: CountTokens, max_tokens: int) -> tuple[str, tuple[str, ...]]:
    """The longest beginning of whole words that fits, and the rest."""
    words = text.split()
    fitting = bisect_right(range(1, len(words) + 1), max_tokens, key=lambda number: count(" ".join(words[:number])))
    rest = " ".join(words[fitting:])
    return " ".join(words[:fitting]), (f"“{rest}”",) if rest else ()


def _shorten(
    prompt: ParsedPrompt, form: PromptForm, count: CountTokens, max_tokens: int
) -> tuple[str, tuple[str, ...]]:
    """Leave parts out until the prompt fits."""
    written, dropped = form.write(prompt), []
    for label, smaller in _smaller(prompt):
        if count(written) <= max_tokens:
            break
        written = form.write(smaller)
        dropped.append(label)
    return written, tuple(dropped)


def _smaller(prompt: ParsedPrompt) -> Iterator[tuple[str, ParsedPrompt]]:
    """The prompt with ever less in it, and the name of what went."""
    for certainty in ("absent", "possible"):
        for finding in [finding for finding in reversed(prompt.findings) if finding.certainty == certainty]:
            prompt = _without(prompt, finding)
            yield finding.label, prompt
    if prompt.view:
        label, prompt = f"{prompt.view} view", replace(prompt, view=None)
        yield label, prompt
    if label := describe_age(prompt):
        prompt = replace(prompt, age=None, age_group=None)
        yield label, prompt
    if prompt.sex:
        label, prompt = SEXES[prompt.sex], replace(prompt, sex=None)
        yield label, prompt
    for finding in prompt.findings[:0:-1]:
        prompt = _without(prompt, finding)
        yield finding.label, prompt


def _without(prompt: ParsedPrompt, finding: Finding) -> ParsedPrompt:
    return replace(prompt, findings=tuple(other for other in prompt.findings if other is not finding))
