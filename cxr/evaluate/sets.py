"""Which sets of images are compared with what, and comparisons that would mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import product

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
    def asked(self) -> ImageSet:
        """The images that fidelity is tested on."""
        return self.prompted or self.generated

    @property
    def identities(self) -> list[str]:
        """What distinguishes these sets from any others."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"{name} {getattr(value, 'identity', value)}" for name, value in values.items()]


# The sets that a model has made, by the fields of `Sets`.
MADE = ("generated", "baseline", "prompted", "prompted_baseline", "diversity", "probes", "control")


def check_sets(sets: Sets) -> None:
    """Refuse comparisons that would mean nothing.

    Raises:
        DataError: a set is too small, or images or patients are on both sides.
    """
    generated, reference, training = sets.generated, sets.reference, sets.training
    least_of = {"generated": MIN_IMAGES, "reference": 2 * MIN_IMAGES, "baseline": MIN_IMAGES}
    for name, least in least_of.items():
        if (images := getattr(sets, name)) is not None and len(images) < least:
            raise DataError(f"{images.folder} holds {len(images)} images; the {name} side needs {least} or more")
    for name in MADE:
        if (images := getattr(sets, name)) is not None:
            check_apart(images, reference, name)
    for baseline, images in product((sets.baseline, sets.prompted_baseline), (generated, sets.prompted)):
        if baseline is None or images is None or _is_of_the_base(images):
            continue
        if both := shared_hashes(baseline, images):
            raise DataError(
                f"{both} images of the baseline {baseline.folder} are in {images.folder}, too; name images of the base "
                "without LoRA"
            )
    if training is None:
        return
    if both := shared_hashes(training, reference):
        raise DataError(f"{both} images are both in training and in the reference; the reference must be unseen")
    people = [{hash_patient(patient, "") for patient in images.patients} for images in (training, reference)]
    if both := len(people[0] & people[1]):  # however their ids are written
        raise DataError(
            f"{both} patients are both in training and in the reference; keep all images of a patient in one of them"
        )


def check_apart(generated: ImageSet, reference: ImageSet, name: str = "generated") -> None:
    """Refuse generated images that are real films, too, and real films that this program has made.

    Args:
        generated: images that a model has made.
        reference: real films.
        name: of the former, for messages.
    Raises:
        DataError: there are such.
    """
    if both := shared_hashes(generated, reference):
        raise DataError(
            f"{both} of {len(generated)} {name} images are in the reference too, byte for byte; "
            "name two different sets of images"
        )
    if "model_revision" in reference.recipe:
        raise DataError(f"{reference.folder} lists images that this program has generated; name real films there")


def doubts_on_tables(sides: Iterable[ImageSet]) -> Iterator[str]:
    """Of which images nothing is known, though a table lists the others."""
    for images in sides:
        if images.unlisted:
            yield (
                f"{len(images.unlisted)} of {len(images)} images of {images.folder.resolve().name} are in no table, as "
                f"{min(images.unlisted).name}: they count as images of which nothing is known."
            )


def doubts_on_baselines(sets: Sets) -> Iterator[str]:
    """What makes a baseline say less of the LoRA than it seems to."""
    for baseline, images in ((sets.baseline, sets.generated), (sets.prompted_baseline, sets.asked)):
        if baseline is None:
            continue
        name = baseline.folder.resolve().name
        if not {*filter(None, baseline.prompts)} & {*images.prompts}:
            yield f"The baseline {name} has no prompt of the images, so that what the LoRA adds is not measured."
        if (adapter := baseline.recipe.get("adapter")) and not _is_of_the_base(baseline):
            yield f"The baseline {name} was made with the LoRA {adapter}: it does not show what the LoRA adds."


def _is_of_the_base(images: ImageSet) -> bool:
    """Whether recipes say that images were made without a LoRA, or with one that had no weight."""
    return images.recipe.get("adapter") == "none" or images.recipe.get("adapter_weight") == 0


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
