"""Tiny random components of the very classes that ship, so that tests are real and still quick."""

# ruff: noqa: E402  whether libraries are there is asked before they are imported
from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

# Without pytest-xdist pytest would not even understand the options in pyproject.toml.
TEST_LIBRARIES = ("xdist", "datasets", "webdataset", "gdcm", "prdc", "hypothesis", "torch", "diffusers", "gradio")
if missing := [name for name in TEST_LIBRARIES if importlib.util.find_spec(name) is None]:
    sys.exit(f"the tests need {', '.join(missing)}: pip install -r requirements-test.txt && python -m pytest")

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when torch is imported

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel, UniPCMultistepScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cxr.dataset import make
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model

TINY_SIZE = 32  # pixels; latents are 4 x 4
TINY_WORDS = [
    *("a", "an", "the", "with", "of", "and", "no", "man", "woman", "year", "old", "view", "pa", "ap", "frontal"),
    *("lateral", "chest", "x", "ray", "xray", "normal", "pneumonia", "effusion", "cardiomegaly", "emphysema"),
    *("nodule", "mass", "infiltration", "atelectasis", "55", "60"),
]
TINY_RANK, TINY_ALPHA = 4, 12.0  # unequal on purpose: an alpha that gets lost then changes the picture


def _split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    while len(pieces) > 1:
        pairs = list(pairwise(pieces))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        pieces[at : at + 2] = ["".join(best)]
    return pieces


def save_tiny_tokenizer(folder: Path) -> None:
    """Write vocab.json and merges.txt of a CLIP tokenizer to which each of TINY_WORDS is one token."""
    # GPT-2's table of printable stand-ins for the 256 byte values.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + extra) for extra in range(256 - len(printable))]
    vocabulary = letters + [letter + "</w>" for letter in letters]
    ranks: dict[tuple[str, str], int] = {}
    for word in TINY_WORDS:
        pieces = _split(word, ranks)
        while len(pieces) > 1:
            ranks[(pieces[0], pieces[1])] = len(ranks)
            pieces[:2] = [pieces[0] + pieces[1]]
            vocabulary.append(pieces[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    table = {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}
    (folder / "vocab.json").write_text(json.dumps(table))
    merges = "\n".join(" ".join(pair) for pair in ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def build_tiny_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Random weights, always the same ones; the classes and the scheduler settings of the shipped model."""
    save_tiny_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=TINY_SIZE // 8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            sample_size=TINY_SIZE,
            scaling_factor=0.5,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = UniPCMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )


@pytest.fixture(scope="session", autouse=True)
def _float32() -> None:
    # Which dtype is faster is a property of the machine; tests want the same bytes everywhere.
    os.environ["CXR_DTYPE"] = "float32"
    os.environ.setdefault("CXR_ENGINE", "pytorch")  # CXR_ENGINE=openvino python -m pytest runs them by the other one


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder like `cxr/embedded`, with tiny random weights (float16 on disk) and 32 x 32 images."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline = build_tiny_pipeline(folder)
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    return folder


LORA_TARGETS = {"unet": ["to_q", "to_k", "to_v", "to_out.0"], "text_encoder": ["q_proj", "v_proj"]}


def write_lora(
    pipeline: StableDiffusionPipeline,
    folder: Path,
    *,
    rank: int,
    alpha: float,
    metadata: bool = True,
    parts: tuple[str, ...] = ("unet", "text_encoder"),
) -> Path:
    """Write a LoRA with non-zero weights for parts of the pipeline, which is left without one; returns the file."""
    saved: dict[str, Any] = {}
    noise = torch.Generator().manual_seed(1)
    for part in parts:
        component = getattr(pipeline, part)
        targets = LORA_TARGETS[part]
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)  # type: ignore[arg-type]  # any number
        component.add_adapter(config, "default")
        state = get_peft_model_state_dict(component, adapter_name="default")
        # A fresh LoRA has B = 0 and changes nothing; trained ones do not.
        saved[f"{part}_lora_layers"] = {k: torch.randn(v.shape, generator=noise) * 0.2 for k, v in state.items()}
        saved[f"{part}_lora_adapter_metadata"] = config.to_dict() if metadata else None
    pipeline.unload_lora_weights()
    StableDiffusionPipeline.save_lora_weights(folder, **saved)
    return folder / "pytorch_lora_weights.safetensors"


SaveLora = Callable[..., Path]


@pytest.fixture(scope="session")
def save_lora() -> SaveLora:
    """The function that writes a LoRA, for tests that need another one than `tiny_lora_dir`."""
    return write_lora


@pytest.fixture(scope="session")
def tiny_lora_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `lora_weights/clinical`: a non-zero LoRA with alpha (12) unlike its rank (4)."""
    folder = tmp_path_factory.mktemp("loras") / "tiny_lora"
    write_lora(StableDiffusionPipeline.from_pretrained(tiny_model_dir), folder, rank=TINY_RANK, alpha=TINY_ALPHA)
    card = {"name": "tiny_lora", "base_model": "tiny", "license": "CC0-1.0", "rank": 4, "lora_alpha": 12}
    (folder / "config.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Path, tiny_lora_dir: Path) -> LoadedModel:
    """The tiny base with its LoRA, ready to generate. Shared by all tests: do not change it."""
    return load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}")


@pytest.fixture(scope="session")
def tiny_base_model(tiny_model_dir: Path) -> LoadedModel:
    """The tiny base without any LoRA."""
    return load_model(str(tiny_model_dir), "none")


@pytest.fixture(scope="module")
def dataset_model(tiny_model_dir: Path) -> Iterator[LoadedModel]:
    """The tiny model, shared by all data sets of a module; most of a short run's time would go into loading it."""
    loaded = load_model(str(tiny_model_dir), "none", weight_dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "load_model", lambda *given, **options: loaded)
        yield loaded


@pytest.fixture
def load_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``datasets.load_dataset`` with a cache of its own and no way to the network."""
    import datasets

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield partial(datasets.load_dataset, cache_dir=str(tmp_path / "cache"))
    datasets.enable_progress_bars()
