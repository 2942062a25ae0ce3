"""Device, number format and attention: decided from what the hardware says, which is played here."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn import functional as F

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.models.devices import DTYPES, choose_device, choose_unet_dtype, vae_dtype
from cxr.request.errors import ModelError
from cxr.request.generation_request import GenerationRequest

UNUSED = torch.nn.Identity()  # only a CPU asks the network itself


def play_hardware(patch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: cuda)
    patch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_fastest_device_is_chosen(cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play_hardware(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device() == torch.device(expected)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),  # T4
        ((8, 0), torch.bfloat16),  # A100
        ((8, 9), torch.bfloat16),
        ((9, 0), torch.bfloat16),  # H100
        ((12, 0), torch.bfloat16),
    ],
)
def test_cuda_uses_bfloat16_where_it_is_native(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_DTYPE")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_unet_dtype(UNUSED, torch.device("cuda")) == expected


def test_apple_gpus_use_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXR_DTYPE")
    assert choose_unet_dtype(UNUSED, torch.device("mps")) == torch.float16


@pytest.mark.parametrize("device", DTYPES)
def test_the_variable_decides_on_every_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DTYPES[device]:
        monkeypatch.setenv("CXR_DTYPE", name)
        assert choose_unet_dtype(UNUSED, torch.device(device)) == getattr(torch, name)
    monkeypatch.setenv("CXR_DTYPE", "float64")
    with pytest.raises(ModelError, match=f"'float64'; use float32.* or .* on {device}, or leave it unset"):
        choose_unet_dtype(UNUSED, torch.device(device))


def test_the_vae_never_runs_in_float16() -> None:
    found = {dtype: vae_dtype(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)}
    assert found[torch.float16] == found[torch.float32] == torch.float32
    assert found[torch.bfloat16] == torch.bfloat16


def test_convolutions_run_channels_last(tiny_model: LoadedModel) -> None:
    for network in (tiny_model.pipeline.unet, tiny_model.pipeline.vae):
        kernels = [value for value in network.parameters() if value.ndim == 4 and value.shape[2] > 1]
        assert kernels
        assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_attention_is_the_fused_one(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the default of diffusers, and twice as fast as its older attention."""
    model = load_model(str(tiny_model_dir), "none", engine="pytorch")
    processors = model.pipeline.unet.attn_processors
    assert {type(processor) for processor in processors.values()} == {AttnProcessor2_0}
    calls, fused = [], F.scaled_dot_product_attention

    def watch(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0].shape)
        return fused(*arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watch)
    list(generate(GenerationRequest("normal chest x-ray", num_inference_steps=1), model))
    assert len(calls) >= len(processors)


@pytest.mark.gpu
def test_a_model_on_the_gpu_is_where_and_what_it_says(tiny_model: LoadedModel) -> None:
    assert tiny_model.info.device == "cuda"
    assert {value.device.type for value in tiny_model.pipeline.unet.parameters()} == {"cuda"}
