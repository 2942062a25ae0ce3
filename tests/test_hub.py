"""The real download code against a local server that speaks the Hub's protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hub_fixtures import hub as hub
from hub_server import HubServer, Repo

from cxr.errors import HubError, HubUnreachableError, ModelError
from cxr.generate import generate
from cxr.hub.models import download_model
from cxr.models import load_model
from cxr.presets import Preset, find_preset
from cxr.schema import GeneratedImage, GenerationRequest

REPO = "someone/tiny"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(name="repo")
def _repo(hub: HubServer, tiny_model_dir: Path) -> Repo:
    return hub.add_folder(REPO, tiny_model_dir)


def test_a_model_of_the_hub_makes_the_images_of_the_same_folder(
    hub: HubServer, repo: Repo, tiny_model_dir: Path
) -> None:
    there, here = load_model(REPO, "none"), load_model(str(tiny_model_dir), "none")
    assert there.info.model == REPO
    assert there.info.model_revision == f"hub:{REPO}@{repo.commit}"
    request = GenerationRequest("normal chest x-ray", seed=3, num_inference_steps=2)
    images = [
        event.pixels.tobytes()
        for model in (there, here)
        for event in generate(request, model)
        if isinstance(event, GeneratedImage)
    ]
    assert len(images) == 2
    assert images[0] == images[1]
