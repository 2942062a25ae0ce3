"""The size of micro-batches: measured, given, and halved when memory runs out."""

import dataclasses
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cxr.generate.model
from cxr.dataset.job_start import new_beginning
from cxr.dataset.make import Options, load_as_begun
from cxr.dataset.plan import Plan
from cxr.dataset.reproduce import Reproducer
from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.generate.recipes import recipe_for
from cxr.models import batch_size
from cxr.models.batch_size import (
    Trial,
    choose_micro_batch_size,
    decode_zeros,
    fastest_batch_size,
    is_out_of_memory,
    try_batch,
)
from cxr.models.devices import run_step
from cxr.request.errors import GenerationError, ModelError
from cxr.request.events import FailedImage, GeneratedImage, StepProgress
from cxr.request.generation_request import GenerationRequest

REQUEST = GenerationRequest("A 55-year-old man with pneumonia", seed=7, num_inference_steps=3, num_images=6)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(name="model")
def _model(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setattr(tiny_model, "micro_batch_size", 4)
    return tiny_model


def run_out(model: LoadedModel, patch: pytest.MonkeyPatch, fails: Callable[[int, int], bool], error: type) -> list[int]:
    """Let the UNet run out of memory where ``fails(call, batch)`` says so; returns the sizes that it is called with."""
    sizes: list[int] = []
    predict = model.predict  # by whichever engine

    def watch(sample: torch.Tensor, *rest: Any, **options: Any) -> Any:
        sizes.append(len(sample))
        if fails(len(sizes), len(sample)):
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return predict(sample, *rest, **options)

    patch.setattr(model, "predict", watch)
    return sizes


def images_of(model: LoadedModel, request: GenerationRequest = REQUEST) -> list[GeneratedImage]:
    events = list(generate(request, model))
    assert not [event for event in events if isinstance(event, FailedImage)]
    return [event for event in events if isinstance(event, GeneratedImage)]


# -- choosing


def work_of(model: LoadedModel) -> tuple[Callable[[int], object], Callable[[int], object]]:
    """A step and a decoding of as many images."""
    unet, vae = model.pipeline.unet, model.pipeline.vae
    return partial(run_step, unet), partial(decode_zeros, vae, unet.config.sample_size)


def trials(rates: dict[int, float], bytes_per_image: int = 1) -> Callable[[int], Trial]:
    """Images per second of each size; a size that is not named runs out of memory."""

    def run(size: int) -> Trial:
        if size not in rates:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Trial(size / rates[size], size * bytes_per_image)

    return run


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({1: 10, 2: 18, 4: 30, 8: 40, 16: 45}, 16),
        ({1: 10, 2: 18, 4: 30, 8: 31, 16: 31.4}, 4),  # gains of less than 5 % pay for nothing
        ({1: 10, 2: 18, 4: 30, 8: 20, 16: 40}, 16),  # a size that falls behind does not hide the next one
        ({1: 10, 2: 9, 4: 8, 8: 7, 16: 6}, 1),
        ({1: 10, 2: 18, 4: 30}, 4),  # 8 runs out of memory
        ({}, 1),  # so does 1, and the first image will say so
    ],
)
def test_the_fastest_size_wins(rates: dict[int, float], expected: int) -> None:
    assert fastest_batch_size(trials(rates)) == expected


def test_sizes_beyond_the_free_memory_are_not_tried() -> None:
    tried = []

    def run(size: int) -> Trial:
        tried.append(size)
        return Trial(1.0, size * 100)

    assert fastest_batch_size(run, free_bytes=500) == 4
    assert tried == [1, 2, 4]


def test_another_error_of_the_probe_is_not_hidden() -> None:
    def run(size: int) -> Trial:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        fastest_batch_size(run)


def test_a_trial_runs_unet_and_vae_and_counts_all_steps(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1.0, 0.5])
    monkeypatch.setattr(batch_size, "best_seconds", lambda works, device: (works[0](), [next(times)])[1])
    steps = GenerationRequest.num_inference_steps
    assert try_batch(3, CPU, *work_of(tiny_model)) == Trial(steps * 1.0 + 0.5, 0)
    monkeypatch.undo()
    assert try_batch(2, CPU, *work_of(tiny_model)).seconds > 0


