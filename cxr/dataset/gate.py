"""An optional gate: images that do not show what was asked are made again. Its judge is never one that measures."""

from __future__ import annotations

from cxr.images.pixels import to_8_bits
from cxr.images.squares import fit_square
from cxr.judges.judge import SMALL, load_embedded, read_labels
from cxr.judges.networks import SIZE
from cxr.labels.radiograph import NO_FINDING
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS, PromptLabels
from cxr.request.events import GreyLevels

ABNORMAL = "abnormal"
GATE_NAME = SMALL


class Gate:
    """The judge `SMALL`, which makes features and tries settings, and writes no report.

    Raises:
        DataError: its weights are not there.
    """

    def __init__(self) -> None:
        self.judge = load_embedded(GATE_NAME)

    def missing(self, pixels: GreyLevels, labels: PromptLabels) -> list[str]:
        """What was asked for and is not seen.

        Args:
            pixels: [H, W] uint8 or uint16.
            labels: what was asked for; findings alone are looked at.
        Returns:
            Names of findings, or "No Finding" for an image that should show none and looks abnormal.
        """
        if labels.findings is None:
            return []
        scores = read_labels(self.judge.network, fit_square(to_8_bits(pixels), SIZE)[None])[0]
        seen = {
            name
            for name, score, threshold in zip(LABELS, scores, self.judge.thresholds, strict=False)
            if score >= threshold
        }
        if not labels.findings:
            return [NO_FINDING] if ABNORMAL in seen else []
        return [name for name in FINDINGS if name in labels.findings and name in LABELS and name not in seen]
