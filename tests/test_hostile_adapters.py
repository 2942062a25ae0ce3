"""Hostile LoRA files: each is refused at once, in little memory, and the model stays as it is, bit by bit."""

import contextlib
import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hostile_adapters import GOOD, HOSTILE

from cxr.generate.images import generate
from cxr.generate.loaded_model import LoadedModel
from cxr.lora.find import describe_adapter
from cxr.request.errors import AdapterError
from cxr.request.events import GeneratedImage
from cxr.request.generation_request import GenerationRequest

MAX_S, MAX_GROWTH_BYTES = 3.0, 100 * 10**6
WEIGHTS = "pytorch_lora_weights.safetensors"
ROOT = Path(__file__).resolve().parent.parent

# One process reads all files; before each, Linux is told to count the largest resident memory from here on.
MEASURE = """
import json, sys, time
from pathlib import Path
from cxr.lora.find import describe_adapter
from cxr.request.errors import AdapterError

def memory(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024

for path in json.load(sys.stdin):
    Path("/proc/self/clear_refs").write_text("5")
    before, began = memory("VmRSS"), time.process_time()
    try:
        describe_adapter(Path(path))
        said = "accepted"
    except AdapterError as error:
        said = "refused"
    print(json.dumps([path, said, time.process_time() - began, memory("VmHWM") - before]))
"""


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All hostile files, each in a folder of its own."""
    root = tmp_path_factory.mktemp("hostile")
    files = {}
    for number, (name, hostile) in enumerate(HOSTILE.items()):
        (root / str(number)).mkdir()
        files[name] = root / str(number) / WEIGHTS
        hostile.make(files[name])
    return files


def state_sha256(model: LoadedModel) -> str:
    """Of every weight, with its name, in the networks of the pipeline."""
    digest = hashlib.sha256()
    for part in ("unet", "text_encoder", "vae"):
        for name, value in getattr(model.pipeline, part).state_dict().items():
            digest.update(f"{part}.{name}{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def image_bytes(model: LoadedModel) -> bytes:
    events = list(generate(GenerationRequest("normal chest x-ray", num_inference_steps=2), model))
    (image,) = (event for event in events if isinstance(event, GeneratedImage))
    return image.pixels.tobytes()


def test_the_corpus_is_large() -> None:
    assert len(HOSTILE) >= 120
    assert sum(hostile.reaches_model for hostile in HOSTILE.values()) >= 10


def test_the_file_that_the_hostile_ones_are_made_of_is_good(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(GOOD)
    assert describe_adapter(tmp_path / WEIGHTS).rank == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_and_the_model_is_unchanged(
    name: str, files: dict[str, Path], tiny_base_model: LoadedModel
) -> None:
    hostile, model = HOSTILE[name], tiny_base_model
    image = image_bytes(model) if hostile.reaches_model else b""
    before = state_sha256(model)
    began = time.process_time()  # the machine may have other work
    with pytest.raises(AdapterError, match=hostile.message) as caught:
        model.load_adapter(files[name])
    assert time.process_time() - began < MAX_S
    message = str(caught.value)
    assert len(message) < 500
    assert message.isprintable()
    assert str(files[name].parent) not in message
    assert state_sha256(model) == before
    assert model.info.adapter == "none"
    assert not hostile.reaches_model or image_bytes(model) == image


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is measured through /proc")
def test_hostile_files_take_little_memory(files: dict[str, Path]) -> None:
    asked = json.dumps([str(path) for path in files.values()])
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE], input=asked, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    measured = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(measured) == len(HOSTILE)
    names = {str(path): name for name, path in files.items()}
    for path, said, elapsed_s, growth in measured:
        assert said == "refused" or HOSTILE[names[path]].reaches_model, names[path]
        assert elapsed_s < MAX_S, names[path]
        assert growth < MAX_GROWTH_BYTES, f"{names[path]}: {growth:,} bytes"


def mutate(good: bytes, choose: random.Random) -> bytes:
    """One to four changes of bytes or blocks, most of them in the header."""
    content = bytearray(good)
    end = 8 + int.from_bytes(good[:8], "little")
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(min(end, len(content)) if choose.random() < 0.8 else len(content)) if content else 0
        length = choose.choice((1, 1, 1, 2, 8, 50))
        kind = choose.randrange(5)
        if kind == 0:
            content[at : at + length] = choose.randbytes(length)
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length]
        elif kind == 3:
            content[at : at + 1] = choose.choice((b"{", b"}", b"[", b"]", b'"', b"-", b"9", b"0", b".", b",", b"\xff"))
        else:
            del content[choose.randrange(len(content) + 1) :]
    return bytes(content)


def fuzz(folder: Path, seconds: float, seed: int) -> tuple[int, int]:
    """Numbers of mutants tried and accepted; anything but AdapterError ends it."""
    choose, path = random.Random(seed), folder / WEIGHTS
    tried = accepted = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        path.write_bytes(mutate(GOOD, choose))
        with contextlib.suppress(AdapterError):
            describe_adapter(path)
            accepted += 1
        tried += 1
    return tried, accepted


def test_mutants_are_refused_or_harmless(tmp_path: Path) -> None:
    tried, accepted = fuzz(tmp_path, 1.0, seed=0)
    assert accepted < tried


@pytest.mark.slow
def test_a_minute_of_mutants(tmp_path: Path) -> None:
    tried, accepted = fuzz(tmp_path, 60.0, seed=time.time_ns())
    assert 0 < accepted < tried
    assert tried > 10_000
