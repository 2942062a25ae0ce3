"""Gains of the sampling's steps: exact in what they change, and read from a model's folder or refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.preview import predicted_original
from cxr.models.step_gains import StepGains, gained_velocity
from cxr.request.errors import ModelError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.train.latent_sampling import denoiser_for

TABLE = StepGains(8, (999, 499, 124), ((1.0, 1.1), (1.2, 1.3), (1.1, 1.0)))
ROW = [1.25, 1.0, 0.8, 1.1]  # of the tiny model's four channels


def test_expected_latents_are_as_many_times_as_strong() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy, velocity = (torch.randn(3, 4, 5, 5, generator=generator) for _ in range(2))
    signal, gain = torch.tensor(0.3), torch.tensor(ROW)
    before = predicted_original(noisy, velocity, signal, "v_prediction")
    after = predicted_original(noisy, gained_velocity(velocity, noisy, signal, gain), signal, "v_prediction")
    torch.testing.assert_close(after, before * gain.view(1, 4, 1, 1))


def test_gains_of_one_change_nothing_and_pure_noise_is_allowed() -> None:
    noisy, velocity = torch.ones(1, 2, 2, 2), torch.full((1, 2, 2, 2), 0.5)
    assert torch.equal(gained_velocity(velocity, noisy, torch.tensor(0.7), torch.ones(2)), velocity)
    assert torch.equal(gained_velocity(velocity, noisy, torch.tensor(0.0), torch.full((2,), 3.0)), 3 * velocity)


@pytest.mark.parametrize(
    ("timestep", "steps", "expected"),
    [
        (499, 8, [1.2, 1.3]),
        (749, 8, [1.2**0.5, (1.1 * 1.3) ** 0.5]),
        (0, 8, [1.1, 1.0]),
        (499, 16, [1.2**0.5, 1.3**0.5]),
        (499, 4, [1.44, 1.69]),
    ],
)
def test_gains_lie_between_their_rows_and_are_shared_by_the_steps(
    timestep: int, steps: int, expected: list[float]
) -> None:
    assert TABLE.at(timestep, steps) == pytest.approx(expected, rel=1e-3)


@pytest.fixture
def model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The tiny model, which predicts velocities here."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    set_prediction(folder, "v_prediction")
    return folder


def set_prediction(folder: Path, prediction_type: str) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": prediction_type}))


def write_table(folder: Path, **settings: Any) -> None:
    table = {"num_inference_steps": 8, "timesteps": [999, 0], "gains": [ROW, ROW]} | settings
    (folder / "step_gains.json").write_text(json.dumps(table))


def images_of(model: LoadedModel, **settings: Any) -> list[GeneratedImage]:
    request = GenerationRequest("chest x-ray", seed=3, num_inference_steps=4, **settings)
    return [event for event in generate(request, model) if isinstance(event, GeneratedImage)]


def test_a_table_changes_the_images_and_the_models_revision(model_dir: Path) -> None:
    plain = load_model(str(model_dir), "none")
    write_table(model_dir, gains=[[1.0] * 4] * 2)
    ones = load_model(str(model_dir), "none")
    write_table(model_dir)
    gained = load_model(str(model_dir), "none")
    assert len({model.info.model_revision for model in (plain, ones, gained)}) == 3
    before, same, after = (images_of(model)[0].pixels for model in (plain, ones, gained))
    assert np.abs(before.astype(int) - same).max() <= 1
    assert np.abs(before.astype(int) - after).max() > 3


def test_an_images_bytes_do_not_depend_on_its_batch(model_dir: Path) -> None:
    write_table(model_dir)
    alone, together = load_model(str(model_dir), "none"), load_model(str(model_dir), "none", micro_batch_size=2)
    seeds = [image.seed for image in images_of(alone, num_images=2)]
    again = images_of(together, num_images=2)
    assert [image.seed for image in again] == seeds
    assert np.abs(images_of(alone, num_images=2)[1].pixels.astype(int) - again[1].pixels).max() <= 1


def test_finished_latents_are_multiplied_once(model_dir: Path) -> None:
    request = GenerationRequest("chest x-ray", seed=3, num_inference_steps=4, guidance_scale=1.0)
    latents = []
    for final in ([], ROW):
        write_table(model_dir, final=final)
        model = load_model(str(model_dir), "none")
        with model.lock:
            denoiser = denoiser_for(model, [request])
            for timestep in denoiser.timesteps:
                denoiser.step(timestep)
        latents.append(denoiser.latents)
    torch.testing.assert_close(latents[1], latents[0] * torch.tensor(ROW).view(1, 4, 1, 1))


def test_a_step_that_diffusers_adds_is_gained_as_the_last_one(model_dir: Path) -> None:
    """At 61 trailing steps its scheduler takes 62, the last at timestep -1, whose signal is nearly all."""
    request = GenerationRequest("chest x-ray", seed=3, num_inference_steps=61, guidance_scale=1.0)
    expected = []
    for gains in ([[1.0] * 4] * 2, [ROW, ROW]):
        write_table(model_dir, gains=gains)
        model = load_model(str(model_dir), "none")
        with model.lock:
            denoiser = denoiser_for(model, [request])
            for timestep in denoiser.timesteps[:-1]:
                denoiser.advance(torch.zeros_like(denoiser.latents), timestep)
            denoiser.latents = torch.ones_like(denoiser.latents)
            denoiser.predict(denoiser.timesteps[-1])
            denoiser.advance(torch.zeros_like(denoiser.latents), denoiser.timesteps[-1])
            expected.append(denoiser.predicted())
    assert int(denoiser.timesteps[-1]) == -1
    shares = torch.tensor(ROW).view(1, 4, 1, 1) ** (8 / 61)
    torch.testing.assert_close(expected[1], expected[0] * shares, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"final": ROW[:3]},
        {"final": [0.1, 1, 1, 1]},
        {"final": 1.0},
        {"gains": [ROW]},
        {"gains": [ROW[:3], ROW[:3]]},
        {"gains": [ROW, [0.1, 1, 1, 1]]},
        {"gains": [ROW, ["x", 1, 1, 1]]},
        {"gains": [ROW, [float("nan"), 1, 1, 1]]},
        {"timesteps": [0, 999]},
        {"timesteps": [], "gains": []},
        {"num_inference_steps": 0},
        {"num_inference_steps": None},
    ],
)
def test_a_wrong_table_is_one_sentence(model_dir: Path, settings: dict[str, Any]) -> None:
    write_table(model_dir, **settings)
    with pytest.raises(ModelError, match=r"^step_gains.json of the model is not \{"):
        load_model(str(model_dir), "none")


def test_a_table_for_a_model_that_predicts_noise_is_refused(model_dir: Path) -> None:
    write_table(model_dir)
    set_prediction(model_dir, "epsilon")
    with pytest.raises(ModelError, match="is for models that predict velocities; this one predicts epsilon"):
        load_model(str(model_dir), "none")
