"""ZeroGPU, played by a module of its name: which functions borrow a GPU, for how long, and when the model is loaded."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import math
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxr.folders import archive
from cxr.generate.images import generate
from cxr.generate.model import load_model
from cxr.models.batch_size import ZERO_GPU_BATCH_SIZE
from cxr.models.preset_table import PRESETS
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest
from cxr.web.jobs import image_job, package, spaces_gpu
from cxr.web.jobs.ahead_of_time import COMPILE_S, compile_ahead
from cxr.web.jobs.image_job import generate_on_gpu, make_images
from cxr.web.jobs.job import Job
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.jobs.spaces_gpu import MAX_SECONDS, START_S, STEP_S, gpu_seconds, on_gpu, place_model

pytestmark = pytest.mark.usefixtures("private_temp_folder")

ROOT = Path(__file__).parents[1]


class FakeSpaces(ModuleType):
    """Like the real one it asks the duration function with the arguments of the call, and passes generators on."""

    def __init__(self) -> None:
        super().__init__("spaces")
        self.log: list[Any] = []

    def GPU(self, *, duration: Callable[..., int]) -> Callable[..., Any]:  # noqa: N802  its name there
        def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
            self.log.append("decorated")

            def call(*arguments: Any, **options: Any) -> Iterator[Any]:
                self.log.append(duration(*arguments, **options))
                try:
                    yield from task(*arguments, **options)
                finally:
                    self.log.append("given back")

            return call

        return decorate


@pytest.fixture(name="spaces")
def _spaces(monkeypatch: pytest.MonkeyPatch) -> FakeSpaces:
    fake = FakeSpaces()
    monkeypatch.setitem(sys.modules, "spaces", fake)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(spaces_gpu, "borrowers", [])
    spaces_gpu.lend_gpu.cache_clear()
    return fake


@pytest.fixture(name="choice")
def _choice(tiny_model_dir: Path, tiny_lora_dir: Path) -> ModelChoice:
    return ModelChoice(str(tiny_model_dir), f"local:{tiny_lora_dir}")


def request_of(**values: Any) -> GenerationRequest:
    return GenerationRequest("normal chest x-ray", **values)


def test_the_duration_function_takes_what_the_decorated_one_takes() -> None:
    decorated = inspect.signature(generate_on_gpu).parameters
    assert list(inspect.signature(gpu_seconds).parameters.values()) == list(decorated.values())
    assert inspect.isgeneratorfunction(inspect.unwrap(generate_on_gpu))


def test_the_duration_grows_with_images_steps_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = ModelChoice()
    base = gpu_seconds(request_of(), choice)
    assert START_S < base < MAX_SECONDS
    assert gpu_seconds(request_of(num_images=16), choice) > base
    assert gpu_seconds(request_of(num_inference_steps=50), choice) > base
    assert gpu_seconds(request_of(num_images=ZERO_GPU_BATCH_SIZE), choice) == base, "batches are filled up"
    large = dataclasses.replace(PRESETS["embedded"], resolution=1024)
    monkeypatch.setattr(spaces_gpu, "find_preset", lambda model: large)
    assert gpu_seconds(request_of(), choice) > base
    assert gpu_seconds(request_of(num_images=64, num_inference_steps=100), choice) == MAX_SECONDS


def test_a_folder_of_unknown_size_counts_as_the_usual_one(choice: ModelChoice) -> None:
    steps = ZERO_GPU_BATCH_SIZE * request_of().num_inference_steps
    assert gpu_seconds(request_of(), choice) == math.ceil(START_S + steps * STEP_S)


def test_a_job_borrows_the_gpu_for_its_images_only(
    spaces: FakeSpaces, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = archive.write_zip

    def write_zip(*given: Any) -> Any:
        spaces.log.append("packed")
        return real(*given)

    monkeypatch.setattr(package, "write_zip", write_zip)
    monkeypatch.setattr(image_job, "generate_on_gpu", on_gpu(inspect.unwrap(generate_on_gpu)))
    request = request_of(num_images=2, num_inference_steps=2)
    *_, last = make_images(request, choice, Job(None))
    assert (last.stage, len(last.images)) == ("finished", 2)
    assert spaces.log == ["decorated", gpu_seconds(request, choice), "given back", "packed"]
    list(make_images(request, choice, Job(None)))
    assert spaces.log.count("decorated") == 1


def test_leaving_a_job_gives_the_gpu_back(
    spaces: FakeSpaces, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_job, "generate_on_gpu", on_gpu(inspect.unwrap(generate_on_gpu)))
    states = make_images(request_of(num_images=4), choice, Job(None))
    for state in states:
        if state.progress is not None:
            break
    states.close()
    assert spaces.log[-1] == "given back"


def test_without_the_package_the_function_runs_here(
    spaces: FakeSpaces, choice: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)  # importing it then fails
    generate = on_gpu(inspect.unwrap(generate_on_gpu))
    events = list(generate(request_of(num_inference_steps=1), choice))
    assert isinstance(events[-1], GeneratedImage)


def test_app_places_the_model_on_zero_gpu_only(spaces: FakeSpaces, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    model = SimpleNamespace(info=SimpleNamespace(engine="pytorch"))

    def load(*given: Any) -> Any:
        loaded.append(given)
        return model

    monkeypatch.setattr("cxr.generate.model.get_model", load)
    monkeypatch.setattr("cxr.web.server.launch.prepare_environment", lambda: spaces.log.append("environment"))
    monkeypatch.setenv("CXR_ADAPTER", "none")
    on_gpu(lambda request, choice: iter(()))
    runpy.run_path(str(ROOT / "app.py"), run_name="app")
    assert loaded == [("embedded", "none")]
    assert spaces.log == ["environment", "decorated"]
    monkeypatch.delenv("SPACES_ZERO_GPU")
    loaded.clear()
    runpy.run_path(str(ROOT / "app.py"), run_name="app")
    assert not loaded


def test_a_model_that_cannot_be_placed_is_told_and_the_page_comes_up(
    spaces: FakeSpaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place_model(ModelChoice(str(tmp_path / "nowhere"), "none"))
    assert "nowhere' is unknown" in capsys.readouterr().err


class FakeCompiler(FakeSpaces):
    """Its compiled code is the network's own, with weights bound once, as real packages have none."""

    def aoti_capture(self, module: Any) -> Any:
        @contextlib.contextmanager
        def capture() -> Iterator[Any]:
            call = SimpleNamespace()

            def note(_: Any, arguments: Any, options: Any) -> None:
                call.args, call.kwargs = arguments, options

            handle = module.register_forward_pre_hook(note, with_kwargs=True)
            yield call
            handle.remove()

        return capture()

    def GPU(self, *, duration: Any) -> Callable[..., Any]:  # noqa: N802  its name there
        self.log.append(duration)
        return lambda task: task

    def aoti_compile(self, exported: Any) -> Any:
        return exported

    def aoti_apply(self, compiled: Any, module: Any) -> None:
        self.log.append("bound")
        bound = copy.deepcopy(module)
        module.forward = lambda *arguments, **options: type(module).forward(bound, *arguments, **options)


