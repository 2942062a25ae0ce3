"""Which files of weights are taken from a repository: one variant, whole or in checked pieces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_fixtures import hub as hub
from hub_server import HubServer
from tiny_families import BUILDERS, save_tiny

from cxr.generate.images import generate
from cxr.generate.model import load_model
from cxr.models.families import FAMILIES
from cxr.models.hub.download import download_model
from cxr.models.model_folder import check_files, read_pipeline
from cxr.models.presets import find_preset
from cxr.request.errors import HubError, ModelError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

REPO = "someone/tiny"


def weights(hub: HubServer) -> set[str]:
    return {path for path in hub.downloads() if path.endswith(".safetensors")}


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_the_smaller_variant_is_taken_where_all_parts_have_it(family: str, hub: HubServer, tmp_path: Path) -> None:
    save_tiny(family, tmp_path, variant="fp16")
    repo = hub.add_folder(REPO, save_tiny(family, tmp_path / "again"))
    plain = {name for name in repo.files if name.endswith(".safetensors")}
    hub.repos[REPO].files |= {
        path.relative_to(tmp_path / family).as_posix(): path.read_bytes()
        for path in (tmp_path / family).rglob("*.safetensors")
    }
    folder = download_model(find_preset(REPO), variant="fp16")
    smaller = {name.replace(".safetensors", ".fp16.safetensors") for name in plain}
    assert folder.variant == "fp16"
    assert {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.safetensors")} == smaller
    read_pipeline(folder, check_files(folder), torch.device("cpu"))
    assert download_model(find_preset(REPO)).variant is None
    found = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.safetensors")}
    assert found == smaller | plain
    del repo.files["vae/diffusion_pytorch_model.fp16.safetensors"]
    assert download_model(find_preset(REPO), variant="fp16").variant is None


@pytest.mark.parametrize("family", sorted(BUILDERS))
@pytest.mark.slow
def test_pieces_are_fetched_as_their_list_says(family: str, hub: HubServer, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path, max_shard_size="4KB")
    repo = hub.add_folder(REPO, folder)
    network = FAMILIES[family].network
    repo.files[f"{network}/diffusion_pytorch_model-00099-of-00099.safetensors"] = b"not on the list"
    request = GenerationRequest("A 55 year old man", num_inference_steps=1)
    there, here = (
        event.pixels
        for model in (REPO, str(folder))
        for event in generate(request, load_model(model))
        if isinstance(event, GeneratedImage)
    )
    assert np.array_equal(there, here)
    assert len(weights(hub)) > len(FAMILIES[family].weighted)
    assert f"{network}/diffusion_pytorch_model-00099-of-00099.safetensors" not in weights(hub)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../../../etc/passwd.safetensors", "names a file that is not a plain"),
        ("/etc/passwd.safetensors", "names a file that is not a plain"),
        ("sub/x.safetensors", "names a file that is not a plain"),
        ("x.bin", "names a file that is not a plain"),
        ("elsewhere.safetensors", "is not among the files of commit"),
    ],
)
def test_a_list_that_leads_elsewhere_is_refused(name: str, message: str, hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add_folder(REPO, save_tiny("StableDiffusionPipeline", tmp_path, max_shard_size="4KB"))
    (file,) = (path for path in repo.files if path.startswith("unet/") and path.endswith(".index.json"))
    listed = json.loads(repo.files[file])
    first = next(iter(listed["weight_map"]))
    repo.files[file] = json.dumps(listed | {"weight_map": listed["weight_map"] | {first: name}}).encode()
    with pytest.raises((HubError, ModelError), match=message):
        load_model(REPO)
    assert not weights(hub)