@pytest.mark.parametrize("zero_gpu", [False, True])
def test_a_gpu_is_measured_and_zero_gpu_is_not(
    zero_gpu: bool, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXR_BATCH_SIZE", raising=False)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true" if zero_gpu else "")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 200))
    monkeypatch.setattr(batch_size, "try_batch", lambda size, *_: Trial(1.0, 11 * size))
    assert choose_micro_batch_size(CUDA, *work_of(tiny_model)) == (4 if zero_gpu else 8)
    assert choose_micro_batch_size(CPU, *work_of(tiny_model)) == 1


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_the_variable_fixes_the_size(
    device: torch.device, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_BATCH_SIZE", "3")
    assert choose_micro_batch_size(device, *work_of(tiny_model)) == 3


@pytest.mark.parametrize("value", ["0", "65", "-1", "two", "1.5", "9" * 5000])
def test_a_wrong_variable_is_one_sentence(value: str, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_BATCH_SIZE", value)
    with pytest.raises(ModelError, match="use a whole number from 1 to 64"):
        choose_micro_batch_size(CPU, *work_of(tiny_model))


def test_a_loaded_model_has_the_given_size_without_measuring(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr.generate.model, "choose_micro_batch_size", lambda *_: pytest.fail("measured"))
    model = load_model(str(tiny_model_dir), "none", micro_batch_size=2)
    assert images_of(model)[0].recipe.micro_batch_size == 2


def test_a_job_goes_on_with_the_size_that_it_began_with(tiny_model_dir: Path, tiny_base_model: LoadedModel) -> None:
    options = Options(model=str(tiny_model_dir), adapter="none", num_threads=torch.get_num_threads())
    plan = Plan("test", (), {})
    begun = dataclasses.replace(new_beginning(plan, options, tiny_base_model), micro_batch_size=3)
    assert load_as_begun(options, begun).micro_batch_size == 3
    assert load_as_begun(options, None).micro_batch_size == 1


@pytest.mark.parametrize(("device", "expected"), [("cpu", 2), ("cuda", 1)])
def test_an_image_is_made_again_with_the_size_of_its_recipe(
    device: str, expected: int, tiny_model_dir: Path, tiny_base_model: LoadedModel
) -> None:
    recipe = recipe_for(REQUEST, tiny_base_model, 7)
    recipe = dataclasses.replace(recipe, micro_batch_size=2, device=device)
    assert Reproducer(str(tiny_model_dir), "none")._load(recipe).micro_batch_size == expected


# -- out of memory


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
@pytest.mark.parametrize("call", [1, 2, 3, 4, 6])
def test_halved_batches_lose_and_double_no_image(
    call: int, error: type, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six images by four: the second batch begins with the fourth call."""
    with monkeypatch.context() as patch:
        sizes = run_out(model, patch, lambda number, size: number == call, error)
        found = images_of(model)
    assert [image.index for image in found] == list(range(6))
    assert [image.seed for image in found] == list(REQUEST.seeds)
    first_batch = 2 if call <= 3 else 4
    assert [image.recipe.micro_batch_size for image in found] == [first_batch] * 4 + [2] * 2
    assert set(sizes) <= {8, 4, 2}
    assert model.micro_batch_size == 4, "the next request tries again"
    for image in found:
        again = load_again(model, image)
        assert np.array_equal(again.pixels, image.pixels)
        assert again.recipe == image.recipe


def load_again(model: LoadedModel, image: GeneratedImage) -> GeneratedImage:
    """The image made from its own recipe, alone."""
    before, model.micro_batch_size = model.micro_batch_size, image.recipe.micro_batch_size
    try:
        return images_of(model, dataclasses.replace(REQUEST, seed=image.seed, num_images=1))[0]
    finally:
        model.micro_batch_size = before


def test_batches_are_halved_down_to_one(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        run_out(model, patch, lambda number, size: size > 2, torch.OutOfMemoryError)  # 2 is one guided image
        found = images_of(model)
    assert [image.recipe.micro_batch_size for image in found] == [1] * 6
    monkeypatch.setattr(model, "micro_batch_size", 1)
    assert [image.pixels.tobytes() for image in images_of(model)] == [image.pixels.tobytes() for image in found]


def test_too_little_for_one_image_is_one_sentence_and_keeps_what_was_given(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    with monkeypatch.context() as patch:
        sizes = run_out(model, patch, lambda number, size: number > 3, torch.OutOfMemoryError)
        with pytest.raises(GenerationError, match="too little free memory for one image; close what else uses it"):
            collect(model, given)
    images = [event for event in given if isinstance(event, GeneratedImage)]
    assert [image.index for image in images] == [0, 1, 2, 3]
    assert sizes[3:] == [8, 4, 2]
    assert not model.lock.locked()
    assert len(images_of(model)) == 6, "the pipeline works as before"


def collect(model: LoadedModel, given: list[object]) -> None:
    for event in generate(REQUEST, model):
        given.append(event)


def test_out_of_memory_while_decoding_halves_too(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, calls = model.pipeline.vae.decode, []

    def full(latents: torch.Tensor, **options: Any) -> Any:
        calls.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(latents, **options)

    monkeypatch.setattr(model.pipeline.vae, "decode", full)
    assert [image.recipe.micro_batch_size for image in images_of(model)] == [1] * 6
    assert calls == [4, 2, 1, 1, 1, 1, 1, 1]


def test_tensors_of_a_failed_batch_are_gone_before_the_next_try(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would fill the memory that the smaller batch needs."""
    inputs: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def full(sample: torch.Tensor, *_: Any, **__: Any) -> Any:
        inputs.append(weakref.ref(sample))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "predict", full)
    monkeypatch.setattr(
        "cxr.generate.micro_batches.free_memory", lambda: alive.append(sum(ref() is not None for ref in inputs))
    )
    with pytest.raises(GenerationError, match="too little free memory"):
        images_of(model)
    assert len(inputs) == 3
    assert alive == [0, 0]


def test_stop_still_ends_a_halved_run(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    run_out(model, monkeypatch, lambda number, size: number == 1, torch.OutOfMemoryError)
    events = generate(REQUEST, model)
    assert isinstance(next(events), StepProgress)
    events.close()  # type: ignore[attr-defined]
    assert not model.lock.locked()


def test_other_errors_are_not_taken_for_missing_memory(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(model, "predict", broken)
    with pytest.raises(RuntimeError, match="do not fit"):
        images_of(model)
    assert not model.lock.locked()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("could not execute a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution forward propagation"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


@pytest.mark.gpu
def test_the_probe_measures_memory_on_a_gpu(tiny_model: LoadedModel) -> None:
    trial = try_batch(2, CUDA, *work_of(tiny_model))
    assert trial.seconds > 0
    assert trial.peak_bytes > 0
