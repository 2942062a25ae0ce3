"""Latents as the finished model samples them: what its decoder is fed, and what real latents are compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from cxr.generate.encode_decode import encode
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.sampling import Denoiser
from cxr.images.atomic import write_whole
from cxr.labels.captions import caption
from cxr.labels.radiograph import Radiograph
from cxr.models.presets import request_defaults
from cxr.request.generation_request import GenerationRequest

BATCH = 8
SAVE_EVERY = 8  # batches
PLAIN_EVERY = 4  # every fourth batch comes from the base without its LoRA


def sampled_latents(
    path: Path, model: str, adapter: str, records: Sequence[Radiograph], count: int, *, purpose: str
) -> Tensor:
    """Latents under prompts of radiographs, from a file that is made, or continued where it was cut.

    Args:
        path: a safetensors file.
        model: as for ``cxr.generate.model.load_model``.
        adapter: its LoRA, as for ``load_model``.
        records: whose labels the prompts name, over and over in a shuffled order.
        count: latents wanted; those that a longer file holds beyond it are left out.
        purpose: another word gives other prompts and noise.
    Returns:
        [count, C, h, w] float32, as the denoising network gives them at its end.
    """
    done = load_file(path)["latents"] if path.is_file() else torch.empty(0)
    if len(done) >= count:
        return done[:count].float()
    requests = [request for _, request in prompts_of(records, count, purpose, model)]
    loaded = load_model(model, adapter)
    parts = [done] if len(done) else []
    for start in tqdm(range(len(done), count, BATCH), desc="sampled latents", mininterval=5):
        with loaded.lock:
            loaded.set_adapter_weight(0.0 if start // BATCH % PLAIN_EVERY == 0 else 1.0)
            parts.append(_sample(loaded, requests[start : start + BATCH]).half())
        if len(parts) % SAVE_EVERY == 0 or start + BATCH >= count:
            parts = [torch.cat(parts)]
            write_whole(path, save({"latents": parts[0].contiguous()}))
    return parts[0].float()


def prompts_of(
    records: Sequence[Radiograph], count: int, purpose: str, model: str
) -> list[tuple[Radiograph, GenerationRequest]]:
    """Films, over and over in a shuffled order, each with a request for what it shows."""
    order, pairs = list(records), []
    random.Random(purpose).shuffle(order)
    for number in range(count):
        rng = random.Random(f"{purpose} {number}")
        film = order[number % len(order)]
        prompt = caption(film, rng, findings=True, empty_share=0)
        pairs.append((film, GenerationRequest(prompt, seed=rng.getrandbits(32), **request_defaults(model))))
    return pairs


def denoiser_for(model: LoadedModel, requests: Sequence[GenerationRequest]) -> Denoiser:
    """At the beginning of requests that differ in prompt and seed only."""
    first = requests[0]
    texts = [encode(model, request.prompt, request.negative_prompt, first.guidance_scale) for request in requests]
    guidance = (first.guidance_scale, first.guidance_stop)
    return Denoiser(model, texts, guidance, [request.seed for request in requests], first.num_inference_steps)


def channel_gains(sampled: Tensor, real: Tensor) -> Tensor:
    """[1, C, 1, 1]: what brings the spread of each channel of sampled latents to that of real ones, [N, C, h, w]."""
    return (real.std(dim=(0, 2, 3)) / sampled.std(dim=(0, 2, 3)))[None, :, None, None]


def _sample(model: LoadedModel, requests: Sequence[GenerationRequest]) -> Tensor:
    """Latents [B, C, h, w] float32 of requests that differ in prompt and seed only."""
    denoiser = denoiser_for(model, requests)
    for timestep in denoiser.timesteps:
        denoiser.step(timestep)
    return denoiser.latents.clone()
