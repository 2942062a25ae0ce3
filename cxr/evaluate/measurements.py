"""Which measure is given which images: each method makes one part of a report."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from cxr.evaluate.audit import Audit, measure_audit
from cxr.evaluate.copies import Copies, check_copies
from cxr.evaluate.detail import Detail, measure_detail, shape_note, size_note
from cxr.evaluate.distances import POSING, halve, measure_rows
from cxr.evaluate.diversity import FeatureSet, measure_diversity, notes_on
from cxr.evaluate.extractors.extractor import Extractor, embed
from cxr.evaluate.failures import measure_failures
from cxr.evaluate.fidelity import measure_fidelity
from cxr.evaluate.groups import Group, measure_groups
from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.measuring import Measuring, NotMeasuredError
from cxr.evaluate.network_outputs import NetworkOutputs
from cxr.evaluate.probes import Probes, measure_probes
from cxr.evaluate.sensitivity import choose_patients, measure_degradations, measure_loss
from cxr.evaluate.sets import Sets, unknown_to
from cxr.evaluate.tools import Tools
from cxr.evaluate.utility import Utility, labelled, measure_utility
from cxr.images.squares import read_squares
from cxr.judges.judge import Judge
from cxr.labels.targets import LABELS
from cxr.metrics.degrade import degrade
from cxr.metrics.result import JsonObject, MetricResult
from cxr.metrics.sample import Sample

SENSITIVITY_IMAGES = 500


class Measurements(Measuring):
    """The parts of one report, each from the images and networks that it needs.

    Args:
        sets: what is compared.
        tools: what measures.
        limit: the most images that distances compare.
        outputs: what the networks make of the sets, where other reports share some of them.
    """

    def __init__(
        self, sets: Sets, tools: Tools, limit: int | None = None, outputs: NetworkOutputs | None = None
    ) -> None:
        super().__init__(sets, tools, limit)
        self.outputs = outputs or NetworkOutputs(tools.cache)
        self.halves = halve(sets.reference.patients)

    def distances(self, extractor: Extractor) -> JsonObject:
        """How far the images as a whole are from real ones, as one extractor sees them."""
        self.tools.say(f"distances with the extractor {extractor.name}")
        reference, second = self.sets.reference, self.halves.second
        rows = {"generated": self.outputs.sample(self.sets.generated, extractor)}
        if self.sets.baseline is not None:
            rows["base without LoRA"] = self.outputs.sample(self.sets.baseline, extractor)
        damaged = degrade(read_squares([reference.paths[index] for index in second], extractor.size))
        rows["degraded real"] = Sample(embed(damaged, extractor), np.asarray(reference.patients)[second])
        measured = measure_rows(self.outputs.sample(reference, extractor), self.halves, rows, self.limit)
        if measured["degraded real"][0].value <= measured[POSING][0].value:
            self.notes.append(
                f"The extractor {extractor.name} is insensitive: it does not rate degraded images as worse."
            )
        facts = {name: getattr(extractor, name) for name in ("name", "version", "size", "weights_sha256")}
        return {"extractor": facts, "rows": [{"name": name, "metrics": results} for name, results in measured.items()]}

    def sensitivity(self) -> list[JsonObject]:
        """Do the distances of the first extractor rise with damage?"""
        self.tools.say("sensitivity to degraded images")
        (first, second), extractor, real = self.halves, self.tools.extractors[0], self.sets.reference
        sample, patients = self.outputs.sample(real, extractor), np.asarray(real.patients)
        chosen = second[choose_patients(patients[second], SENSITIVITY_IMAGES)]
        pixels = read_squares([real.paths[k] for k in chosen], extractor.size)
        damaged = measure_degradations(sample.take(first), pixels, patients[chosen], extractor)
        rarer = real.targets[second, LABELS.index("PA")] == 0
        lost = measure_loss(sample.take(first), sample.take(second), rarer)
        counts = [len(chosen)] * len(damaged) + [len(second)] * len(lost)
        facts = {"extractor": extractor.name, "num_reference": len(first)}
        return [facts | {"num_images": count} | row for count, row in zip(counts, damaged + lost, strict=True)]

    def detail(self) -> Detail:
        """Sharpness, noise, contrast and sides at the native size."""
        self.tools.say("detail at the native size")
        part = measure_detail(self.sets.generated, self.sets.reference)
        notes = shape_note(self.sets.generated, self.sets.reference), size_note(self.sets.generated, part["side"])
        self.notes += filter(None, notes)
        return part

    def diversity(self) -> JsonObject:
        """How different the images are, within a prompt and as a whole."""
        self.tools.say("diversity")
        extractor, sets = self.tools.extractors[0], self.sets
        sides = (sets.diversity or sets.generated, sets.generated, sets.reference)
        several, generated, real = (FeatureSet(side, self.outputs.features(side, extractor)) for side in sides)
        part = measure_diversity(several, generated, real)
        self.notes += notes_on(part)
        return {"extractor": extractor.name, **part}

    def fidelity(self) -> JsonObject:
        """Whether the images show what their prompts asked for."""
        sides = self._fidelity_sides()
        self.tools.say("prompt fidelity")
        prompted = sides["generated"][0]
        baseline = self.sets.prompted_baseline or (self.sets.baseline if self.sets.prompted is None else None)
        if baseline is not None:
            sides["baseline"] = baseline, baseline.prompts
        readings = {name: self.outputs.readings(judge, sides) for name, judge in self.tools.judges.items()}
        prompts = sorted(set(prompted.prompts))
        facts = {"prompts_sha256": hashlib.sha256("\n".join(prompts).encode()).hexdigest(), "num_prompts": len(prompts)}
        return {**facts, "num_images": len(prompted), **measure_fidelity(self.tools.judges, readings)}

    def audit(self, auditor: Judge, copies: JsonObject | None) -> Audit:
        """Whether the judges find more than one that shares no patient with the model, on films that none has seen."""
        sides = self._fidelity_sides()
        self.tools.say("audit of the judges")
        films, _ = unknown_to([auditor], self.sets.reference)
        if len(films) < (total := len(self.sets.reference)):
            self.notes.append(
                f"The audit is on {len(films):,} of {total:,} real films: the auditing judge has learnt from the "
                "patients of the others."
            )
        sides["real"] = films, films.patients
        readings = {name: self.outputs.readings(judge, sides) for name, judge in self.tools.judges.items()}
        return measure_audit(self.tools.judges, auditor, readings, self.outputs.readings(auditor, sides), copies)

    def groups(self, judgeable: list[str]) -> list[Group]:
        """KD and PF by finding, sex, view and age, as the first extractor and the judges see them."""
        self.tools.say("groups of patients")
        extractor, sets = self.tools.extractors[0], self.sets
        prompted, sides = sets.asked, (sets.generated, sets.reference)
        readings = {
            name: self.outputs.reading(judge, prompted, prompted.prompts)
            for name, judge in self.tools.judges.items()
            if prompted.has_prompts
        }
        made, real = ((self.outputs.sample(side, extractor), side.targets) for side in sides)
        return measure_groups(made, real, readings, prompted.targets, self.tools.judges, judgeable)

    def probes(self) -> Probes:
        """Denials, and left and right."""
        images = self.sets.probes or self.sets.asked
        self.tools.say("denials and sides")
        part = measure_probes(self.tools.judges, images, self.sets.reference, self.outputs.scores, self.outputs.pixels)
        if not any(part.values()):
            raise NotMeasuredError("too few prompts deny a finding that others ask for, or name a side.")
        return part

    def copies(self) -> Copies:
        """Whether training images come back."""
        training, reference, control = self.sets.training, self.sets.reference, self.sets.control
        if training is None:
            raise NotMeasuredError("no training images were named (--training).")
        self.tools.say("copies of training images")
        return check_copies(
            self.outputs.copy_set(self.sets.generated, self.tools.extractors),
            self.outputs.copy_set(training, self.tools.extractors),
            self.outputs.copy_set(reference, self.tools.extractors),
            reference.patients,
            self.outputs.copy_set(control, self.tools.extractors) if control is not None else None,
            embed={one.name: functools.partial(embed, extractor=one) for one in self.tools.extractors},
        )

    def utility(self) -> Utility:
        """What classifiers that learn from the images are worth."""
        training, prompted = self.sets.training, self.sets.asked
        if training is None or not prompted.has_prompts or np.isnan(training.targets).all():
            raise NotMeasuredError("it needs labelled training images and prompts.")
        self.tools.say("utility: training classifiers")
        real, synthetic, test = map(labelled, (training, prompted, self.sets.reference))
        return measure_utility(real, synthetic, test, self.sets.reference.patients, say=self.tools.say)

    def failures(self) -> dict[str, MetricResult]:
        """How often nothing of use was made."""
        self.tools.say("failures")
        return measure_failures(
            self.outputs.pixels(self.sets.generated), self.sets.generated.hashes, self.sets.num_failed
        )

    def _fidelity_sides(self) -> dict[str, tuple[ImageSet, tuple[str, ...]]]:
        """The images that judges compare, and what belongs together among them."""
        prompted, real = self.sets.asked, self.sets.reference
        if not prompted.has_prompts:
            raise NotMeasuredError("the images come without prompts.")
        if np.isnan(real.targets).all():
            raise NotMeasuredError("the reference comes without labels for the ceiling.")
        return {"generated": (prompted, prompted.prompts), "real": (real, real.patients)}
