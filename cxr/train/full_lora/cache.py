"""Latents and text embeddings, computed once and kept on disk, so that VAE and text encoders can leave the memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cxr.images.atomic import write_whole
from cxr.images.pixels import from_uint8
from cxr.images.squares import read_squares
from cxr.models.batch_size import free_memory
from cxr.models.devices import shared_state
from cxr.train.full_lora.base_model import BaseModel
from cxr.train.full_lora.components import TextEncoders, load_vae
from cxr.train.full_lora.data import CaptionedImage

SHARD_ROWS = 256
IMAGES_AT_ONCE, TEXTS_AT_ONCE = 1, 16

Rows = dict[str, Tensor]


class RowCache:
    """Named tensors with one row each for a number of things, in files of `SHARD_ROWS` rows.

    Files are whole or not there; one that belongs to other weights or other data is made again.

    Args:
        folder: where the files are.
        num_rows: of how many things.
        identity: JSON-able facts on which the rows depend.
    """

    def __init__(self, folder: Path, num_rows: int, identity: object) -> None:
        self.folder, self.num_rows = folder, num_rows
        self.key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._open: dict[int, safe_open] = {}

    def missing(self) -> list[int]:
        """Numbers of the files that have to be made."""
        return [number for number in range(-(-self.num_rows // SHARD_ROWS)) if not self._is_there(number)]

    def fill(self, load: Callable[[], Callable[[range], Rows]], at_once: int) -> None:
        """Make the files that are missing, shared among the processes of this run.

        Args:
            load: reads the networks, only where a file is missing; they leave the memory again. Gives what computes
                the rows of a range of things.
            at_once: how many things that is asked for together.
        """
        state = shared_state()
        mine = [number for number in self.missing() if number % state.num_processes == state.process_index]
        if mine:
            make = load()
            for number in mine:
                rows = range(number * SHARD_ROWS, min((number + 1) * SHARD_ROWS, self.num_rows))
                parts = [make(rows[start : start + at_once]) for start in range(0, len(rows), at_once)]
                tensors = {name: torch.cat([part[name] for part in parts]).half().contiguous() for name in parts[0]}
                write_whole(self._path(number), save(tensors, metadata={"key": self.key}))
            del make
            free_memory()
        state.wait_for_everyone()

    def rows(self, indices: Sequence[int]) -> Rows:
        """The rows of some things, in their order, float32; read from disk each time."""
        found = [self._row(index) for index in indices]
        # Autocast to bfloat16 on a CPU cannot join float16.
        return {name: torch.cat([row[name].float() for row in found]) for name in found[0]}

    def _row(self, index: int) -> Rows:
        number, place = divmod(index, SHARD_ROWS)
        if number not in self._open:
            self._open[number] = safe_open(self._path(number), framework="pt")
        file = self._open[number]
        return {name: file.get_slice(name)[place : place + 1] for name in file.keys()}  # noqa: SIM118  no mapping

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05}.safetensors"

    def _is_there(self, number: int) -> bool:
        try:
            with safe_open(self._path(number), framework="pt") as file:
                return (file.metadata() or {}).get("key") == self.key
        except (OSError, SafetensorError):
            return False


def cache_latents(
    folder: Path, base: BaseModel, images: Sequence[CaptionedImage], resolution: int, device: torch.device, data: str
) -> RowCache:
    """Latents of images: "latents" [1, C, h, w] a row, times ``scaling_factor``; the means of the VAE's distributions.

    Args:
        folder: where to keep them.
        base: whose VAE to use.
        images: of any size; they are fitted into squares, black beside, and never mirrored: the heart has a side.
        resolution: side of the squares in pixels.
        device: where to compute.
        data: fingerprint of the images.
    """

    def load() -> Callable[[range], Rows]:
        vae = load_vae(base, device)

        @torch.no_grad()
        def encode(rows: range) -> Rows:
            squares = from_uint8(read_squares([images[row].path for row in rows], resolution))
            pixels = squares.expand(-1, vae.config.in_channels, -1, -1).to(device)
            return {"latents": (vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor).cpu()}

        return encode

    cache = RowCache(folder, len(images), [base.hashes["vae"], resolution, data])
    cache.fill(load, IMAGES_AT_ONCE)
    return cache


def cache_texts(folder: Path, base: BaseModel, texts: Sequence[str], device: torch.device) -> tuple[RowCache, int]:
    """Embeddings of texts as `TextEncoders.encode` gives them, and how many texts are cut at the token limit now.

    Args:
        folder: where to keep them; the texts themselves are not kept.
        base: whose text encoders to use.
        texts: each once.
        device: where to compute.
    """
    num_cut = 0

    def load() -> Callable[[range], Rows]:
        nonlocal num_cut
        encoders = TextEncoders(base, device)
        num_cut = encoders.count_cut(texts)
        return lambda rows: encoders.encode([texts[row] for row in rows])

    cache = RowCache(folder, len(texts), [*(base.hashes[part] for part in base.text_parts), list(texts)])
    cache.fill(load, TEXTS_AT_ONCE)
    return cache, num_cut
