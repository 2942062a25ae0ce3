"""What all tests share; libraries are imported where needed, for the main process of pytest-xdist needs none."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import io
import json
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from live_page import LivePage

    from cxr.generate.loaded_model import LoadedModel
    from cxr.web.jobs.model_choice import ModelChoice

# Without pytest-xdist pytest would not even understand the options in pyproject.toml.
TEST_LIBRARIES = ("xdist", "datasets", "webdataset", "gdcm", "prdc", "hypothesis", "torch", "diffusers", "gradio")
if missing := [name for name in TEST_LIBRARIES if importlib.util.find_spec(name) is None]:
    sys.exit(f"the tests need {', '.join(missing)}: pip install -r requirements-test.txt && python -m pytest")

# Both are read once, when torch is imported. Processes that run side by side would take turns on threads of their own.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among what is imported: there is none, and looking takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()  # nor later
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _float32() -> Iterator[None]:
    # Which dtype is faster is a property of the machine; tests want the same bytes everywhere, and no time for timing.
    os.environ["CXR_DTYPE"] = "float32"
    os.environ.setdefault("CXR_ENGINE", "pytorch")  # CXR_ENGINE=openvino python -m pytest runs them by the other one
    from cxr.train import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_native_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder like `cxr/embedded`, with tiny random weights (float16 on disk) and 32 x 32 images."""
    import torch
    from tiny_model import build_tiny_pipeline

    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline = build_tiny_pipeline(folder)
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    return folder


SaveLora = Callable[..., Path]


@pytest.fixture(scope="session")
def save_lora() -> SaveLora:
    """The function that writes a LoRA, for tests that need another one than `tiny_lora_dir`."""
    from tiny_model import write_lora

    return write_lora


@pytest.fixture(scope="session")
def tiny_lora_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `lora_weights/clinical`: a non-zero LoRA with alpha (12) unlike its rank (4)."""
    from diffusers import StableDiffusionPipeline
    from tiny_model import TINY_ALPHA, TINY_RANK, write_lora

    folder = tmp_path_factory.mktemp("loras") / "tiny_lora"
    write_lora(StableDiffusionPipeline.from_pretrained(tiny_model_dir), folder, rank=TINY_RANK, alpha=TINY_ALPHA)
    card = {"name": "tiny_lora", "base_model": "tiny", "license": "CC0-1.0", "rank": 4, "lora_alpha": 12}
    (folder / "config.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Path, tiny_lora_dir: Path) -> LoadedModel:
    """The tiny base with its LoRA, ready to generate. Shared by all tests: do not change it."""
    from cxr.generate.model import load_model

    return load_model(str(tiny_model_dir), f"local:{tiny_lora_dir}")


@pytest.fixture(scope="session")
def tiny_base_model(tiny_model_dir: Path) -> LoadedModel:
    """The tiny base without any LoRA."""
    from cxr.generate.model import load_model

    return load_model(str(tiny_model_dir), "none")


@pytest.fixture
def choice(tiny_model_dir: Path) -> ModelChoice:
    """The tiny base without any LoRA, as the page is started with it."""
    from cxr.web.jobs.model_choice import ModelChoice

    return ModelChoice(str(tiny_model_dir), "none")


@pytest.fixture
def private_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page writes lies in the test's own folder."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def without_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of strangers are read in this process: starting a child takes half a second, and has tests of its own."""
    from cxr.request.errors import CxrError

    def read(module: str, arguments: Sequence[str], *, label: str, error: type[CxrError], **options: Any) -> bytes:
        monkeypatch.setattr(sys, "stdin", io.StringIO(options.get("stdin", b"").decode()))
        try:
            content: bytes = importlib.import_module(module).main(arguments)
        except CxrError as refusal:
            raise error(f"{label} {refusal.without_path}") from refusal
        return content

    for module in ("folders.foreign_image", "images.init_picture", "lora.from_pickle", "provenance.traces"):
        monkeypatch.setattr(f"cxr.{module}.run_limited", read)


@pytest.fixture(scope="module")
def dataset_model(tiny_model_dir: Path) -> Iterator[LoadedModel]:
    """The tiny model, shared by all data sets of a module; most of a short run's time would go into loading it."""
    from cxr.dataset import make
    from cxr.generate.model import load_model

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


@pytest.fixture(scope="session")
def _pages() -> Iterator[dict[str, LivePage]]:
    """Pages that several files of tests ask, by name; started when they are first needed."""
    pages: dict[str, LivePage] = {}
    yield pages
    for page in pages.values():
        page.close()


@pytest.fixture(scope="module")
def tiny_page(_pages: dict[str, LivePage], tiny_model_dir: Path, tmp_path_factory: Any) -> Iterator[LivePage]:
    """The page with the tiny base, for requests of at most a million pixel-steps. Do not change it: it is shared."""
    from cxr.web.jobs.model_choice import ModelChoice
    from cxr.web.server.limits import Limits

    arguments = ModelChoice(str(tiny_model_dir), "none"), Limits(pixel_steps=1)
    yield from _shared(_pages, "tiny", tmp_path_factory, *arguments)


@pytest.fixture(scope="module")
def empty_page(_pages: dict[str, LivePage], tmp_path_factory: Any) -> Iterator[LivePage]:
    """The page without any model, which refuses nobody for a full queue. Do not change it: it is shared."""
    from cxr.web.jobs.model_choice import ModelChoice
    from cxr.web.server.limits import Limits

    yield from _shared(_pages, "empty", tmp_path_factory, ModelChoice("nowhere"), Limits(queue=1_000))


def _shared(pages: dict[str, LivePage], name: str, tmp_path_factory: Any, *arguments: Any) -> Iterator[LivePage]:
    from live_page import LivePage, environment_of

    if name not in pages:
        with environment_of(tmp_path_factory.mktemp("gradio")):
            pages[name] = LivePage(*arguments)
    with environment_of(pages[name].temp):
        yield pages[name]
