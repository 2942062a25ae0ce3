"""Judges: small networks, trained on real radiographs only, that read labels off images.

They measure whether images show what their prompts asked for. They never choose, filter or guide what is generated.
Three come with this program: ``small`` and two judges of prompt fidelity. All learnt from real radiographs of patients
whom the reported reference does not hold; the generator may have learnt from the same ones (`cxr.evaluate.audit`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn

from cxr.folders.metadata import file_sha256
from cxr.images.pixels import from_uint8
from cxr.judges.networks import LabelNetwork, build_network
from cxr.labels.radiograph import plain_id
from cxr.labels.targets import AGE_CENTRE, AGE_SCALE, LABELS
from cxr.metrics.agreement import auroc
from cxr.metrics.result import JsonObject
from cxr.request.errors import DataError

BATCH = 64
WEIGHTS = Path(__file__).parent / "weights"
SMALL = "small"  # measures distances and chooses settings, and judges no report
JUDGES = ("dense", "residual")  # report and write receipts, and choose nothing
NAMES = (SMALL, *JUDGES)


@dataclass(frozen=True)
class Judge:
    """A network and what was fixed with it when it was trained.

    Args:
        name: of its architecture, a key of `NETWORKS`.
        network: ready for use.
        thresholds: [len(ATTRIBUTES)], the logit at and above which an attribute counts as seen; NaN where none could be
            set.
        sha256: of its file.
        facts: what it was trained on.
        salt: of the hashes.
        patient_hashes: `hash_patient` of everybody whose films it has learnt from; empty in files that do not say.
    """

    name: str
    network: LabelNetwork = field(repr=False)
    thresholds: NDArray[np.float64]
    sha256: str
    facts: JsonObject
    salt: str = ""
    patient_hashes: frozenset[str] = field(default=frozenset(), repr=False)

    def knows(self, patient_id: str) -> bool:
        """Whether it has learnt from films of this patient, as far as its file says."""
        return bool(self.patient_hashes) and hash_patient(patient_id, self.salt) in self.patient_hashes


def hash_patient(patient_id: str, salt: str) -> str:
    """What a judge's file calls a patient: 16 hexadecimal digits that do not give the id away at a glance.

    However programs write the id: `plain_id`.
    """
    return hashlib.sha256(f"{salt} {plain_id(patient_id)}".encode()).hexdigest()[:16]


def load_judge(path: Path) -> Judge:
    """Read a judge that ``python -m cxr train judge`` wrote.

    Raises:
        DataError: the file is missing or is not a judge.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["judge"])
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  no mapping
        network = build_network(facts["network"], int(facts.get("members", 1)))
        network.load_state_dict(weights)
        salt, patients = str(facts.pop("salt", "")), frozenset(map(str, facts.pop("patients", ())))
        thresholds = np.array([np.nan if value is None else value for value in facts.pop("thresholds")], np.float64)
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a judge that python -m cxr train judge wrote") from error
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third to a half quicker on a CPU
    return Judge(facts["network"], network, thresholds, file_sha256(path), facts, salt, patients)


def load_embedded(name: str) -> Judge:
    """One of `NAMES`.

    Raises:
        DataError: the installation lacks its file.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise DataError(f"{path} is missing; install the program again")
    return load_judge(path)


def read_labels(
    network: nn.Module, pixels: NDArray[np.uint8], device: torch.device | None = None
) -> NDArray[np.float64]:
    """Read labels off images.

    Args:
        network: a trained `LabelNetwork`.
        pixels: [N, 128, 128] uint8.
        device: where to run; the CPU by default.
    Returns:
        [N, len(LABELS) + 1]: a logit for each of `LABELS`, then the age in years.
    """
    rows = []
    for start in range(0, len(pixels), BATCH):
        with torch.inference_mode():
            rows.append(network(from_uint8(pixels[start : start + BATCH]).to(device or "cpu")).float().cpu())
    return _in_years(torch.cat(rows).numpy())


def scores_of(network: LabelNetwork, features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Labels from what `LabelNetwork.embed` gave, which may come from a cache.

    Args:
        network: a trained judge.
        features: [N, network.width].
    Returns:
        [N, len(LABELS) + 1]: a logit for each of `LABELS`, then the age in years.
    """
    with torch.inference_mode():
        outputs = network.head(torch.from_numpy(np.asarray(features, np.float32)))
    return _in_years(outputs.numpy())


def _in_years(outputs: NDArray[np.floating]) -> NDArray[np.float64]:
    scores = np.array(outputs, np.float64)
    scores[:, -1] = scores[:, -1] * AGE_SCALE + AGE_CENTRE
    return scores


def measure_labels(scores: NDArray[np.float64], targets: NDArray[np.float32]) -> dict[str, float]:
    """How well scores agree with what is known.

    Args:
        scores: [N, len(LABELS) + 1] from `scores_of`.
        targets: [N, len(LABELS) + 1] from `targets_of`.
    Returns:
        "auroc_<label>" for each label and "age_mae" in years; NaN where nothing can be said.
    """
    figures = {}
    for column, name in enumerate(LABELS):
        known = ~np.isnan(targets[:, column])
        figures[f"auroc_{name}"] = auroc(scores[known, column], targets[known, column] > 0)
    errors = np.abs(scores[:, -1] - targets[:, -1])
    figures["age_mae"] = float(np.nanmean(errors)) if not np.isnan(errors).all() else float("nan")
    return figures
