"""One seed, one image: whatever the batch, order, neighbours, threads or interruptions."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import cxr.generate.micro_batches
from cxr.generate import encode_decode
from cxr.generate.images import generate, generate_each
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.preview import predicted_original, project_to_grey
from cxr.generate.recipes import recipe_for
from cxr.generate.sampling import Denoiser
from cxr.images.pixels import to_8_bits
from cxr.request.errors import GenerationError
from cxr.request.events import FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest

# Guided to the end, as the pipeline that it is compared with.
REQUEST = GenerationRequest("A 55-year-old man with pneumonia", seed=7, num_inference_steps=3, guidance_stop=1.0)


def images_of(request: GenerationRequest, model: LoadedModel) -> list[GeneratedImage]:
    events = list(generate(request, model))
    assert not [event for event in events if isinstance(event, FailedImage)]
    return [event for event in events if isinstance(event, GeneratedImage)]


def pixels_of(model: LoadedModel, **changes: Any) -> NDArray[np.uint8]:
    """The only image of REQUEST with some values changed."""
    (image,) = images_of(dataclasses.replace(REQUEST, **changes), model)
    assert image.pixels.dtype == np.uint8
    return image.pixels.astype(np.uint8, copy=False)


def pixels_of_pipeline(model: LoadedModel, **options: Any) -> NDArray[np.uint8]:
    """The image of REQUEST as StableDiffusionPipeline.__call__ makes it."""
    model.set_adapter_weight(1.0)
    options = {"guidance_scale": REQUEST.guidance_scale, "negative_prompt": "", **options}
    generator = torch.Generator().manual_seed(REQUEST.seed)
    images = model.pipeline(prompt=REQUEST.prompt, generator=generator, output_type="np", **options).images
    pixels: NDArray[np.uint8] = (images[0, :, :, 0] * 255).round().astype(np.uint8)
    return pixels


def test_image_k_of_a_batch_has_the_bytes_of_its_seed_alone(tiny_model: LoadedModel) -> None:
    batch = images_of(dataclasses.replace(REQUEST, num_images=4), tiny_model)
    assert [image.seed for image in batch] == [7, 8, 9, 10]
    assert [image.index for image in batch] == [0, 1, 2, 3]
    for image in reversed(batch):
        assert np.array_equal(pixels_of(tiny_model, seed=image.seed), image.pixels)
    assert len({image.pixels.tobytes() for image in batch}) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_fixed_micro_batch_makes_neighbours_and_count_irrelevant(
    count: int, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_model, "micro_batch_size", 3)
    batch = images_of(dataclasses.replace(REQUEST, num_images=count), tiny_model)
    assert [image.index for image in batch] == list(range(count))
    assert np.array_equal(batch[-1].pixels, pixels_of(tiny_model, seed=7 + count - 1))
    assert batch[0].recipe.micro_batch_size == 3


def test_micro_batches_agree_with_single_images_within_a_grey_level(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = pixels_of(tiny_model)
    monkeypatch.setattr(tiny_model, "micro_batch_size", 4)
    assert np.abs(alone.astype(int) - pixels_of(tiny_model)).max() <= 1


def test_progress_of_a_micro_batch_never_goes_back(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_model, "micro_batch_size", 2)
    events = generate(dataclasses.replace(REQUEST, num_images=3), tiny_model)
    fractions = [event.fraction for event in events if isinstance(event, StepProgress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_loop_gives_what_the_pipeline_gives(guidance_scale: float, steps: int, tiny_model: LoadedModel) -> None:
    ours = pixels_of(tiny_model, guidance_scale=guidance_scale, num_inference_steps=steps, negative_prompt="mass")
    options: dict[str, Any] = {"guidance_scale": guidance_scale, "num_inference_steps": steps}
    assert np.array_equal(ours, pixels_of_pipeline(tiny_model, **options, negative_prompt="mass"))


def test_a_prompt_of_the_greatest_length_gives_what_the_pipeline_gives(tiny_model: LoadedModel) -> None:
    ours = pixels_of(tiny_model, negative_prompt="zebra " * 333)
    theirs = pixels_of_pipeline(tiny_model, negative_prompt="zebra " * 333, num_inference_steps=3)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("steps", [61, 100])
def test_odd_and_large_step_counts_work(steps: int, tiny_model_dir: Path, tiny_lora_dir: Path) -> None:
    """At 61 trailing steps diffusers' scheduler takes 62, by a rounding error."""
    # Over so many steps another engine's last bits become grey levels.
    tiny_model = load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}", engine="pytorch")
    events = list(generate(dataclasses.replace(REQUEST, num_inference_steps=steps), tiny_model, preview_every=1))
    assert isinstance(events[-1], GeneratedImage)
    progress = [event for event in events if isinstance(event, StepProgress)]
    assert len(progress) == (62 if steps == 61 else steps)
    assert progress[-1].fraction == 1.0
    assert np.array_equal(events[-1].pixels, pixels_of_pipeline(tiny_model, num_inference_steps=steps))


