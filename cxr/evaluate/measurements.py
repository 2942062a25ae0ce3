"""Which measure is given which images: each method makes one part of a report."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr import __version__
from cxr.evaluate.audit import measure_audit
from cxr.evaluate.copies import check_copies
from cxr.evaluate.copy_set import CopySet
from cxr.evaluate.detail import measure_detail
from cxr.evaluate.distances import POSING, halve, measure_rows
from cxr.evaluate.diversity import Looked, measure_diversity
from cxr.evaluate.extractors.extractor import Extractor, FeatureCache, embed, extract
from cxr.evaluate.extractors.registry import extractor_of
from cxr.evaluate.failures import measure_failures
from cxr.evaluate.fidelity import measure_fidelity
from cxr.evaluate.groups import measure_groups
from cxr.evaluate.probes import measure_probes
from cxr.evaluate.result_cache import ResultCache
from cxr.evaluate.sensitivity import choose_patients, measure_degradations, measure_loss
from cxr.evaluate.sets import ImageSet, Sets
from cxr.evaluate.sheets import name_of
from cxr.evaluate.utility import SIZE as UTILITY_SIZE
from cxr.evaluate.utility import measure_utility
from cxr.evaluate.utility_classifier import LabelledImages
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, scores_of
from cxr.judges.networks import SIZE
from cxr.judges.readings import Reading, make_reading
from cxr.labels.targets import LABELS
from cxr.metrics.degrade import degrade
from cxr.metrics.features import Features
from cxr.metrics.kernel import Sample

Value = TypeVar("Value")

SENSITIVITY_IMAGES = 500
SEED = 0
NOT_MEASURED = {
    "probes": "Denials and sides were not tested",
    "fidelity": "Prompt fidelity was not measured",
    "copies": "Copies were not looked for",
    "audit": "The judges were not audited",
    "utility": "Utility was not measured",
}
VERSIONED = ("numpy", "pillow", "scipy", "torch", "torchmetrics")


@dataclass(frozen=True)
class Tools:
    """What measures: networks, the cache of their features, and who is told of progress.

    Args:
        extractors: at least one.
        judges: by name, two.
        cache: folder of features; None computes everything again.
        say: called with one line at each part.
    """

    extractors: tuple[Extractor, ...]
    judges: Mapping[str, Judge]
    cache: Path | None
    say: Callable[[str], None]


class _NotMeasuredError(Exception):
    """Why a part of the report is left out."""


class Measurements:
    """The parts of one report, each from the images and networks that it needs.

    Args:
        sets: what is compared.
        tools: what measures.
        limit: distances compare at most so many images.

    Attributes:
        notes: sentences for the reader, from the parts measured so far.
        reasons: why a part was not measured, by its name.
    """

    def __init__(self, sets: Sets, tools: Tools, limit: int | None = None) -> None:
        self.sets, self.tools, self.limit = sets, tools, limit
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        self.halves = halve(sets.reference.patients)
        self.results = ResultCache(tools.cache, sorted(f"{k} {v}" for k, v in library_versions().items()))
        self._found: dict[tuple[object, ...], Any] = {}

    def measure(self, name: str, compute: Callable[[], Any], *settings: str) -> Any:
        """A part of the report as plain values, with its notes; one that was measured before is not measured again."""

        def computed() -> dict[str, Any]:
            before, self.notes = self.notes, []
            try:
                value, reasons = compute(), {}
            except _NotMeasuredError as error:
                value, reasons = None, {name: str(error)}
                self.notes.append(f"{NOT_MEASURED[name]}: {error}")
            notes, self.notes = self.notes, before
            return {"value": value, "notes": notes, "reasons": reasons}

        networks = [one.id for one in self.tools.extractors] + [judge.sha256 for judge in self.tools.judges.values()]
        found = self.results.get(name, [*self.sets.identities, *networks, str(self.limit), *settings], computed)
        self.notes += found["notes"]
        self.reasons |= found["reasons"]
        return found["value"]

    def distances(self, extractor: Extractor) -> dict[str, Any]:
        """How far the images as a whole are from real ones, as one extractor sees them."""
        self.tools.say(f"distances with the extractor {extractor.name}")
        reference, second = self.sets.reference, self.halves.second
        rows = {"generated": self.sample(self.sets.generated, extractor)}
        if self.sets.baseline is not None:
            rows["base without LoRA"] = self.sample(self.sets.baseline, extractor)
        damaged = degrade(read_squares([reference.paths[index] for index in second], extractor.size))
        rows["degraded real"] = Sample(embed(damaged, extractor), np.asarray(reference.patients)[second])
        measured = measure_rows(self.sample(reference, extractor), self.halves, rows, SEED, self.limit)
        if measured["degraded real"][0].value <= measured[POSING][0].value:
            self.notes.append(f"The extractor {extractor.name} is insensitive: it finds degraded images no worse.")
        facts = {name: getattr(extractor, name) for name in ("name", "version", "size", "weights_sha256")}
        return {
            "extractor": facts,
            "rows": [{"name": name, "metrics": results} for name, results in measured.items()],
        }

    def sensitivity(self) -> list[dict[str, Any]]:
        """Do the distances of the first extractor rise with damage?"""
        self.tools.say("sensitivity to degraded images")
        (first, second), extractor, real = self.halves, self.tools.extractors[0], self.sets.reference
        sample, patients = self.sample(real, extractor), np.asarray(real.patients)
        chosen = second[choose_patients(patients[second], SENSITIVITY_IMAGES, SEED)]
        pixels = read_squares([real.paths[k] for k in chosen], extractor.size)
        rows = measure_degradations(sample.take(first), pixels, patients[chosen], extractor, SEED)
        rarer = real.targets[second, LABELS.index("PA")] == 0
        rows += measure_loss(sample.take(first), sample.take(second), rarer, SEED)
        return [{"extractor": extractor.name} | row for row in rows]

    def detail(self) -> dict[str, Any]:
        """Sharpness, noise, contrast and sides at the native size."""
        self.tools.say("detail at the native size")
        return measure_detail(self.sets.generated, self.sets.reference, SEED)

    def diversity(self) -> dict[str, Any]:
        """How different the images are, within a prompt and as a whole."""
        self.tools.say("diversity")
        extractor, sets = self.tools.extractors[0], self.sets
        sides = (sets.diversity or sets.generated, sets.generated, sets.reference)
        several, generated, real = (Looked(side, self.features(side, extractor)) for side in sides)
        part = measure_diversity(several, generated, real, SEED)
        measured = {row["name"] for row in part["rows"]}
        if "generated" not in measured:
            self.notes.append("Diversity within prompts was not measured: no prompt has two images.")
        if POSING not in measured:
            why = "no two of different patients have equal labels."
            self.notes.append(f"Diversity of real images within equal labels was not measured: {why}")
        return {"extractor": extractor.name, **part}

    def fidelity(self) -> dict[str, Any]:
        """Whether the images show what their prompts asked for."""
        sides = self._fidelity_sides()
        self.tools.say("prompt fidelity")
        prompted = sides["generated"][0]
        baseline = self.sets.prompted_baseline or (self.sets.baseline if self.sets.prompted is None else None)
        if baseline is not None:
            sides["baseline"] = baseline, baseline.prompts
        readings = {name: self._readings(judge, sides) for name, judge in self.tools.judges.items()}
        prompts = sorted(set(prompted.prompts))
        facts = {"prompts_sha256": hashlib.sha256("\n".join(prompts).encode()).hexdigest(), "num_prompts": len(prompts)}
        return {**facts, "num_images": len(prompted), **measure_fidelity(self.tools.judges, readings, SEED)}

    def audit(self, auditor: Judge, copies: Mapping[str, Any] | None) -> dict[str, Any]:
        """Whether the judges find more than one that shares no patient with the model."""
        sides = self._fidelity_sides()
        self.tools.say("audit of the judges")
        readings = {name: self._readings(judge, sides) for name, judge in self.tools.judges.items()}
        return measure_audit(self.tools.judges, auditor, readings, self._readings(auditor, sides), copies, SEED)

    def groups(self, judgeable: list[str]) -> list[dict[str, Any]]:
        """KD and PF by finding, sex, view and age, as the first extractor and the judges see them."""
        self.tools.say("groups of patients")
        extractor, sets = self.tools.extractors[0], self.sets
        prompted, sides = sets.prompted or sets.generated, (sets.generated, sets.reference)
        readings = {
            name: self._reading(judge, prompted, prompted.prompts)
            for name, judge in self.tools.judges.items()
            if prompted.has_prompts
        }
        made, real = ((self.sample(side, extractor), side.targets) for side in sides)
        return measure_groups(made, real, readings, prompted.targets, self.tools.judges, judgeable, SEED)

    def probes(self) -> dict[str, Any]:
        """Denials, and left and right."""
        images = self.sets.probes or self.sets.prompted or self.sets.generated
        self.tools.say("denials and sides")
        part = measure_probes(self.tools.judges, images, self.sets.reference, self.scores, self.pixels, SEED)
        if not any(part.values()):
            raise _NotMeasuredError("too few prompts deny a finding that others ask for, or name a side.")
        return part

    def copies(self) -> dict[str, Any]:
        """Whether training images come back."""
        training, reference, control = self.sets.training, self.sets.reference, self.sets.control
        if training is None:
            raise _NotMeasuredError("no training images were named (--training).")
        self.tools.say("copies of training images")
        return check_copies(
            self._copy_set(self.sets.generated),
            self._copy_set(training),
            self._copy_set(reference),
            reference.patients,
            self._copy_set(control) if control is not None else None,
            SEED,
            embed={one.name: functools.partial(embed, extractor=one) for one in self.tools.extractors},
        )

    def utility(self) -> dict[str, Any]:
        """What classifiers that learn from the images are worth."""
        training, prompted = self.sets.training, self.sets.prompted or self.sets.generated
        if training is None or not prompted.has_prompts or np.isnan(training.targets).all():
            raise _NotMeasuredError("it needs labelled training images and prompts.")
        self.tools.say("utility: training classifiers")
        real, synthetic, test = (
            LabelledImages(read_squares(images.paths, UTILITY_SIZE), images.targets)
            for images in (training, prompted, self.sets.reference)
        )
        return measure_utility(real, synthetic, test, self.sets.reference.patients, say=self.tools.say)

    def failures(self) -> dict[str, Any]:
        """How often nothing of use was made."""
        self.tools.say("failures")
        return measure_failures(self.pixels(self.sets.generated), self.sets.generated.hashes, self.sets.num_failed)

    def pixels(self, images: ImageSet) -> NDArray[np.uint8]:
        """[N, SIZE, SIZE], read once."""
        return self._once(("pixels", images.folder), lambda: read_squares(images.paths, SIZE))

    def features(self, images: ImageSet, extractor: Extractor) -> Features:
        """[N, D], computed once."""
        cache = self._once(("cache", extractor.id), lambda: FeatureCache(self.tools.cache, extractor.id))
        return self._once((images.folder, extractor.id), lambda: extract(images.paths, images.hashes, extractor, cache))

    def _once(self, key: tuple[object, ...], compute: Callable[[], Value]) -> Value:
        if key not in self._found:
            self._found[key] = compute()
        found: Value = self._found[key]
        return found

    def sample(self, images: ImageSet, extractor: Extractor) -> Sample:
        """Features with whose each image is."""
        return Sample(self.features(images, extractor), images.patients)

    def scores(self, judge: Judge, images: ImageSet) -> NDArray[np.float64]:
        """What a judge reads off images: [N, len(LABELS) + 1]."""
        return scores_of(judge.network, self.features(images, extractor_of(judge.name, judge)))

    def _fidelity_sides(self) -> dict[str, tuple[ImageSet, tuple[str, ...]]]:
        """The images that judges compare, and what belongs together among them."""
        prompted, real = self.sets.prompted or self.sets.generated, self.sets.reference
        if not prompted.has_prompts:
            raise _NotMeasuredError("the images come without prompts.")
        if np.isnan(real.targets).all():
            raise _NotMeasuredError("the reference comes without labels for the ceiling.")
        return {"generated": (prompted, prompted.prompts), "real": (real, real.patients)}

    def _readings(self, judge: Judge, sides: Mapping[str, tuple[ImageSet, tuple[str, ...]]]) -> dict[str, Reading]:
        return {side: self._reading(judge, *images) for side, images in sides.items()}

    def _reading(self, judge: Judge, images: ImageSet, clusters: tuple[str, ...]) -> Reading:
        return make_reading(self.scores(judge, images), images.targets, clusters)

    def _copy_set(self, images: ImageSet) -> CopySet:
        features = {one.name: self.features(images, one) for one in self.tools.extractors}
        return CopySet(self.pixels(images), features, tuple(map(name_of, images.paths)), images.hashes)


def library_versions() -> dict[str, str]:
    """Versions of everything that figures depend on."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"cxr": __version__, "python": platform.python_version()} | versions
