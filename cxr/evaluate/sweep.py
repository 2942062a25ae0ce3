"""Settings tried out side by side: how fidelity, closeness and diversity move against each other.

What is chosen here is chosen by the extractor ``small`` and by its own reading of labels, never by the judges that
report: a figure that had chosen the settings would praise its own choice. Seeds and prompts differ from the report's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cxr.evaluate.diversity import FeatureSet, measure_diversity
from cxr.evaluate.extractors.registry import extractor_of
from cxr.evaluate.fixed_prompts import diversity_requests, matched_requests
from cxr.evaluate.image_set import ImageSet
from cxr.evaluate.network_outputs import NetworkOutputs
from cxr.evaluate.own_report import Model, make_missing_images, set_of
from cxr.judges.judge import SMALL, load_embedded
from cxr.judges.prompt_agreement import measure_agreement
from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import ATTRIBUTES
from cxr.labels.vocabulary import FINDINGS
from cxr.metrics.kernel import kernel_distance
from cxr.metrics.neighbours import measure_neighbourhoods
from cxr.metrics.result import JsonObject
from cxr.metrics.sample import Sample
from cxr.request.generation_request import GenerationRequest

SEED_OFFSET = 5_000_000  # no image of a sweep is an image of a report
NUM_PROMPTS = 300
NUM_REFERENCE = 1_500
NUM_DIVERSE = 6


@dataclass(frozen=True)
class Settings:
    """One point of a sweep; what is not named is as in any request."""

    guidance_scale: float = GenerationRequest.guidance_scale
    num_inference_steps: int = GenerationRequest.num_inference_steps
    adapter_weight: float = GenerationRequest.adapter_weight
    guidance_stop: float = GenerationRequest.guidance_stop

    @property
    def name(self) -> str:
        """For a folder: numbers only."""
        return f"g{self.guidance_scale:g}_s{self.num_inference_steps}_w{self.adapter_weight:g}_e{self.guidance_stop:g}"


# One setting moved at a time around one point, which is not the default: what is best is then chosen among all of them.
AROUND = Settings(guidance_scale=1.5, num_inference_steps=8, adapter_weight=1.0, guidance_stop=1.0)
GRID = (
    *(replace(AROUND, guidance_scale=value) for value in (1.0, 1.5, 2.0, 4.0)),
    *(replace(AROUND, num_inference_steps=value) for value in (5, 12)),
    *(replace(AROUND, adapter_weight=value) for value in (0.0, 0.8)),
    *(replace(AROUND, guidance_stop=value) for value in (0.4, 0.7)),
)


def run_sweep(model: Model, records: Sequence[Radiograph], work: Path, say: Callable[[str], None]) -> JsonObject:
    """Make images with each of the settings of `GRID` and measure them.

    Args:
        model: what makes them.
        records: real radiographs, not those of a report's reference; the prompts ask for the labels of some.
        work: folder of the images; what is in it already is not made again.
        say: called with the settings that begin.
    Returns:
        The part "sweep" of a report.
    Raises:
        CxrError: the model cannot be loaded or the folder cannot be written.
    """
    selector = _Selector(set_of(records[:: max(1, len(records) // NUM_REFERENCE)], Path("selection")))
    points = []
    for settings in GRID:
        say(f"settings {settings.name}")
        images = make_missing_images(
            [_changed(request, settings) for request in _requests(records)], work / settings.name, model
        )
        points.append(asdict(settings) | selector.measure(images))
    return {"parameter": "guidance_scale", "selected_by": SMALL, "num_prompts": NUM_PROMPTS, "points": points}


def _requests(records: Sequence[Radiograph]) -> list[GenerationRequest]:
    # Evenly from the whole list, whose neighbours are often of one patient.
    matched = matched_requests(records[:: max(1, len(records) // NUM_PROMPTS)])[:NUM_PROMPTS]
    return matched + diversity_requests()[:NUM_DIVERSE]


def _changed(request: GenerationRequest, settings: Settings) -> GenerationRequest:
    return replace(request, seed=request.seed + SEED_OFFSET, **asdict(settings))


class _Selector:
    """Measures images as the extractor `SMALL` sees them, beside real ones."""

    def __init__(self, reference: ImageSet) -> None:
        self.judge, self.reference, self.outputs = load_embedded(SMALL), reference, NetworkOutputs(None)
        self.extractor = extractor_of(self.judge.name, self.judge)

    def measure(self, images: ImageSet) -> dict[str, float]:
        real, generated = (self.outputs.features(side, self.extractor) for side in (self.reference, images))
        reading = self.outputs.reading(self.judge, images, images.prompts)
        agreement = measure_agreement(reading, self.judge.thresholds)
        findings = [column for column, name in enumerate(ATTRIBUTES) if name in FINDINGS]
        sides = FeatureSet(images, generated), FeatureSet(images, generated), FeatureSet(self.reference, real)
        rows = {row["name"]: row["metrics"] for row in measure_diversity(*sides)["rows"]}
        neighbourhoods = measure_neighbourhoods(real, generated)
        return {
            "KD": kernel_distance(Sample(real, self.reference.patients), generated).value,
            "coverage": neighbourhoods["coverage"],
            "PF": float(np.nanmean(agreement.pf[0])),
            "AUROC": float(np.nanmean(agreement.auroc[0, findings])),
            "AUROC_male": float(agreement.auroc[0, ATTRIBUTES.index("male")]),
            "age_MAE": float(agreement.mae[0]),
            "MS-SSIM": rows["generated"][2].value if "generated" in rows else float("nan"),
        }
