"""What the networks get to know of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextCondition:
    """What the networks get to know of one or more texts.

    Args:
        embeddings: [B, tokens, width].
        pooled: [B, width], one vector for the whole text, or None.
        mask: [B, tokens], 1 where there is a token and 0 where there is only filling, or None.
    """

    embeddings: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    @property
    def is_guided(self) -> bool:
        """Whether a negative text stands before the text itself."""
        return self.embeddings.shape[0] == 2

    @staticmethod
    def joined(parts: Sequence[TextCondition], join: Callable[[list[Tensor]], Tensor]) -> TextCondition:
        """Several as one, tensor by tensor.

        Args:
            parts: of the same architecture.
            join: puts the same tensor of all parts together.
        """
        rows = [(part.embeddings, part.pooled, part.mask) for part in parts]
        embeddings, pooled, mask = zip(*rows, strict=True)
        return TextCondition(
            join(list(embeddings)),
            None if pooled[0] is None else join(list(pooled)),
            None if mask[0] is None else join(list(mask)),
        )

    def to(self, dtype: torch.dtype) -> TextCondition:
        """The same in another number format; a mask stays as it is."""
        pooled = None if self.pooled is None else self.pooled.to(dtype)
        return TextCondition(self.embeddings.to(dtype), pooled, self.mask)

    def second_half(self) -> TextCondition:
        """Without the negative texts, which are the first half."""
        return TextCondition.joined([self], lambda tensors: tensors[0].chunk(2)[1])
