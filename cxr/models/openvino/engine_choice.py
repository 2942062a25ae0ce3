"""Which engine runs a UNet in this process: chosen once, and never changed while the process lives."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from cxr.models.decisions import find_decision
from cxr.models.openvino.graph import UNetConfig
from cxr.models.openvino.graph_cache import find_graph, fingerprint
from cxr.models.openvino.library import ENGINE_VARIABLE, is_installed
from cxr.models.openvino.prepare import question_of, start_preparing
from cxr.request.errors import ModelError
from cxr.request.recipe import OPENVINO, PYTORCH

CHOICES = (PYTORCH, OPENVINO)  # on a CPU
PREPARING = (
    "OpenVINO is being prepared in the background, once on this machine; this run stays with PyTorch, later ones use "
    "what is faster"
)


@dataclass(frozen=True)
class EngineChoice:
    """What runs a UNet.

    Args:
        engine: of `cxr.request.recipe.ENGINES`.
        weight_dtype: number format that was measured together with it, or None where PyTorch chooses its own.
        notes: what the user should know.
    """

    engine: str = PYTORCH
    weight_dtype: str | None = None
    notes: tuple[str, ...] = ()


chosen: dict[str, EngineChoice] = {}  # of this process, by architecture


def choose_engine(config: UNetConfig, device: torch.device, *, is_plain: bool) -> EngineChoice:
    """The engine for a denoising network: what CXR_ENGINE says, else what was once found faster on this machine.

    As long as that is not known a process in the background finds it out, and this one stays with PyTorch.

    Args:
        config: of the network, diffusers' own.
        device: where the model runs; only a CPU has a choice.
        is_plain: whether it is a UNet that is called with latents, a timestep and one text alone; others have none.
    Raises:
        ModelError: CXR_ENGINE names no engine.
    """
    wanted = os.environ.get(ENGINE_VARIABLE, "")
    if wanted and wanted not in CHOICES:
        raise ModelError(f"{ENGINE_VARIABLE} is {wanted!r}; use {' or '.join(CHOICES)}, or leave it unset")
    if wanted == PYTORCH or not has_choice(device, is_plain=is_plain):
        return EngineChoice()
    if wanted == OPENVINO:
        measured = _measured(config) if is_installed() else None
        return measured if measured and measured.engine == OPENVINO else EngineChoice(OPENVINO, "float32")
    if not is_installed():
        return EngineChoice()
    key = fingerprint(config)
    if key not in chosen:
        chosen[key] = _measured(config) or _prepare(config)
    return chosen[key]


def has_choice(device: torch.device, *, is_plain: bool) -> bool:
    """Whether OpenVINO can run a network there: a UNet that is called with one text, on a CPU."""
    return device.type == "cpu" and is_plain


def _measured(config: UNetConfig) -> EngineChoice | None:
    """What was measured earlier, if what it needs is there."""
    engine, _, weight_dtype = (find_decision(question_of(config)) or "").partition(" ")
    if engine == PYTORCH:
        return EngineChoice()
    known = engine == OPENVINO and weight_dtype in ("float32", "bfloat16")
    return EngineChoice(OPENVINO, weight_dtype) if known and find_graph(config) is not None else None


def _prepare(config: UNetConfig) -> EngineChoice:
    return EngineChoice(notes=(PREPARING,) if start_preparing(config) else ())
