"""The table of settings that every training has, with their limits; no torch, so that help comes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from cxr.request.errors import RequestError


class Limit(NamedTuple):
    """What a setting may be, as a test and in words."""

    allows: Callable[[Any], bool]
    words: str


ABOVE_ZERO = Limit(lambda value: value > 0, "a number above 0")
ZERO_OR_MORE = Limit(lambda value: value >= 0, "0 or more")
SHARE = Limit(lambda value: 0 <= value <= 1, "0 to 1")


def setting(
    default: object, words: str, limit: Limit | None = None, *, option: type | None = None, weights: bool = True
) -> Any:
    """One row of the table.

    Args:
        default: where the user says nothing; None where it depends on the model or the device, MISSING where there is
            none.
        words: what it is; also the help of its option.
        limit: of what is allowed; None is always.
        option: type of the option that only full-size models have.
        weights: whether the trained weights depend on it; a resumed run may change what they do not depend on.
    """
    return field(default=default, metadata={"words": words, "limit": limit, "option": option, "weights": weights})


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train; checked on creation. What each setting means stands beside it."""

    steps: int = setting(MISSING, "optimizer steps in all", ABOVE_ZERO)
    batch_size: int = setting(MISSING, "samples a batch, in each process", ABOVE_ZERO)
    learning_rate: float = setting(MISSING, "peak rate", ABOVE_ZERO)
    warmup_steps: int = setting(200, "steps in which the rate rises", ZERO_OR_MORE)
    decay_share: float = setting(0.2, "last share of the steps, in which the rate falls along a half cosine", SHARE)
    # It rises from 0 as (1 + k) / (10 + k).
    ema_decay: float = setting(0.999, "averaging of the weights, 0 for no average", SHARE)
    betas: tuple[float, float] = setting((0.9, 0.99), "of AdamW", weights=False)
    gradient_accumulation_steps: int = setting(1, "batches of one optimizer step", ABOVE_ZERO)
    # Factor on the learning rate of the weights whose names begin so.
    rates: Mapping[str, float] = field(default_factory=dict, metadata={"limit": None, "option": None, "weights": False})
    clip_norm: float = setting(1.0, "largest norm of a gradient", weights=False)
    weight_decay: float = setting(0.01, "of AdamW", weights=False)
    seed: int = setting(0, "of weights, batches, captions and noise", ZERO_OR_MORE)
    log_every: int = setting(50, "steps between lines of the log", ABOVE_ZERO, weights=False)
    validate_every: int = setting(
        1_000, "steps between looks at held-out patients, which also save", ABOVE_ZERO, weights=False
    )
    # None for one with each look at held-out patients.
    checkpoint_every: int | None = setting(None, "steps between checkpoints", ABOVE_ZERO, weights=False)
    max_minutes: float | None = setting(None, "save and stop after this time", weights=False)

    def __post_init__(self) -> None:
        for row in fields(self):
            value, limit = getattr(self, row.name), row.metadata["limit"]
            if limit is not None and value is not None and not limit.allows(value):
                shown = repr(value) if isinstance(value, str) else f"{value:g}"
                raise RequestError(f"is {shown}; use {limit.words}", field=row.name)
