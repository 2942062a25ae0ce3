"""What is compared with what, and comparisons that are refused because they would mean nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cxr.evaluate.measures.distances import FEWEST
from cxr.evaluate.sets import ImageSet, shared_hashes
from cxr.request.errors import DataError


@dataclass(frozen=True)
class Sets:
    """What is compared with what.

    Args:
        generated: the images in question.
        reference: real images of patients that the generator has not seen.
        baseline: as generated, by the base without LoRA.
        prompted: images whose prompts were fixed to test fidelity; by default the generated ones.
        prompted_baseline: the same prompts, or some of them, by the base without LoRA.
        diversity: images of which several share a prompt; by default the generated ones.
        training: the real images that the generator has learnt from.
        control: images of a LoRA that was over-trained on purpose, which the copy check has to flag.
        num_failed: generated images that were asked for and could not be made; None if nobody counted.
    """

    generated: ImageSet
    reference: ImageSet
    baseline: ImageSet | None = None
    prompted: ImageSet | None = None
    prompted_baseline: ImageSet | None = None
    diversity: ImageSet | None = None
    training: ImageSet | None = None
    control: ImageSet | None = None
    num_failed: int | None = None

    @property
    def identities(self) -> list[str]:
        """What tells these sets from any others."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"{name} {getattr(value, 'identity', value)}" for name, value in values.items()]


def check_sets(sets: Sets) -> None:
    """Refuse comparisons that would mean nothing.

    Raises:
        DataError: a set is too small, or images or patients are on both sides.
    """
    generated, reference, training = sets.generated, sets.reference, sets.training
    for name, images, least in (("generated", generated, FEWEST), ("reference", reference, 2 * FEWEST)):
        if len(images) < least:
            raise DataError(f"{images.folder} holds {len(images)} images; the {name} side needs {least} or more")
    if both := shared_hashes(generated, reference):
        raise DataError(
            f"{both} of {len(generated)} generated images are in the reference too, byte for byte; "
            "name two different sets of images"
        )
    if training is None:
        return
    if both := shared_hashes(training, reference):
        raise DataError(f"{both} images are both in training and in the reference; the reference must be unseen")
    if both := len(set(training.patients) & set(reference.patients)):
        raise DataError(
            f"{both} patients are both in training and in the reference; keep all images of a patient in one of them"
        )
