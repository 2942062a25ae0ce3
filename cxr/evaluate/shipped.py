"""A model's own report: its images are made from the fixed prompts, then measured against held-out patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxr.evaluate.comparison import Sets
from cxr.evaluate.extractors.cache import hash_files
from cxr.evaluate.prompt_sets import diversity_requests, fidelity_requests, matched_requests
from cxr.evaluate.sets import ImageSet, read_set
from cxr.generate.into_folder import generate_into_folder
from cxr.labels.radiograph import Radiograph
from cxr.labels.split import Split
from cxr.request.errors import CxrError, DataError
from cxr.request.generation_request import GenerationRequest

# Of the prompts, those that the base without LoRA answers too: enough for a row to compare with.
BASELINE_SHARE = 3


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
    return ImageSet(
        folder,
        paths,
        tuple(hash_files(paths)),
        tuple(records),
        ("",) * len(records),
        tuple(record.patient_id for record in records),
        {},
        is_real=True,
    )


def make_sets(model: Model, split: Split, work: Path, control: Path | None, say: Callable[[str], None]) -> Sets:
    """Make what is missing of the images, and put them beside the real ones.

    Args:
        model: what makes them.
        split: real radiographs; the held-out ones are the reference, their labels the prompts of the generated images.
        work: folder of all images; what is in it already is not made again.
        control: images of a LoRA that was over-trained on purpose.
        say: told which part begins.
    Raises:
        CxrError: the model cannot be loaded, the folder cannot be written, or images failed.
    """
    plan = _plan(split)
    for name, (requests, adapter_weight) in plan.items():
        say(f"images: {name}")
        if adapter_weight is not None:
            requests = [replace(request, adapter_weight=adapter_weight) for request in requests]
        if generate_into_folder(requests, work / name, model.name, model.adapter):
            raise CxrError(f"images are missing in {work / name}; the same command continues")
    made = {name: read_set(work / name) for name in plan}
    return Sets(
        generated=made["generated"],
        reference=set_of(split.held_out, Path("held_out")),
        baseline=made["baseline"],
        prompted=made["prompted"],
        prompted_baseline=made["prompted_baseline"],
        diversity=made["diversity"],
        training=set_of(split.training, Path("training")),
        control=read_set(control) if control is not None else None,
        num_failed=0,  # else there were no sets: above, one missing image ends the run
    )


def _plan(split: Split) -> dict[str, tuple[list[GenerationRequest], float | None]]:
    """Folder -> its requests and the weight of the LoRA, None for the default."""
    matched, fidelity = matched_requests(split.held_out), fidelity_requests()
    return {
        "generated": (matched, None),
        "prompted": (fidelity, None),
        "diversity": (diversity_requests(), None),
        "baseline": (matched[: len(matched) // BASELINE_SHARE], 0.0),
        "prompted_baseline": (fidelity[: len(fidelity) // BASELINE_SHARE], 0.0),
    }
