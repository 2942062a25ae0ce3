"""What the viewer on the page gets to show: the state of a job as plain values for JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxr.images.png import data_address
from cxr.request.events import ExportedFile
from cxr.request.recipe import OF_DERIVED
from cxr.web.jobs.image_state import ImageState
from cxr.web.jobs.job import OVER, Facts
from cxr.web.page.begin_panel import describe_beginning
from cxr.web.page.image_form import settings_to_repeat
from cxr.web.page.receipt_rows import receipt_rows


def stage_value(state: ImageState) -> Facts:
    """A job for the viewer, which keeps the pictures of earlier ones.

    Returns:
        ``job``, a name for it; ``images``, those that are finished; ``forming``, the one that is not, or None;
        ``is_over``.
    """
    images = [_image(state, number) for number in range(len(state.images))]
    return {
        "job": state.folder.name if state.folder else "",
        "images": images,
        "forming": _forming(state),
        "is_over": state.stage in OVER,
    }


def file_value(path: Path) -> Facts:
    """A file that gradio serves; it adds the address."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def gallery_items(state: ImageState) -> list[tuple[str, str]]:
    """The finished images as programs get them: paths, which keep their bytes, with the seed as caption."""
    return [(str(file.path), f"Seed {file.metadata['seed']}") for file in state.images]


def _image(state: ImageState, number: int) -> Facts:
    file: ExportedFile = state.images[number]
    info, seed = state.info, file.metadata["seed"]
    request = replace(state.request, seed=seed, num_images=1)
    receipt = state.receipts[number] if state.receipts else None
    begun = {name: file.metadata[name] for name in (*OF_DERIVED, "surrounding_prompt") if name in file.metadata}
    return {
        "file": file_value(file.path),
        "seed": seed,
        "prompt": request.prompt,
        "sent": request.model_prompt if request.model_prompt != request.prompt else "",
        "derived": describe_beginning(begun) if begun else "",
        "settings": settings_to_repeat(request, info.model if info else None) | begun,
        "model": info.model if info else "",
        "adapter": info.adapter if info else "none",
        "rows": receipt_rows(receipt) if receipt else [],
        "as_asked": (sum(receipt.verdicts), len(receipt.verdicts)) if receipt else (0, 0),
        "notes": [*receipt.notes] if receipt else [],
    }


def _forming(state: ImageState) -> Facts | None:
    """The picture that is forming."""
    progress = state.progress
    if progress is None or progress.preview is None:
        return None
    return {"url": data_address(progress.preview), "seed": state.request.seeds[progress.image_index]}
