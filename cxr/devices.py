"""Which device and which number format a model runs in here: asked of the hardware, never guessed."""

from __future__ import annotations

import copy
import os
import time
from typing import Any

import torch
from accelerate import PartialState

from cxr.errors import ModelError

DTYPE_VARIABLE = "CXR_DTYPE"
CPU_DTYPES = ("float32", "bfloat16")
# Weights that a faster format must win by: with less, rounding would be paid for nothing.
WORTHWHILE_SPEEDUP = 1.05
PROBE_ROUNDS = 3

_decisions: dict[str, str] = {}  # one decision per process and architecture, so that all its images agree


def choose_device() -> torch.device:
    """CUDA where there is a GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); without that it is slower than float32."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("amx_tile"))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch before 2.10
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


def choose_unet_dtype(unet: torch.nn.Module, device: torch.device) -> torch.dtype:
    """The format for the UNet: float16 on CUDA; on a CPU bfloat16 where it is native and measures faster.

    Setting CXR_DTYPE to float32 or bfloat16 decides for CPUs without measuring.

    Args:
        unet: the UNet in float32, on its device; not changed.
        device: where it will run.
    Raises:
        ModelError: CXR_DTYPE names something else.
    """
    if device.type == "cuda":
        return torch.float16
    wanted = os.environ.get(DTYPE_VARIABLE, "")
    if wanted and wanted not in CPU_DTYPES:
        raise ModelError(f"{DTYPE_VARIABLE} is {wanted!r}; use {' or '.join(CPU_DTYPES)}, or leave it unset")
    if wanted:
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    if not has_native_bfloat16():
        return torch.float32
    architecture = str(sorted((name, tuple(value.shape)) for name, value in unet.named_parameters()))
    if architecture not in _decisions:
        candidate = torch.nn.Module.to(copy.deepcopy(unet), torch.bfloat16)
        faster = _speedup(unet, candidate) >= WORTHWHILE_SPEEDUP
        _decisions[architecture] = "bfloat16" if faster else "float32"
    return torch.bfloat16 if _decisions[architecture] == "bfloat16" else torch.float32


def _speedup(reference: torch.nn.Module, candidate: torch.nn.Module) -> float:
    """Time of the reference divided by that of the candidate: best of a few rounds, interleaved."""
    best = {id(reference): float("inf"), id(candidate): float("inf")}
    for _ in range(1 + PROBE_ROUNDS):  # the first round also pays for setting up kernels, and the best drops it
        for unet in (reference, candidate):
            began = time.perf_counter()
            _run_once(unet)
            best[id(unet)] = min(best[id(unet)], time.perf_counter() - began)
    return best[id(reference)] / best[id(candidate)]


@torch.inference_mode()
def _run_once(unet: torch.nn.Module) -> torch.Tensor:
    """One UNet step on zeros in the shape of a guided image (batch of 2)."""
    config: Any = unet.config
    dtype = next(unet.parameters()).dtype
    size = config.sample_size
    latents = torch.zeros(2, config.in_channels, size, size, dtype=dtype)
    text = torch.zeros(2, 77, config.cross_attention_dim, dtype=dtype)
    noise_pred: torch.Tensor = unet(latents, 500, encoder_hidden_states=text, return_dict=False)[0]
    return noise_pred


def shared_state() -> PartialState:
    """Accelerate's view of the processes of this run, as ``torchrun`` or ``accelerate launch`` starts them.

    The same object at every call. Without being told, accelerate takes processes without GPUs for unrelated ones.
    """
    return PartialState(cpu=not torch.cuda.is_available())
