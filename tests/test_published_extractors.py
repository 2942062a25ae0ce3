"""Published extractors: the networks' shapes, and reading their files, on stand-ins with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

from cxr.evaluate.extractors import registry
from cxr.evaluate.extractors.densenet import DenseNetFeatures
from cxr.evaluate.extractors.extractor import Extractor, embed
from cxr.evaluate.extractors.inception import InceptionFeatures
from cxr.evaluate.extractors.published import PUBLISHED, load_published
from cxr.request.errors import DataError, RequestError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each extractor, as a user would lay them out."""
    root = tmp_path_factory.mktemp("extractors")
    torch.manual_seed(0)
    dino = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=518, patch_size=14)
    Dinov2Model(dino).save_pretrained(root / "rad-dino")
    clip = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=336,
        projection_dim=24,
    )
    CLIPVisionModelWithProjection(clip).save_pretrained(root / "clip")
    settings = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3}
    for name in ("rad-dino", "clip"):
        (root / name / "preprocessor_config.json").write_text(json.dumps(settings))
    for name, network in (("inception", InceptionFeatures()), ("xrv", DenseNetFeatures())):
        (root / name).mkdir()
        save_file(network.state_dict(), root / name / "model.safetensors")
    return root


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (InceptionFeatures, 23_834_568 - 1000 * 2049),  # the published network without its classifier
        (DenseNetFeatures, 7_978_856 - 1000 * 1025 - 2 * 64 * 7 * 7),  # and with one channel instead of three
    ],
)
def test_networks_are_as_large_as_the_published_ones(network: type[nn.Module], count: int) -> None:
    assert sum(weights.numel() for weights in network().parameters()) == count


@pytest.mark.parametrize(("name", "width"), [("rad-dino", 32), ("clip", 24), ("inception", 2048), ("xrv", 1024)])
def test_images_become_features(root: Path, name: str, width: int) -> None:
    extractor = load_published(name, root)
    pixels = np.random.default_rng(0).integers(0, 256, (2, extractor.size, extractor.size), np.uint8)
    features = embed(pixels, extractor)
    assert features.shape == (2, width)
    assert not np.array_equal(features[0], features[1])
    assert np.isfinite(features).all()
    assert len(extractor.weights_sha256) == 64


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_missing_extractor_says_what_to_get_and_where_to_put_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"extractor {name} needs {tmp_path / name}.* MB, .*use the extractor small"):
        load_published(name, tmp_path)


def test_a_file_of_another_network_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "xrv").mkdir()
    (tmp_path / "xrv" / "model.safetensors").write_bytes((root / "inception" / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match="does not hold the extractor xrv: features"):
        load_published("xrv", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04not safe", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "inception").mkdir()
    (tmp_path / "inception" / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="does not hold the extractor inception"):
        load_published("inception", tmp_path)


def test_other_packages_can_add_extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Extractor("mine", 1, "0" * 64, 8, lambda pixels: torch.zeros(len(pixels), 2))
    point = SimpleNamespace(name="mine", load=lambda: lambda: mine)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.PLUGINS else [])
    small, added = registry.load_extractors(["small", "mine", "mine"])
    assert (small.name, added) == ("small", mine)
    with pytest.raises(RequestError, match=r"is not one of small, .*, mine"):
        registry.load_extractors(["other"])
