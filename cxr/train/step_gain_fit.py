"""Measure how much fainter a model's own latents become than real ones, step by step, for ``step_gains.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.preview import predicted_original
from cxr.generate.sampling import Denoiser
from cxr.images.atomic import write_whole
from cxr.labels.radiograph import Radiograph
from cxr.models.step_gains import LIMITS, StepGains
from cxr.request.errors import DataError, ModelError
from cxr.request.generation_request import GenerationRequest
from cxr.train.architecture import LATENT_CHANNELS
from cxr.train.autoencoder_task import decode_each
from cxr.train.latent_sampling import BATCH, channel_gains, denoiser_for, prompts_of
from cxr.train.latents import block_cosines, latents_of
from cxr.train.reconstruction import shrink
from cxr.train.setup import batch_generator

STEP_GAINS = "step_gains.json"
VELOCITY = "v_prediction"
DIGITS = 4


def write_step_gains(
    model: str, adapter: str, records: Sequence[Radiograph], count: int, seed: int, out: Path
) -> StepGains:
    """Fit gains on training images and write them, to be put beside the model's ``model_index.json``.

    Args:
        model: an embedded model, as for ``cxr.generate.model.load_model``.
        adapter: its LoRA, as for ``load_model``.
        records: images whose prompts are sampled, and whose latents are the measure.
        count: how many of them.
        seed: of prompts and noise.
        out: folder of the file.
    Raises:
        DataError: there are no images.
        ModelError: the model's latents are not those of the embedded model.
    """
    if not records:
        raise DataError("there are no training images to measure with")
    loaded = load_model(model, adapter)
    prediction = loaded.pipeline.scheduler.config.get("prediction_type")
    if loaded.network.config.in_channels != LATENT_CHANNELS or prediction != VELOCITY:
        raise ModelError(f"{model} is not an embedded model; gains can be measured for those alone")
    with loaded.lock:
        gains = fit_step_gains(loaded, prompts_of(records, count, f"gains {seed}", model), seed)
    write_whole(out / STEP_GAINS, (json.dumps(asdict(gains)) + "\n").encode())
    return gains


def fit_step_gains(model: LoadedModel, pairs: Sequence[tuple[Radiograph, GenerationRequest]], seed: int) -> StepGains:
    """Sample all requests side by side; at each step compare what is expected of them with what is of noisy films.

    Args:
        model: with its LoRA, whose own gains are left out; the caller holds its lock.
        pairs: films, each with a request for what it shows; they differ in prompt and seed only.
        seed: of the noise on the films.
    """
    model.step_gains = None
    films = latents_of([film for film, _ in pairs]).float()
    requests = [request for _, request in pairs]
    groups = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
    sampling = [denoiser_for(model, group) for group in groups]
    unguided = [denoiser_for(model, [replace(request, guidance_scale=1.0) for request in group]) for group in groups]
    timesteps, rows = tuple(int(timestep) for timestep in sampling[0].timesteps), []
    for number, timestep in enumerate(tqdm(sampling[0].timesteps, desc="gains of the steps")):
        outputs = [denoiser.predict(timestep) for denoiser in sampling]
        rng = batch_generator(seed, number)
        for denoiser, latents in zip(unguided, films.split(BATCH), strict=True):
            noise = torch.randn(latents.shape, generator=rng).to(denoiser.latents)
            denoiser.latents = denoiser.scheduler.add_noise(latents.to(noise), noise, timestep[None])
        of_films = [denoiser.predict(timestep) for denoiser in unguided]
        rows.append(_row(_expected(sampling, outputs, timestep), _expected(unguided, of_films, timestep)))
        model.step_gains = StepGains(len(timesteps), timesteps[: len(rows)], tuple(rows))
        for denoiser, output in zip(sampling, outputs, strict=True):
            denoiser.advance(output, timestep)
    sampled = torch.cat([denoiser.latents for denoiser in sampling]).cpu()
    final = _row(sampled * _decoder_gains(model, films), films)
    return StepGains(len(timesteps), timesteps, tuple(rows), final)


def _row(sampled: Tensor, real: Tensor) -> tuple[float, ...]:
    """One gain for each channel, as the file has it."""
    return tuple(round(gain, DIGITS) for gain in channel_gains(sampled, real).clamp(*LIMITS).flatten().tolist())


def _decoder_gains(model: LoadedModel, films: Tensor) -> Tensor:
    """[1, C, 1, 1]: how much stronger than the latents what the decoder makes of them is, channel by channel."""
    vae = model.pipeline.vae
    with torch.inference_mode(), model.vae_in_float32():
        decoded = decode_each(vae, films).cpu()
    return channel_gains(films, block_cosines(shrink(shrink(decoded))))


def _expected(denoisers: Sequence[Denoiser], outputs: Sequence[Tensor], timestep: Tensor) -> Tensor:
    """The clean latents that these outputs foresee, [N, C, h, w]."""
    signal = denoisers[0].scheduler.alphas_cumprod[int(timestep)].to(outputs[0])
    return torch.cat(
        [
            predicted_original(denoiser.latents, output.float(), signal, VELOCITY)
            for denoiser, output in zip(denoisers, outputs, strict=True)
        ]
    )
