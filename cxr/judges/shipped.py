"""The networks that come with this project: ``small`` and two judges of prompt fidelity.

All three learnt from real radiographs of patients whom neither the generator nor the reported reference has seen.
"""

from __future__ import annotations

from pathlib import Path

from cxr.judges.judge import Judge, load_judge
from cxr.request.errors import DataError

WEIGHTS = Path(__file__).parent / "weights"
SMALL = "small"  # measures distances and chooses settings, and judges no report
JUDGES = ("dense", "residual")  # report and write receipts, and choose nothing
NAMES = (SMALL, *JUDGES)


def load_shipped(name: str, folder: Path = WEIGHTS) -> Judge:
    """One of `NAMES`.

    Raises:
        DataError: the installation lacks its file.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise DataError(f"{path} is missing; it belongs to the installation, which should be made again")
    return load_judge(path)
