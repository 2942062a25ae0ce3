"""Every architecture gives what diffusers' own pipeline gives."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from conftest import SaveLora
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_families import BUILDERS, save_tiny
from tiny_model import TINY_WORDS

from cxr.generate.encode_decode import encode
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.noise import initial_latents
from cxr.generate.sampling import Denoiser
from cxr.models.families.folder_check import ModelFolder
from cxr.models.model_folder import check_files, read_pipeline
from cxr.request.errors import AdapterError, ModelError
from cxr.request.events import GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest

PROMPT, STEPS = "A 55 year old man with pneumonia", 4


@pytest.fixture(name="folder_of", scope="module")
def _folder_of(tmp_path_factory: pytest.TempPathFactory) -> object:
    return cache(lambda family: save_tiny(family, tmp_path_factory.mktemp("families")))


@pytest.fixture(name="folder", params=sorted(BUILDERS))
def _folder(request: pytest.FixtureRequest, folder_of: object) -> Path:
    return folder_of(request.param)  # type: ignore[operator,no-any-return]


def pixels_of(model: LoadedModel, **options: object) -> list[NDArray[np.uint8]]:
    settings = {"seed": 5, "num_inference_steps": STEPS, "guidance_stop": 1.0} | options
    events = generate(GenerationRequest(PROMPT, **settings), model)  # type: ignore[arg-type]
    return [event.pixels.astype(np.uint8) for event in events if isinstance(event, GeneratedImage)]


@pytest.mark.parametrize("guidance_scale", [1.0, 4.5])
@pytest.mark.parametrize("negative_prompt", ["", "effusion"])
@pytest.mark.slow
def test_the_images_are_those_of_the_diffusers_pipeline(
    folder: Path, guidance_scale: float, negative_prompt: str
) -> None:
    reference = getattr(diffusers, folder.name).from_pretrained(folder)
    model = load_model(str(folder))
    assert model.family.name == folder.name
    network = model.network.config
    latents = initial_latents([5], (network.in_channels, network.sample_size, network.sample_size))
    options: dict[str, object] = {"use_resolution_binning": False} if model.family.network == "transformer" else {}
    if negative_prompt or "XL" not in folder.name:
        options["negative_prompt"] = negative_prompt
    (expected,) = reference(
        PROMPT,
        latents=latents,
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        height=model.info.resolution,
        width=model.info.resolution,
        output_type="np",
        **options,
    ).images
    (found,) = pixels_of(model, guidance_scale=guidance_scale, negative_prompt=negative_prompt)
    # Its colours are clamped one by one, ours together: where one is at its limit the two mean something else.
    inside = ((expected > 0) & (expected < 1)).all(axis=-1)
    assert inside.mean() > 0.5
    grey = (expected.mean(axis=-1) * 255).round()
    assert found.shape == (model.info.resolution,) * 2
    assert np.abs(found - grey)[inside].max() <= 1


def test_an_image_depends_on_its_seed_and_its_text_alone(folder: Path) -> None:
    model = load_model(str(folder))
    first, second = pixels_of(model, num_images=2, guidance_scale=4.0)
    (alone,) = pixels_of(model, seed=6, guidance_scale=4.0)
    assert np.array_equal(second, alone)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, pixels_of(model, guidance_scale=4.0, negative_prompt="mass")[0])


def test_a_micro_batch_gives_what_single_images_give(folder: Path) -> None:
    model = load_model(str(folder))
    alone = pixels_of(model, num_images=3, guidance_scale=4.0, guidance_stop=0.5)
    model.micro_batch_size = 2
    together = pixels_of(model, num_images=3, guidance_scale=4.0, guidance_stop=0.5)
    assert np.abs(np.stack(alone).astype(int) - np.stack(together)).max() <= 1


def test_previews_come_closer_to_the_end(folder: Path) -> None:
    model = load_model(str(folder))
    text = encode(model, PROMPT, "", 4.0)
    denoiser = Denoiser(model, [text], (4.0, 1.0), [5], STEPS)
    for timestep in denoiser.timesteps:
        denoiser.step(timestep)
        assert denoiser.preview().ndim == 2
    last = denoiser.latents
    prediction = denoiser.predicted()
    assert float((prediction - last).abs().max()) < 0.2 * float(last.abs().max())
    events = generate(GenerationRequest(PROMPT, num_inference_steps=2), model, preview_every=1)
    assert all(event.preview is not None for event in events if isinstance(event, StepProgress))


def test_a_smaller_format_and_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DTYPE", "bfloat16")
    model = load_model(str(folder))
    assert model.info.weight_dtype == "bfloat16"
    assert next(model.network.parameters()).dtype == torch.bfloat16
    with model.in_float32():
        assert next(model.network.parameters()).dtype == torch.float32
    assert pixels_of(model)


@pytest.mark.parametrize("options", [{"max_shard_size": "4KB"}, {"variant": "fp16"}])
def test_shards_are_read_and_a_missing_one_is_named(folder: Path, options: dict[str, str], tmp_path: Path) -> None:
    saved = save_tiny(folder.name, tmp_path, **options)
    if "variant" in options:
        with pytest.raises(ModelError, match=r"incomplete: \w+/\w+\.safetensors is missing"):
            load_model(str(saved))
        return
    assert np.array_equal(pixels_of(load_model(str(saved)))[0], pixels_of(load_model(str(folder)))[0])
    (index,) = (saved / load_model(str(saved)).family.network).glob("*.index.json")
    listed = json.loads(index.read_text())
    name = next(iter(listed["weight_map"]))
    (saved / index.parent.name / listed["weight_map"][name]).rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(
        ModelError, match=r"incomplete: \w+/diffusion_pytorch_model-0\d+-of-0\d+.safetensors is missing"
    ):
        load_model(str(saved))
    for bad in (
        "../../elsewhere.safetensors",
        str(tmp_path / "elsewhere.safetensors"),
        "weights.bin",
        5,
        "a\n.safetensors",
    ):
        index.write_text(json.dumps(listed | {"weight_map": listed["weight_map"] | {name: bad}}))
        with pytest.raises(ModelError, match=r"names a file that is not a plain \.safetensors name"):
            load_model(str(saved))


def test_an_autoencoder_from_before_its_attention_was_renamed_is_complete(folder_of: object, tmp_path: Path) -> None:
    """stable-diffusion-v1-4 has such a file; diffusers translates the names while it reads them."""
    saved = save_tiny("StableDiffusionPipeline", tmp_path)
    file = saved / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(file)
    for new_name, old_name in old.items():
        tensors = {key.replace(f".{new_name}.", f".{old_name}."): value for key, value in tensors.items()}
    assert any(".proj_attn." in key for key in tensors)
    save_file(tensors, file)
    same = load_model(str(folder_of("StableDiffusionPipeline")))  # type: ignore[operator]
    assert np.array_equal(pixels_of(load_model(str(saved)))[0], pixels_of(same)[0])


def test_a_text_encoder_that_was_saved_as_a_part_of_a_larger_model_is_complete(
    folder_of: object, tmp_path: Path
) -> None:
    saved = save_tiny("SanaPipeline", tmp_path)
    file = saved / "text_encoder" / "model.safetensors"
    save_file({f"model.{key}": value for key, value in load_file(file).items()}, file, {"format": "pt"})
    same = load_model(str(folder_of("SanaPipeline")))  # type: ignore[operator]
    assert np.array_equal(pixels_of(load_model(str(saved)))[0], pixels_of(same)[0])


@pytest.fixture(name="with_spiece")
def _with_spiece(tmp_path: Path) -> Path:
    """PixArt-Sigma as it lies on the Hub: with a SentencePiece tokenizer and no tokenizer.json."""
    folder = save_tiny("PixArtSigmaPipeline", tmp_path)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "spiece.model").write_bytes(b"")
    return folder


def test_without_sentencepiece_it_says_what_to_install(with_spiece: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="SentencePiece tokenizer; to read it, pip install sentencepiece protobuf"):
        load_model(str(with_spiece))


def test_a_sentencepiece_tokenizer_is_read(with_spiece: Path, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(TINY_WORDS)] * 20),
        model_prefix=str(tmp_path / "tiny"),
        vocab_size=40,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    (tmp_path / "tiny.model").replace(with_spiece / "tokenizer" / "spiece.model")
    assert pixels_of(load_model(str(with_spiece)))


def test_text_encoders_that_are_too_large_are_half_as_large_on_a_gpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getattr(diffusers, folder.name), "to", lambda self, device: self)  # there is no GPU here
    model = ModelFolder("tiny", folder)
    family = check_files(model)
    pipeline = read_pipeline(model, family, torch.device("cuda"))
    assert {getattr(pipeline, name).dtype for name in family.text_encoders} == {family.cuda_text_dtype}
    assert next(getattr(pipeline, family.network).parameters()).dtype == pipeline.vae.dtype == torch.float32


def test_sdxl_takes_a_lora_and_a_transformer_refuses_one_of_a_unet(
    folder_of: object, save_lora: SaveLora, tmp_path: Path
) -> None:
    folder = folder_of("StableDiffusionXLPipeline")  # type: ignore[operator]
    model = load_model(str(folder))
    plain = pixels_of(model)[0]
    file = save_lora(model.pipeline, tmp_path, rank=2, alpha=3.0, parts=("unet",))
    model.load_adapter(file)
    adapted = pixels_of(model)[0]
    assert not np.array_equal(adapted, plain)
    assert np.array_equal(pixels_of(model, adapter_weight=0.0)[0], plain)
    with pytest.raises(AdapterError, match="another model"):
        load_model(str(folder_of("SanaPipeline"))).load_adapter(file)  # type: ignore[operator]
