"""A model's own report: its images are made from the fixed prompts, then measured against held-out patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxr.evaluate.fixed_prompts import diversity_requests, fidelity_requests, matched_requests, probe_requests
from cxr.evaluate.image_set import ImageSet, read_set
from cxr.evaluate.sets import Sets
from cxr.folders.metadata import hash_files
from cxr.generate.into_folder import generate_into_folder
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import Split
from cxr.request.errors import CxrError, DataError
from cxr.request.generation_request import GenerationRequest

# Of the prompts, those that the base without LoRA answers too: half, as all rows of distances use equal numbers.
BASELINE_SHARE = 2


@dataclass(frozen=True)
class Model:
    """Which model is measured, as ``load_model`` takes it."""

    name: str
    adapter: str


def set_of(records: Sequence[Radiograph], folder: Path) -> ImageSet:
    """Real radiographs, wherever their files are, as a set; ``folder`` only names it."""
    if not records:
        raise DataError(f"no patient is in the part {folder.name}; name more data or other shares")
    paths = tuple(record.path for record in records)
    patients = tuple(record.patient_id for record in records)
    prompts = ("",) * len(records)
    return ImageSet(folder, paths, tuple(hash_files(paths)), tuple(records), prompts, patients, {}, is_real=True)


def make_sets(model: Model, split: Split, work: Path, control: Path | None, say: Callable[[str], None]) -> Sets:
    """Make what is missing of the images, and put them beside the real ones.

    Args:
        model: what makes them.
        split: real radiographs; the held-out ones are the reference, their labels the prompts of the generated images.
        work: folder of all images; what is in it already is not made again.
        control: images of a LoRA that was over-trained on purpose.
        say: called with the part that begins.
    Raises:
        CxrError: the model cannot be loaded, the folder cannot be written, or images failed.
    """
    made = {}
    for name, requests in _plan(split).items():
        say(f"images: {name}")
        made[name] = make_missing_images(requests, work / name, model)
    return Sets(
        **made,
        reference=set_of(split.held_out, Path("held_out")),
        training=set_of(split.training, Path("training")),
        control=read_set(control) if control is not None else None,
        num_failed=0,  # else there were no sets: one missing image ends the run
    )


def make_missing_images(requests: Sequence[GenerationRequest], folder: Path, model: Model) -> ImageSet:
    """Make what is missing of the images, and read them all.

    Raises:
        CxrError: as `make_sets`.
    """
    if generate_into_folder(requests, folder, model.name, model.adapter):
        raise CxrError(f"images are missing in {folder}; the same command continues")
    return read_set(folder)


def _plan(split: Split) -> dict[str, list[GenerationRequest]]:
    """Set -> its requests."""
    matched, fidelity = matched_requests(split.held_out), fidelity_requests()
    return {
        "generated": matched,
        "prompted": fidelity,
        "diversity": diversity_requests(),
        "probes": probe_requests(),
        "baseline": _without_adapter(matched),
        "prompted_baseline": _without_adapter(fidelity),
    }


def _without_adapter(requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    return [replace(request, adapter_weight=0.0) for request in requests[: len(requests) // BASELINE_SHARE]]
