"""The tokenizer of the small model: it knows exactly the words of the captions."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from cxr.labels.captions import known_words
from cxr.train.architecture import TEXT_TOKENS


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
    # Its annotation of merges is that of a file; it hands the pairs on to the tokenizer as they are.
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=TEXT_TOKENS)  # type: ignore[arg-type]
