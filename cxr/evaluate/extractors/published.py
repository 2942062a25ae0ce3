"""Extractors that others have published: where each one's file belongs, and how images are given to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cxr.evaluate.extractors import densenet, inception
from cxr.evaluate.extractors.extractor import Extractor
from cxr.folders.metadata import file_sha256
from cxr.images.pixels import from_uint8
from cxr.models.decisions import cache_folder
from cxr.request.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER_VARIABLE = "CXR_EXTRACTORS"
WEIGHTS = "model.safetensors"

Embed = Callable[[NDArray[np.uint8]], Tensor]


@dataclass(frozen=True)
class Published:
    """What a user has to know to put an extractor in place.

    Args:
        files: names in the extractor's folder, all needed.
        megabytes: of the weights, about.
        licence: of the weights.
        source: where they are published.
        size: side of the images it takes, in pixels.
        load: reads the folder.
    """

    files: tuple[str, ...]
    megabytes: int
    licence: str
    source: str
    size: int
    load: Callable[[Path], Embed]


def _rad_dino(folder: Path) -> Embed:
    from transformers import Dinov2Model

    network, normalise = _from_transformers(Dinov2Model, folder)
    return lambda pixels: network(pixel_values=normalise(pixels)).pooler_output


def _clip(folder: Path) -> Embed:
    from transformers import CLIPVisionModelWithProjection

    network, normalise = _from_transformers(CLIPVisionModelWithProjection, folder)
    # CMMD's kernel is made for length 1.
    return lambda pixels: functional.normalize(network(pixel_values=normalise(pixels)).image_embeds, eps=0.0)


def _from_transformers(
    kind: type[PreTrainedModel], folder: Path
) -> tuple[nn.Module, Callable[[NDArray[np.uint8]], Tensor]]:
    """A network, and what makes its input: [B, S, S] uint8 -> [B, 3, S, S], as the model's preprocessor says."""
    network = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    mean, deviation = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    return network, lambda pixels: ((from_uint8(pixels) + 1) / 2 - mean) / deviation


def _inception(folder: Path) -> Embed:
    network = _filled(inception.InceptionFeatures(), folder)
    return lambda pixels: network(from_uint8(pixels).expand(-1, 3, -1, -1))


def _xrv(folder: Path) -> Embed:
    network = _filled(densenet.DenseNetFeatures(), folder)
    return lambda pixels: network(from_uint8(pixels) * densenet.GREY_RANGE)


def _filled(network: nn.Module, folder: Path) -> nn.Module:
    """The network with the file's weights; a classifier in the file is not used, anything else must fit."""
    weights = load_file(folder / WEIGHTS)
    wanted = network.state_dict()
    missing = sorted(set(wanted) - set(weights) - {name for name in wanted if name.endswith("num_batches_tracked")})
    if missing:
        raise KeyError(f"{missing[0]} and {len(missing) - 1} more are missing")
    network.load_state_dict({name: weights.get(name, value) for name, value in wanted.items()})
    return network.eval()


SETTINGS = ("config.json", "preprocessor_config.json")
HUB = "on the Hugging Face Hub"
PUBLISHED = {
    "rad-dino": Published((*SETTINGS, WEIGHTS), 346, "MIT", f"the model microsoft/rad-dino {HUB}", 518, _rad_dino),
    "clip": Published(
        (*SETTINGS, WEIGHTS), 1712, "MIT", f"the model openai/clip-vit-large-patch14-336 {HUB}", 336, _clip
    ),
    "inception": Published(
        (WEIGHTS,),
        95,
        "Apache-2.0",
        "pt_inception-2015-12-05-6726825d.pth of the pytorch-fid releases, saved as safetensors",
        inception.SIZE,
        _inception,
    ),
    "xrv": Published(
        (WEIGHTS,),
        28,
        "Apache-2.0",
        "densenet121-res224-all of the torchxrayvision releases, its state_dict saved as safetensors",
        densenet.SIZE,
        _xrv,
    ),
}


def extractors_folder() -> Path:
    """Where users put published extractors, one folder for each."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else cache_folder() / "extractors"


def load_published(name: str, root: Path | None = None) -> Extractor:
    """Read a published extractor.

    Args:
        name: a key of `PUBLISHED`.
        root: holds one folder for each extractor; by default `extractors_folder`.
    Raises:
        DataError: a file is missing or holds something else; nothing is used in its place.
    """
    published = PUBLISHED[name]
    folder = (root or extractors_folder()) / name
    missing = [file for file in published.files if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"extractor {name} needs {folder / missing[0]}: {published.source} "
            f"({published.megabytes} MB, {published.licence}); or use the extractor small, which is always there"
        )
    try:
        embed = published.load(folder)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise DataError(f"{folder} does not hold the extractor {name}: {reason}") from error
    return Extractor(name, 1, file_sha256(folder / WEIGHTS), published.size, embed)
