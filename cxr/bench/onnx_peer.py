"""The networks of a pipeline run by ONNX Runtime, in diffusers' own loop."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 18


class _Unet(nn.Module):
    """A UNet as a function of tensors alone."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        output: Tensor = self.unet(sample, timestep, text, return_dict=False)[0]
        return output


class _Decoder(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        picture: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return picture


def onnx_networks(plain: StableDiffusionPipeline, folder: Path) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """UNet and VAE of a pipeline, run by ONNX Runtime; its text encoder, a thousandth of the work, is left as it is.

    Args:
        plain: StableDiffusionPipeline in float32; not changed.
        folder: for the exported networks.
    """
    unet, vae, device = copy.copy(plain.unet), copy.copy(plain.vae), plain.device
    latents = torch.zeros(2, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size, device=device)
    text = torch.zeros(2, plain.tokenizer.model_max_length, unet.config.cross_attention_dim, device=device)
    inputs = {"sample": latents, "timestep": torch.tensor([500.0], device=device), "text": text}
    step = _session(_Unet(plain.unet), inputs, folder / "unet.onnx")
    decoder = _session(_Decoder(plain.vae), {"latents": latents}, folder / "decoder.onnx")

    def predict(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **_: object) -> tuple[Tensor]:
        return (_run(step, sample=sample, timestep=timestep.float().reshape(1), text=encoder_hidden_states),)

    def decode(latents: Tensor, **_: object) -> tuple[Tensor]:
        return (_run(decoder, latents=latents),)

    unet.forward, vae.decode = predict, decode
    return unet, vae


def _session(network: nn.Module, inputs: dict[str, Tensor], path: Path) -> InferenceSession:
    """A network in ONNX Runtime, for any number of images."""
    import onnxruntime

    changing = {name: {0: "images"} for name in inputs if name != "timestep"} | {"output": {0: "images"}}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about shapes that never change here
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            opset_version=OPSET,
            dynamic_axes=changing,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    there = [name for name in wanted if name in onnxruntime.get_available_providers()]
    return onnxruntime.InferenceSession(str(path), options, providers=there)


def _run(session: InferenceSession, **inputs: Tensor) -> Tensor:
    device = next(iter(inputs.values())).device
    arrays = {name: value.float().cpu().numpy() for name, value in inputs.items()}
    return torch.from_numpy(session.run(None, arrays)[0]).to(device)
