"""Request + model -> iterator of progress and images, one seed per image."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from cxr.generate.loaded_model import LoadedModel
from cxr.generate.micro_batches import Event, MicroBatches
from cxr.models.batch_size import is_out_of_memory
from cxr.prompts.rewording import with_sent_prompt
from cxr.request.errors import GenerationError
from cxr.request.generation_request import GenerationRequest

LOCK_POLL_S = 0.05  # how often a waiting request looks whether it has been stopped


def generate(
    request: GenerationRequest, model: LoadedModel, *, stop: threading.Event | None = None, preview_every: int = 0
) -> Iterator[Event]:
    """Make the images of a request, one after the other.

    The model is locked from the first item to the last, or until the iterator is closed, so that one pipeline never
    serves two threads at once. Image k depends on ``request.seeds[k]`` and on no other image.

    Args:
        stop: once set, the iterator ends within one denoising step; images already given stay valid.
        preview_every: put a small preview into the progress of every n-th step; 0 for none.
    Yields:
        StepProgress after each denoising step, then a GeneratedImage or FailedImage for each image, in order.

    Raises:
        GenerationError: there is not enough memory, not even for one image at a time.
    """
    alone = [request.part(k, k + 1) for k in range(request.num_images)]
    return generate_each(alone, model, stop=stop, preview_every=preview_every)


def generate_each(
    requests: Sequence[GenerationRequest],
    model: LoadedModel,
    *,
    stop: threading.Event | None = None,
    preview_every: int = 0,
) -> Iterator[Event]:
    """Make one image of each request, as ``generate`` does; image k is ``requests[k]``'s, the same as if made alone.

    Args:
        requests: of one image each, which differ in nothing but prompt, negative prompt, seed, and which picture and
            region they begin from: they share micro-batches.
        stop: as for ``generate``.
        preview_every: as for ``generate``.
    Yields:
        As ``generate``. Where there is not enough memory for a micro-batch, the images that remain are made in halved
        ones, and their recipes say so.
    Raises:
        GenerationError: there is not enough memory, not even for one image at a time.
    """
    assert len({request.shared_settings for request in requests}) <= 1, "requests of one call share their settings"
    stop = stop or threading.Event()
    if not requests or not _acquire(model.lock, stop):
        return
    try:
        model.set_adapter_weight(requests[0].adapter_weight)
        sent = [with_sent_prompt(request, model.prompt_form) for request in requests]
        yield from MicroBatches(sent, model, stop, preview_every).events()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise GenerationError(_out_of_memory(model)) from error
    finally:
        model.lock.release()


def _out_of_memory(model: LoadedModel) -> str:
    whose = "this machine" if model.info.device == "cpu" else "the graphics card"
    return f"{whose} has too little free memory for one image; close what else uses it, or use a smaller model"


def _acquire(lock: threading.Lock, stop: threading.Event) -> bool:
    while not stop.is_set():
        if lock.acquire(timeout=LOCK_POLL_S):
            return True
    return False
