"""What every training task is given: images split by patient, how long to train, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cxr.labels.radiograph import Radiograph
from cxr.train.loop import LoopSettings


@dataclass(frozen=True)
class Setup:
    """Records to learn from, records of other patients to check with, settings of the loop and the device."""

    training: Sequence[Radiograph]
    validation: Sequence[Radiograph]
    settings: LoopSettings
    device: torch.device
