"""Other ways to make the same images: each from the same weights, with the LoRA merged into them."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import inspect
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin, PNDMScheduler

from cxr.bench.roofline import call_diffusers
from cxr.bench.rounds import PROMPT, last_line
from cxr.generate.loaded_model import LoadedModel
from cxr.images.guarded import reason_of
from cxr.models.devices import cast_weights
from cxr.models.families import FAMILIES
from cxr.models.model_folder import no_progress_bars
from cxr.request.errors import GenerationError
from cxr.request.generation_request import GenerationRequest

EQUAL = "diffusers, same steps and format"
DEFAULTS = "diffusers' defaults"
ONNX_RUNTIME, OPTIMUM = "ONNX Runtime", "optimum-intel"
PEER_SCRIPT = Path(__file__).with_name("optimum_peer.py")
ABSENT = {
    ONNX_RUNTIME: "not installed here; pip install onnxruntime onnx",
    OPTIMUM: "make an environment of its own with pip install optimum-intel nncf diffusers, as it wants another "
    "transformers, then --peer-python PATH",
}


@dataclass(frozen=True)
class Peer:
    """One way to make the images of the bench's prompt.

    Args:
        make: makes a number of images at once.
        is_slow: timed at the smallest number of images only.
        detail: settings or version.
    """

    name: str
    make: Callable[[int], object]
    is_slow: bool = False
    detail: str = ""


@contextmanager
def peers_of(loaded: LoadedModel, peer_python: str | None) -> Iterator[tuple[list[Peer], dict[str, str]]]:
    """All that can run here, and why the others cannot, by name.

    Args:
        loaded: whose weights they get; what they hold is given back at the end.
        peer_python: interpreter of an environment with optimum-intel, or None.
    Raises:
        GenerationError: that interpreter cannot run it.
    """
    absent = dict(ABSENT)
    plain = plain_pipeline(loaded, torch.float32)
    equal = plain if loaded.weight_dtype == torch.float32 else plain_pipeline(loaded, loaded.weight_dtype)
    peers = [Peer(EQUAL, partial(call_equal, equal), detail=loaded.info.weight_dtype), default_peer(plain)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if type(plain).__name__ != "StableDiffusionPipeline":
            absent[ONNX_RUNTIME] = "for StableDiffusionPipeline only"
        elif importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
            from cxr.bench.onnx_peer import onnx_networks

            unet, vae = onnx_networks(plain, Path(folder))
            pipeline = rebuilt(plain, unet=unet, vae=vae)
            version = importlib.metadata.version("onnxruntime")
            peers.append(
                Peer(ONNX_RUNTIME, partial(call_equal, pipeline), detail=f"{version} in diffusers' loop, float32")
            )
            del absent[ONNX_RUNTIME]
        if peer_python:
            with no_progress_bars():
                plain.save_pretrained(Path(folder) / "model")
            process = stack.enter_context(_Process(peer_python, Path(folder) / "model"))
            peers.append(Peer(OPTIMUM, process.make, detail=process.detail))
            del absent[OPTIMUM]
        yield peers, absent


def plain_pipeline(loaded: LoadedModel, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline as diffusers itself would have it: its layout and loop, the LoRA as part of the weights.

    Args:
        loaded: is copied.
    """
    pipeline = rebuilt(copy.deepcopy(loaded.pipeline))
    if loaded.adapter:
        pipeline.unload_lora_weights()  # the layers, which are switched off; their product stays in the weights
    for name in loaded.family.weighted:
        cast_weights(getattr(pipeline, name), dtype, torch.contiguous_format)
    return pipeline


def rebuilt(pipeline: DiffusionPipeline, **components: ModelMixin) -> DiffusionPipeline:
    """Another pipeline of the same networks, with other components in the place of some; it draws no bar."""
    left_out = FAMILIES[type(pipeline).__name__].left_out
    other = type(pipeline)(**{**pipeline.components, **left_out, **components})
    other.set_progress_bar_config(disable=True)
    return other


def call_equal(pipeline: DiffusionPipeline, num_images: int) -> None:
    """Make images with the steps and the guidance that are this program's defaults; every step is guided."""
    request = GenerationRequest(PROMPT, num_images=num_images)
    call_diffusers(pipeline, request.num_inference_steps, request.guidance_scale, request.seeds)


def default_peer(plain: DiffusionPipeline) -> Peer:
    """What diffusers does by default, in float32; with PNDM, the scheduler of Stable Diffusion 1.

    Args:
        plain: pipeline in float32.
    """
    pipeline = rebuilt(plain)
    if type(plain).__name__ == "StableDiffusionPipeline":
        pipeline.scheduler = PNDMScheduler.from_config(plain.scheduler.config, skip_prk_steps=True)
    said = inspect.signature(pipeline.__call__).parameters
    steps, guidance_scale = (said[name].default for name in ("num_inference_steps", "guidance_scale"))
    scheduler = type(pipeline.scheduler).__name__.removesuffix("Scheduler")
    return Peer(
        DEFAULTS,
        lambda num_images: call_diffusers(pipeline, steps, guidance_scale, range(num_images)),
        is_slow=True,
        detail=f"{scheduler}, {steps} steps, guidance {guidance_scale:g}, float32",
    )


class _Process:
    """A pipeline in another environment's Python, which makes images when it reads how many.

    Args:
        model: folder of the model.
    """

    def __init__(self, python: str, model: Path) -> None:
        request = GenerationRequest(PROMPT)
        settings = [PROMPT, str(request.num_inference_steps), str(request.guidance_scale), str(torch.get_num_threads())]
        try:
            self._process = subprocess.Popen(  # noqa: S603  an interpreter that the user named
                [python, str(PEER_SCRIPT), str(model), *settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise GenerationError(f"--peer-python {python} cannot be started: {reason_of(error)}") from error
        self.detail = self._answer()

    def make(self, num_images: int) -> None:
        assert self._process.stdin is not None, "it was started with pipes"
        self._process.stdin.write(f"{num_images}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None, "it was started with pipes"
        answer = self._process.stdout.readline()
        if not answer:
            _, error = self._process.communicate()
            raise GenerationError(f"{OPTIMUM} does not run by --peer-python: {last_line(error)}")
        return answer.strip()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *error: object) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
