"""The parts of a report: which measure is given which images."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr import __version__
from cxr.evaluate.comparison import Sets
from cxr.evaluate.extractors.cache import FeatureCache
from cxr.evaluate.extractors.extract import Extractor, embed, extract
from cxr.evaluate.extractors.own import extractor_of
from cxr.evaluate.pictures import name_of
from cxr.evaluate.results import ResultCache
from cxr.evaluate.sections import distances
from cxr.evaluate.sections.copy_set import CopySet
from cxr.evaluate.sections.diversity import measure_diversity
from cxr.evaluate.sections.failures import measure_failures
from cxr.evaluate.sections.fidelity import Reading, make_reading
from cxr.evaluate.sections.fidelity_report import Readings, measure_fidelity
from cxr.evaluate.sections.memorisation import check_copies
from cxr.evaluate.sections.sensitivity import measure_degradations, measure_loss
from cxr.evaluate.sections.utility import SIZE as UTILITY_SIZE
from cxr.evaluate.sections.utility import LabelledImages, measure_utility
from cxr.evaluate.sets import ImageSet
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge, scores_of
from cxr.judges.networks import SIZE
from cxr.labels.targets import LABELS
from cxr.metrics.degrade import degrade
from cxr.metrics.features import Features

SENSITIVITY_IMAGES = 500
SEED = 0


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


class Parts:
    """The parts of one report, each from the images and networks that it needs.

    Args:
        sets: what is compared.
        tools: what measures.

    Attributes:
        notes: sentences for the reader, from the parts measured so far.
    """

    def __init__(self, sets: Sets, tools: Tools) -> None:
        self.sets, self.tools = sets, tools
        self.notes: list[str] = []
        self.halves = distances.halve(sets.reference.patients)
        self.results = ResultCache(tools.cache, sorted(f"{k} {v}" for k, v in library_versions().items()))
        self._pixels: dict[Path, NDArray[np.uint8]] = {}
        self._features: dict[tuple[Path, str], Features] = {}
        self._caches: dict[str, FeatureCache] = {}

    def measure(self, name: str, compute: Callable[[], Any], *settings: str) -> Any:
        """A part of the report as plain values, with its notes; one that was measured before is not measured again."""

        def measured() -> dict[str, Any]:
            self.notes, before = [], self.notes
            value, notes = compute(), self.notes
            self.notes = before
            return {"value": value, "notes": notes}

        networks = [one.id for one in self.tools.extractors] + [judge.sha256 for judge in self.tools.judges.values()]
        found = self.results.get(name, [*self.sets.identities, *networks, *settings], measured)
        self.notes += found["notes"]
        return found["value"]

    def features(self, images: ImageSet, extractor: Extractor) -> Features:
        key = images.folder, extractor.id
        if key not in self._features:
            if extractor.id not in self._caches:
                self._caches[extractor.id] = FeatureCache(self.tools.cache, extractor.id)
            self._features[key] = extract(images.paths, images.hashes, extractor, self._caches[extractor.id])
        return self._features[key]

    def pixels(self, images: ImageSet) -> NDArray[np.uint8]:
        if images.folder not in self._pixels:
            self._pixels[images.folder] = read_squares(images.paths, SIZE)
        return self._pixels[images.folder]

    def distances(self, extractor: Extractor) -> dict[str, Any]:
        self.tools.say(f"distances with the extractor {extractor.name}")
        reference = self.features(self.sets.reference, extractor)
        second = [self.sets.reference.paths[index] for index in self.halves.second]
        worse = embed(degrade(read_squares(second, extractor.size)), extractor)
        rows = {"generated": self.features(self.sets.generated, extractor)}
        if self.sets.baseline is not None:
            rows["base without LoRA"] = self.features(self.sets.baseline, extractor)
        measured = distances.measure_rows(reference, self.halves, {**rows, "degraded real": worse}, SEED)
        if measured["degraded real"][0].value <= measured["real against real"][0].value:
            self.notes.append(f"The extractor {extractor.name} is insensitive: it finds degraded images no worse.")
        facts = {"name": extractor.name, "version": extractor.version, "size": extractor.size}
        return {
            "extractor": {**facts, "weights_sha256": extractor.weights_sha256},
            "rows": [{"name": name, "metrics": results} for name, results in measured.items()],
        }

    def sensitivity(self) -> list[dict[str, Any]]:
        self.tools.say("sensitivity to degraded images")
        extractor, real = self.tools.extractors[0], self.sets.reference
        features, pa = self.features(real, extractor), real.targets[:, LABELS.index("PA")]
        pixels = read_squares([real.paths[k] for k in self.halves.second[:SENSITIVITY_IMAGES]], extractor.size)
        rows = measure_degradations(features[self.halves.first], pixels, extractor, SEED)
        second = self.halves.second
        rows += measure_loss(features[self.halves.first], features[second], pa[second] == 0, SEED)
        return [{"extractor": extractor.name} | row for row in rows]

    def diversity(self) -> dict[str, Any] | None:
        self.tools.say("diversity")
        part, note = measure_diversity(self.sets.diversity or self.sets.generated, self.sets.reference, SEED)
        self.notes += note
        return part

    def fidelity(self) -> dict[str, Any] | None:
        prompted = self.sets.prompted or self.sets.generated
        if not prompted.has_prompts:
            self.notes.append("Prompt fidelity was not measured: the images come without prompts.")
            return None
        if np.isnan(self.sets.reference.targets).all():
            self.notes.append("Prompt fidelity was not measured: the reference comes without labels for the ceiling.")
            return None
        self.tools.say("prompt fidelity")
        judges = self.tools.judges
        readings = {name: self._readings(judge, prompted) for name, judge in judges.items()}
        prompts = sorted(set(prompted.prompts))
        part = measure_fidelity(judges, readings, SEED)
        return {"prompts_sha256": hash_text(prompts), "num_prompts": len(prompts), "num_images": len(prompted)} | part

    def _readings(self, judge: Judge, prompted: ImageSet) -> Readings:
        extractor = extractor_of(judge.name, judge)

        def read(images: ImageSet, clusters: tuple[str, ...]) -> Reading:
            scores = scores_of(judge.network, self.features(images, extractor))
            return make_reading(scores, images.targets, clusters)

        baseline = self.sets.prompted_baseline or (self.sets.baseline if self.sets.prompted is None else None)
        return Readings(
            read(prompted, prompted.prompts),
            read(self.sets.reference, self.sets.reference.patients),
            read(baseline, baseline.prompts) if baseline is not None else None,
        )

    def copies(self) -> dict[str, Any] | None:
        if self.sets.training is None:
            self.notes.append("Copies were not looked for: no training images were named (--training).")
            return None
        self.tools.say("copies of training images")
        control = self._copy_set(self.sets.control) if self.sets.control is not None else None
        found = check_copies(
            self._copy_set(self.sets.generated),
            self._copy_set(self.sets.training),
            self._copy_set(self.sets.reference),
            self.sets.reference.patients,
            control,
            SEED,
            embed={one.name: functools.partial(embed, extractor=one) for one in self.tools.extractors},
        )
        return asdict(found)

    def _copy_set(self, images: ImageSet) -> CopySet:
        names = tuple(name_of(path) for path in images.paths)
        features = {one.name: self.features(images, one) for one in self.tools.extractors}
        return CopySet(self.pixels(images), features, names, images.hashes)

    def utility(self) -> dict[str, Any] | None:
        training, prompted = self.sets.training, self.sets.prompted or self.sets.generated
        if training is None or not prompted.has_prompts or np.isnan(training.targets).all():
            self.notes.append("Utility was not measured: it needs labelled training images and prompts.")
            return None
        self.tools.say("utility: training classifiers")
        real, synthetic, test = (self._labelled(images) for images in (training, prompted, self.sets.reference))
        return asdict(measure_utility(real, synthetic, test, self.sets.reference.patients, say=self.tools.say))

    def _labelled(self, images: ImageSet) -> LabelledImages:
        return LabelledImages(read_squares(images.paths, UTILITY_SIZE), images.targets)

    def failures(self) -> dict[str, Any]:
        self.tools.say("failures")
        return measure_failures(self.pixels(self.sets.generated), self.sets.generated.hashes, self.sets.num_failed)


def library_versions() -> dict[str, str]:
    """Versions of everything that figures depend on."""
    names = ("numpy", "pillow", "scipy", "torch", "torchmetrics")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"cxr": __version__, "python": platform.python_version()} | found


def hash_text(lines: list[str]) -> str:
    """SHA-256 of lines of text, in hex."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
