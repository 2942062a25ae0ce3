"""Which device and which number format a model runs in here: asked of the hardware, never guessed."""

from __future__ import annotations

import copy
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from cxr.models.decisions import decide_once
from cxr.request.errors import ModelError

DTYPE_VARIABLE = "CXR_DTYPE"
DTYPES = {
    "cpu": ("float32", "bfloat16"),  # float16 is slow there, and overflows
    "cuda": ("float32", "bfloat16", "float16"),
    "mps": ("float32", "float16"),
}
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "amx_tile")  # of a CPU, as torch and Linux call them
NATIVE_BFLOAT16 = (8, 0)  # compute capability of Ampere, the first to multiply bfloat16 as fast as float16
# Weights that a faster format must win by: with less, rounding would be paid for nothing.
WORTHWHILE_SPEEDUP = 1.05
PROBE_ROUNDS = 3

decided: dict[str, str] = {}  # one decision per process and architecture, so that all its images agree


def choose_device() -> torch.device:
    """CUDA where there is such a GPU, else Apple's (MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); without that it is slower than float32."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(bool(capabilities.get(name)) for name in BFLOAT16_FLAGS)
    try:  # torch before 2.10
        return not set(BFLOAT16_FLAGS).isdisjoint(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return False


def choose_unet_dtype(unet: torch.nn.Module, device: torch.device, *, can_time: bool = True) -> torch.dtype:
    """The number format for the UNet, or for another denoising network.

    On CUDA bfloat16 where the GPU multiplies it natively and float16 where not, on MPS float16, on a CPU bfloat16
    where it is native and measures faster than float32, once on this machine. Setting CXR_DTYPE decides instead,
    without measuring.

    Args:
        unet: the UNet in float32, on its device; not changed.
        can_time: whether ``run_step`` can run it; if not, a CPU uses float32.
    Raises:
        ModelError: CXR_DTYPE names a format that the device does not have.
    """
    wanted, allowed = os.environ.get(DTYPE_VARIABLE, ""), DTYPES[device.type]
    if wanted and wanted not in allowed:
        names = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise ModelError(f"{DTYPE_VARIABLE} is {wanted!r}; use {names} on {device.type}, or leave it unset")
    if wanted:
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= NATIVE_BFLOAT16
        return torch.bfloat16 if native else torch.float16
    if device.type == "mps":
        return torch.float16
    return _faster_on_cpu(unet) if can_time else torch.float32


def vae_dtype(unet_dtype: torch.dtype) -> torch.dtype:
    """The number format of the VAE beside a UNet of that format; never float16, in which a decoder may overflow."""
    # bfloat16 moves a decoded picture by 0.4 grey levels (root mean square) in half the time.
    return torch.float32 if unet_dtype == torch.float16 else unet_dtype


def _faster_on_cpu(unet: torch.nn.Module) -> torch.dtype:
    if not has_native_bfloat16():
        return torch.float32
    architecture = str(sorted((name, tuple(value.shape)) for name, value in unet.named_parameters()))
    if architecture not in decided:
        decided[architecture] = decide_once(
            f"number format of {hashlib.sha256(architecture.encode()).hexdigest()}", partial(_faster, unet), "float32"
        )
    return torch.bfloat16 if decided[architecture] == "bfloat16" else torch.float32


def _faster(unet: torch.nn.Module) -> str:
    candidate = torch.nn.Module.to(copy.deepcopy(unet), torch.bfloat16)
    return "bfloat16" if _speedup(unet, candidate) >= WORTHWHILE_SPEEDUP else "float32"


def _speedup(reference: torch.nn.Module, candidate: torch.nn.Module) -> float:
    """Time of the reference divided by that of the candidate."""
    device = next(reference.parameters()).device
    steps = [partial(run_step, unet) for unet in (reference, candidate)]
    reference_s, candidate_s = best_seconds(steps, device)
    return reference_s / candidate_s


def best_seconds(
    works: Sequence[Callable[[], object]], device: torch.device, rounds: int = PROBE_ROUNDS
) -> list[float]:
    """Time of the quickest of a few rounds of each work.

    Rounds are interleaved, so that a busy moment meets all alike; the first one sets up kernels and is not counted.
    """
    taken = [[seconds(work, device) for work in works] for _ in range(1 + rounds)][1:]
    return [min(times) for times in zip(*taken, strict=True)]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time of some work, until the device has finished it."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def run_step(unet: torch.nn.Module, num_images: int = 1) -> torch.Tensor:
    """One UNet step on zeros, in the shape of guided images; [2 * num_images, C, h, w]."""
    config: Any = unet.config
    parameter = next(unet.parameters())
    latents = parameter.new_zeros(2 * num_images, config.in_channels, config.sample_size, config.sample_size)
    text = parameter.new_zeros(2 * num_images, 77, config.cross_attention_dim)
    noise_pred: torch.Tensor = unet(latents, 500, encoder_hidden_states=text, return_dict=False)[0]
    return noise_pred


def cast_weights(
    network: torch.nn.Module, dtype: torch.dtype, layout: torch.memory_format = torch.channels_last
) -> None:
    """Change the number format of a network's weights, LoRA included, in the layout that convolutions prefer."""
    to: Any = torch.nn.Module.to  # its annotations know no layout; diffusers' own `to` logs a warning each time
    to(network, dtype=dtype, memory_format=layout)


def shared_state() -> PartialState:
    """Accelerate's view of the processes of this run, as ``torchrun`` or ``accelerate launch`` starts them.

    The same object at every call. By itself, accelerate takes processes without GPUs for unrelated ones.
    """
    return PartialState(cpu=not torch.cuda.is_available())
