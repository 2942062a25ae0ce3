"""What the model makes of a prompt, in sentences for the user."""

from __future__ import annotations

from dataclasses import dataclass


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
