"""Which sets of images are compared with what, and comparisons that would mean nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from cxr.evaluate.image_set import MIN_IMAGES, ImageSet, shared_hashes
from cxr.judges.judge import Judge, hash_patient
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
        probes: images whose prompts deny a finding or name a side; by default the prompted ones.
        training: the real images that the generator has learnt from.
        control: images of a LoRA that was over-trained on purpose, which the copy check has to flag.
        num_failed: generated images that were asked for and could not be made; None if unknown.
    """

    generated: ImageSet
    reference: ImageSet
    baseline: ImageSet | None = None
    prompted: ImageSet | None = None
    prompted_baseline: ImageSet | None = None
    diversity: ImageSet | None = None
    probes: ImageSet | None = None
    training: ImageSet | None = None
    control: ImageSet | None = None
    num_failed: int | None = None

    @property
    def identities(self) -> list[str]:
        """What distinguishes these sets from any others."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"{name} {getattr(value, 'identity', value)}" for name, value in values.items()]


def check_sets(sets: Sets) -> None:
    """Refuse comparisons that would mean nothing.

    Raises:
        DataError: a set is too small, or images or patients are on both sides.
    """
    generated, reference, training = sets.generated, sets.reference, sets.training
    for name, images, least in (("generated", generated, MIN_IMAGES), ("reference", reference, 2 * MIN_IMAGES)):
        if len(images) < least:
            raise DataError(f"{images.folder} holds {len(images)} images; the {name} side needs {least} or more")
    check_apart(generated, reference)
    if training is None:
        return
    if both := shared_hashes(training, reference):
        raise DataError(f"{both} images are both in training and in the reference; the reference must be unseen")
    people = [{hash_patient(patient, "") for patient in images.patients} for images in (training, reference)]
    if both := len(people[0] & people[1]):  # however their ids are written
        raise DataError(
            f"{both} patients are both in training and in the reference; keep all images of a patient in one of them"
        )


def check_apart(generated: ImageSet, reference: ImageSet) -> None:
    """Refuse generated images that are real films, too.

    Raises:
        DataError: there are such.
    """
    if both := shared_hashes(generated, reference):
        raise DataError(
            f"{both} of {len(generated)} generated images are in the reference too, byte for byte; "
            "name two different sets of images"
        )


def unknown_to(judges: Iterable[Judge], reference: ImageSet) -> tuple[ImageSet, list[str]]:
    """Frontal films of patients whom no judge has learnt from, and notes on what is left out and on what is unknown.

    Raises:
        DataError: too few are left.
    """
    judges = list(judges)
    notes, total = [], len(reference)
    if unknown := reference.num_unknown_patients:
        notes.append(
            f"{unknown} of {total} real films come without patient ids: halves of the films may share patients, pairs "
            "of one patient count, and whether judges and generator have learnt from these patients is not known."
        )
    why = {
        "they are of patients that the judges have learnt from": {
            k for k, patient in enumerate(reference.patients) if any(judge.knows(patient) for judge in judges)
        },
        "they are lateral views": {k for k, path in enumerate(reference.paths) if path in reference.lateral},
    }
    kept = sorted({*range(total)}.difference(*why.values()))
    if len(kept) == total:
        return reference, notes
    left_out = [f"{len(rows)} of {total} real films are left out: {reason}." for reason, rows in why.items() if rows]
    if len(kept) < 2 * MIN_IMAGES:
        raise DataError(f"{' '.join(left_out)} The {len(kept)} others are too few; name other real films")
    notes[:0] = left_out
    return reference.take(kept), notes