def test_what_is_compiled_ahead_gives_the_same_images(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_ENGINE", "pytorch")  # as on a GPU
    fake, request = FakeCompiler(), request_of(num_inference_steps=4, guidance_scale=3.0, guidance_stop=0.5)
    plain = load_model(choice.model, choice.adapter, micro_batch_size=2)
    ahead = load_model(choice.model, choice.adapter, micro_batch_size=2)
    compile_ahead(ahead, fake)
    for weight in (1.0, 0.5, 0.0, 1.0):  # another weight of the LoRA is another network
        one = dataclasses.replace(request, adapter_weight=weight)
        images = [
            [event.pixels for event in generate(one, model) if isinstance(event, GeneratedImage)]
            for model in (plain, ahead)
        ]
        assert np.array_equal(images[0], images[1])
    assert fake.log == [COMPILE_S, *["bound"] * 4]


def test_a_space_compiles_only_where_it_is_asked_to(choice: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    fake = FakeCompiler()
    monkeypatch.setitem(sys.modules, "spaces", fake)
    for wanted, log in (("0", []), ("1", [COMPILE_S])):
        monkeypatch.setenv("CXR_COMPILE", wanted)
        monkeypatch.setattr("cxr.generate.model.models_in_memory", {})
        monkeypatch.setattr(spaces_gpu, "borrowers", [])
        place_model(choice)
        assert fake.log == log