def test_each_value_of_the_request_reaches_the_image(tiny_model: LoadedModel) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"prompt": "normal chest x-ray"},
        {"negative_prompt": "effusion"},
        {"seed": 8},
        {"num_inference_steps": 4},
        {"guidance_scale": 5.0},
        {"adapter_weight": 0.5},
        {"guidance_stop": 0.5},
    ]
    assert len({pixels_of(tiny_model, **change).tobytes() for change in changes}) == len(changes)


def test_guidance_that_never_begins_is_no_guidance(tiny_model: LoadedModel) -> None:
    never = pixels_of(tiny_model, guidance_scale=5.0, guidance_stop=0.0)
    assert np.array_equal(never, pixels_of(tiny_model, guidance_scale=1.0))


def test_guidance_ends_after_its_share_of_the_steps(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, predict = [], tiny_model.predict

    def watch(sample: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(sample))
        return predict(sample, *rest)

    monkeypatch.setattr(tiny_model, "predict", watch)
    (image,) = images_of(dataclasses.replace(REQUEST, num_inference_steps=5, guidance_stop=0.5), tiny_model)
    assert sizes == [2, 2, 2, 1, 1]
    assert image.recipe.guidance_stop == 0.5


def test_adapter_weight_zero_is_the_base_model_exactly(tiny_model: LoadedModel, tiny_base_model: LoadedModel) -> None:
    base = pixels_of(tiny_base_model)
    adapted = pixels_of(tiny_model)
    assert not np.array_equal(adapted, base)
    assert np.array_equal(pixels_of(tiny_model, adapter_weight=0.0), base)
    assert np.array_equal(pixels_of(tiny_model), adapted)  # and back again
    assert np.array_equal(pixels_of(tiny_base_model, adapter_weight=2.0), base)


def test_loading_and_unloading_restores_the_images(
    tiny_model_dir: Path, tiny_lora_dir: Path, tiny_model: LoadedModel
) -> None:
    model = load_model(str(tiny_model_dir), "none")
    base = pixels_of(model)
    model.load_adapter(tiny_lora_dir)
    assert np.array_equal(pixels_of(model), pixels_of(tiny_model))
    model.load_adapter(())
    assert np.array_equal(pixels_of(model), base)


def test_alpha_scales_the_image(tiny_model_dir: Path, tmp_path: Path, save_lora: Callable[..., Path]) -> None:
    """The same matrices with alpha 12 at rank 4 are three times as strong as without an alpha in the file."""
    model = load_model(str(tiny_model_dir), "none")
    with_alpha = save_lora(model.pipeline, tmp_path / "with", rank=4, alpha=12.0)
    without_alpha = save_lora(model.pipeline, tmp_path / "without", rank=4, alpha=12.0, metadata=False)
    model.load_adapter(with_alpha)
    strong, weak = pixels_of(model, adapter_weight=0.5), pixels_of(model, adapter_weight=0.25)
    model.load_adapter(without_alpha)
    assert np.array_equal(pixels_of(model, adapter_weight=1.5), strong)
    assert np.array_equal(pixels_of(model, adapter_weight=0.75), weak)


def test_the_recipe_makes_the_image_again(tiny_model: LoadedModel) -> None:
    (image,) = images_of(dataclasses.replace(REQUEST, adapter_weight=0.5), tiny_model)
    recipe = image.recipe
    assert recipe == recipe_for(dataclasses.replace(REQUEST, adapter_weight=0.5), tiny_model, 7)
    assert (recipe.model, recipe.adapter, recipe.adapter_weight) == ("tiny", "tiny_lora", 0.5)
    assert (recipe.width, recipe.height) == image.pixels.shape[::-1] == (32, 32)
    assert recipe.library_versions["torch"] == torch.__version__
    assert np.array_equal(images_of(recipe.request_from(), tiny_model)[0].pixels, image.pixels)


def test_without_a_lora_the_recipe_has_no_adapter_weight(tiny_base_model: LoadedModel) -> None:
    assert recipe_for(REQUEST, tiny_base_model, 7).adapter_weight == 0.0


@pytest.mark.parametrize("stop_after", [1, 4, 6])
def test_stop_acts_within_one_step_and_keeps_finished_images(stop_after: int, tiny_model: LoadedModel) -> None:
    stop, steps, images = threading.Event(), 0, 0
    for event in generate(dataclasses.replace(REQUEST, num_images=4), tiny_model, stop=stop):
        steps += isinstance(event, StepProgress)
        images += isinstance(event, GeneratedImage)
        if steps == stop_after:
            stop.set()
    assert steps == stop_after
    assert images == stop_after // 3  # an image whose steps are all done is still given
    assert not tiny_model.lock.locked()


def test_stop_ends_the_wait_for_a_busy_model(tiny_model: LoadedModel) -> None:
    stop = threading.Event()
    with tiny_model.lock:
        threading.Timer(0.1, stop.set).start()
        assert list(generate(REQUEST, tiny_model, stop=stop)) == []


def test_closing_the_iterator_frees_the_model(tiny_model: LoadedModel) -> None:
    events = generate(REQUEST, tiny_model)
    assert isinstance(next(iter(events)), StepProgress)
    assert tiny_model.lock.locked()
    events.close()  # type: ignore[attr-defined]
    assert not tiny_model.lock.locked()
    assert len(images_of(REQUEST, tiny_model)) == 1


def test_an_error_inside_frees_the_model(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxr.generate.micro_batches, "decode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(generate(REQUEST, tiny_model))
    assert not tiny_model.lock.locked()


def test_threads_that_share_a_model_get_their_own_images(tiny_model: LoadedModel) -> None:
    seeds = [3, 30, 300, 3_000]
    expected = {seed: pixels_of(tiny_model, seed=seed, adapter_weight=seed % 4 / 2) for seed in seeds}
    found: dict[int, NDArray[np.uint8]] = {}

    def work(seed: int) -> None:
        found[seed] = pixels_of(tiny_model, seed=seed, adapter_weight=seed % 4 / 2)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in seeds:
        assert np.array_equal(found[seed], expected[seed])


def test_steps_may_come_from_different_threads(tiny_model: LoadedModel) -> None:
    """A web page pulls each item of an iterator from whichever worker thread is free."""
    events, items = generate(REQUEST, tiny_model), []

    def pull() -> None:
        items.append(next(iter(events), None))

    while not items or items[-1] is not None:
        thread = threading.Thread(target=pull)
        thread.start()
        thread.join()
    assert np.array_equal(items[-2].pixels, pixels_of(tiny_model))  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_reported_and_the_other_images_are_made(
    value: float, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Denoiser.step
    calls = iter(range(100))

    def step(self: Any, timestep: torch.Tensor) -> None:
        original(self, timestep)
        if next(calls) == 4:  # the second step of the second image
            self.latents = torch.full_like(self.latents, value)

    monkeypatch.setattr(Denoiser, "step", step)
    events = list(generate(dataclasses.replace(REQUEST, num_images=3), tiny_model))
    results = [event for event in events if not isinstance(event, StepProgress)]
    assert [type(result) for result in results] == [GeneratedImage, FailedImage, GeneratedImage]
    assert isinstance(results[1], FailedImage)
    assert (results[1].index, results[1].seed) == (1, 8)
    assert "NaN" in results[1].reason


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_flat_pictures_are_failures(value: float, tiny_model_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none")
    output = model.pipeline.vae.decoder.conv_out
    with torch.no_grad():
        output.weight.zero_()
        output.bias.fill_(value)
    (failure,) = [event for event in generate(REQUEST, model) if not isinstance(event, StepProgress)]
    assert isinstance(failure, FailedImage)
    assert "empty" in failure.reason


def test_a_failure_in_a_smaller_format_is_tried_again_in_float32(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_DTYPE", "bfloat16")
    model = load_model(str(tiny_model_dir), "none")
    assert images_of(REQUEST, model)[0].recipe.weight_dtype == "bfloat16"
    original = Denoiser.step

    def overflow(self: Any, timestep: torch.Tensor) -> None:
        original(self, timestep)
        if self.model.pipeline.unet.dtype == torch.bfloat16:
            self.latents = torch.full_like(self.latents, float("inf"))

    monkeypatch.setattr(Denoiser, "step", overflow)
    weights = {name: value.clone() for name, value in model.pipeline.unet.state_dict().items()}
    (image,) = images_of(REQUEST, model)
    assert image.recipe.weight_dtype == "float32"
    assert all(torch.equal(value, weights[name]) for name, value in model.pipeline.unet.state_dict().items())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_sentence_and_frees_the_model(
    error: Exception, tiny_base_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, timestep: torch.Tensor) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Denoiser, "step", full)
        with pytest.raises(GenerationError, match="too little free memory"):
            images_of(REQUEST, tiny_base_model)
    assert len(images_of(REQUEST, tiny_base_model)) == 1


def test_bfloat16_is_close_to_float32(
    tiny_model_dir: Path, tiny_base_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_DTYPE", "bfloat16")
    found = pixels_of(load_model(str(tiny_model_dir), "none")).astype(int)
    assert np.abs(found - pixels_of(tiny_base_model)).mean() < 3


def test_progress_counts_steps_and_time(tiny_model: LoadedModel) -> None:
    events = list(generate(dataclasses.replace(REQUEST, num_images=2), tiny_model))
    progress = [event for event in events if isinstance(event, StepProgress)]
    assert [(event.image_index, event.step) for event in progress] == [(i, s) for i in (0, 1) for s in (1, 2, 3)]
    assert all(event.remaining_s is not None and event.remaining_s >= 0 for event in progress)
    assert progress[-1].remaining_s == 0
    assert [event.elapsed_s for event in progress] == sorted(event.elapsed_s for event in progress)
    assert all(event.preview is None for event in progress)


def test_previews_come_when_asked_for_and_do_not_change_the_image(tiny_model: LoadedModel) -> None:
    events = list(generate(dataclasses.replace(REQUEST, num_inference_steps=4), tiny_model, preview_every=2))
    previews = [event.preview for event in events if isinstance(event, StepProgress)]
    assert [preview is not None for preview in previews] == [False, True, False, True]
    assert previews[1] is not None
    assert previews[1].dtype == np.uint8
    assert previews[1].shape == (16, 16)
    image = events[-1]
    assert isinstance(image, GeneratedImage)
    assert np.array_equal(image.pixels, pixels_of(tiny_model, num_inference_steps=4))


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon", "sample"])
def test_the_expected_end_is_exact_for_a_perfect_model(prediction_type: str) -> None:
    original, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    alpha_cumprod = torch.tensor(0.3)
    signal, spread = alpha_cumprod.sqrt(), (1 - alpha_cumprod).sqrt()
    outputs = {"v_prediction": signal * noise - spread * original, "epsilon": noise, "sample": original}
    noisy = signal * original + spread * noise
    found = predicted_original(noisy, outputs[prediction_type], alpha_cumprod, prediction_type)
    assert torch.allclose(found, original, atol=1e-5)


def test_a_projection_weighs_the_channels() -> None:
    latents = torch.zeros(1, 4, 4, 4)
    latents[:, 2] = 0.5
    assert (project_to_grey(latents, ((0.0, 0.0, 1.0, 0.0), -0.5)) == 128).all()
    assert (project_to_grey(latents, ((0.0, 0.0, 2.0, 0.0), 0.0)) == 255).all()
    assert project_to_grey(latents.fill_(float("nan")), None).shape == (16, 16)


def test_long_prompts_are_cut_and_still_make_an_image(tiny_model: LoadedModel) -> None:
    kept = "normal " * 75
    assert np.array_equal(pixels_of(tiny_model, prompt=kept), pixels_of(tiny_model, prompt=kept + "mass"))
    assert np.array_equal(pixels_of(tiny_model, prompt=kept + "mass"), pixels_of(tiny_model, prompt=kept + "effusion"))


def test_generate_is_lazy(tiny_model: LoadedModel) -> None:
    events: Iterator[object] = generate(REQUEST, tiny_model)
    assert not tiny_model.lock.locked()
    del events


# -- images of different prompts, and of 16 bits


def test_prompts_share_a_micro_batch_and_no_image_depends_on_its_neighbours(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_model, "micro_batch_size", 3)
    requests = [
        dataclasses.replace(REQUEST, prompt=prompt, seed=seed)
        for prompt, seed in (("effusion", 3), ("normal chest x-ray", 9), ("effusion", 4), ("pneumothorax", 3))
    ]
    together = [event for event in generate_each(requests, tiny_model) if isinstance(event, GeneratedImage)]
    turned = [event for event in generate_each(requests[::-1], tiny_model) if isinstance(event, GeneratedImage)]
    assert [image.index for image in together] == [0, 1, 2, 3]
    for request, image, other in zip(requests, together, turned[::-1], strict=True):
        (alone,) = images_of(request, tiny_model)
        assert np.array_equal(image.pixels, alone.pixels)
        assert np.array_equal(image.pixels, other.pixels)
        assert image.recipe == alone.recipe
    assert len({image.pixels.tobytes() for image in together}) == 4


def test_a_text_is_encoded_once(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, encoder = [], tiny_model.pipeline.text_encoder
    forward = encoder.forward

    def count(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return forward(*arguments, **options)

    monkeypatch.setattr(encoder, "forward", count)
    tiny_model.embeddings.clear()
    for seed in range(3):
        images_of(dataclasses.replace(REQUEST, num_inference_steps=1, seed=seed), tiny_model)
    assert len(calls) == 2  # the prompt and the empty negative one
    monkeypatch.setattr(encode_decode, "MAX_KNOWN_TEXTS", 2)
    for number in range(5):
        images_of(dataclasses.replace(REQUEST, num_inference_steps=1, prompt=f"age {number}"), tiny_model)
    assert len(tiny_model.embeddings) == 2


def test_16_bits_say_more_than_8_and_the_same(tiny_model: LoadedModel) -> None:
    (deep,) = images_of(dataclasses.replace(REQUEST, bit_depth=16), tiny_model)
    assert deep.pixels.dtype == np.uint16
    assert deep.recipe.bit_depth == 16
    shallow = pixels_of(tiny_model)
    assert np.abs(to_8_bits(deep.pixels).astype(int) - shallow).max() <= 1
    assert len(np.unique(deep.pixels)) > 1.5 * len(np.unique(shallow))
    assert np.array_equal(pixels_of(tiny_model), shallow), "the VAE is back in its own format"
