"""Which base model and LoRA the page was started with, and which ones answer while the Hub cannot be reached."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr.models.preset_table import PRESETS
from cxr.models.presets import find_preset, request_defaults
from cxr.request.errors import CxrError, HubUnreachableError, ModelError
from cxr.request.model_info import ModelInfo

if TYPE_CHECKING:
    from cxr.generate.loaded_model import LoadedModel

RETRY_AFTER_S = 60.0
STAND_IN = "The Hub cannot be reached; the embedded demo model is used instead."


@dataclass(frozen=True)
class ModelChoice:
    """Which base model and LoRA the page was started with, as ``load_model`` takes them."""

    model: str | None = None
    adapter: str | None = "default"

    @property
    def defaults(self) -> dict[str, float]:
        """The model's own defaults; empty if it uses the program's, or is not there."""
        try:
            return request_defaults(self.model)
        except ModelError:
            return {}


_import_lock = threading.Lock()
unreachable_since_s: dict[ModelChoice, float] = {}  # when the Hub did not answer for a model


def load_model_for(choice: ModelChoice) -> LoadedModel:
    """Load the model, or return the one that is loaded already. What needs diffusers is imported after this."""
    find_preset(choice.model)  # a name that is unknown is refused before seconds of imports
    # diffusers' imports form circles: two threads importing it at once would see half-initialised modules.
    with _import_lock:
        from cxr.generate.model import get_model  # torch takes seconds to import, and the page should be up before that

    return get_model(choice.model, choice.adapter)


def answering(choice: ModelChoice) -> ModelChoice:
    """The choice itself, loaded, or that of the embedded model while the Hub cannot be reached.

    The Hub is not asked again before `RETRY_AFTER_S` have passed, so that not every image waits for it.

    Raises:
        CxrError: the model cannot be loaded for another reason.
    """
    if known_to_answer(choice) != choice:
        return ModelChoice()
    try:
        load_model_for(choice)
    except HubUnreachableError:
        unreachable_since_s[choice] = time.monotonic()
        return ModelChoice()
    return choice


def loaded_info(choice: ModelChoice) -> ModelInfo | None:
    """What is known about the model that answers, or None if there is none."""
    try:
        return load_model_for(answering(choice)).info
    except CxrError:
        return None


def known_to_answer(choice: ModelChoice) -> ModelChoice:
    """As ``answering``, by what is known already: it waits for nothing."""
    is_resting = time.monotonic() < unreachable_since_s.get(choice, -math.inf) + RETRY_AFTER_S
    return ModelChoice() if is_resting else choice


def is_stand_in(choice: ModelChoice, info: ModelInfo) -> bool:
    """Whether the embedded model answers for one that the Hub would have to send."""
    return info.model == PRESETS["embedded"].name and bool(find_preset(choice.model).hub_id)
