"""What decides the bytes of a data set's images, fixed when its job begins."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cxr.folders.dataset_manifest import FORMAT, Manifest
from cxr.metrics.result import JsonObject
from cxr.request.errors import OutputError
from cxr.request.recipe import PYTORCH


@dataclass(frozen=True)
class Beginning:
    """Everything that decides the bytes of the images, fixed when a job begins.

    Args:
        num_images: that it asks for.
        model: name of the base model.
        model_revision: of its weights.
        adapter: name of the LoRA, or "none".
        adapter_sha256: of its file, or "".
        weight_dtype: number format of the UNet, torch's name.
        device: "cpu" or "cuda".
        micro_batch_size: images that are denoised together.
        num_threads: of the CPU in each process; another number changes the last bits.
        gate: the judge that images have to pass, or "".
        max_attempts: seeds that an image may take.
        software: of this program.
        engine: what runs the UNet; where the file does not say, it is PyTorch.
        rewords: whether that version knew rewording; where the file does not say, it did not.
    """

    plan_sha256: str
    num_images: int
    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    weight_dtype: str
    device: str
    micro_batch_size: int
    num_threads: int
    gate: str
    max_attempts: int
    software: str
    format: int = FORMAT
    rewords: bool = False
    engine: str = PYTORCH

    @property
    def facts(self) -> JsonObject:
        """All values by name, in the order in which files have them; PyTorch, the first engine, is not named."""
        facts = asdict(self)
        if self.engine == PYTORCH:
            del facts["engine"]
        return facts


def beginning_of(manifest: Manifest) -> Beginning:
    """What a finished data set was begun with.

    Raises:
        KeyError, TypeError: the manifest is of another program.
    """
    facts = dict(manifest.facts) | {"num_images": manifest.facts["num_images"] + manifest.facts["num_failed"]}
    return Beginning(**{field.name: facts[field.name] for field in fields(Beginning) if field.name in facts})


# What a user calls the values that two jobs on one folder may differ in.
NAMES = {
    "plan_sha256": "plan",
    "model_revision": "model",
    "adapter_sha256": "LoRA",
    "software": "version of CXR Studio",
}


def check_beginning(directory: Path, known: Beginning, wanted: Beginning, ignored: Container[str] = ()) -> None:
    """Check that a job is the one its folder was begun with.

    Raises:
        OutputError: a value that is not ignored is another.
    """
    for name in (field.name for field in fields(Beginning) if field.name not in ignored):
        if getattr(known, name) != getattr(wanted, name):
            raise OutputError(
                f"{directory} was begun with another {NAMES.get(name, name)}; repeat that command to continue it, or "
                "choose an empty folder"
            )
