"""What speaks for a file being synthetic -> one verdict, with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.provenance.evidence import UNREAD, Evidence, Remake, of_list, of_log, of_manifest, of_marks, of_remaking
from cxr.provenance.installed import check_installed, missing_libraries
from cxr.provenance.traces import read_traces

PROVEN = "synthetic, proven"
CLAIMED = "says that it is synthetic"
CHANGED = "says that it is synthetic, and has been changed since"
NOTHING = "nothing found, which does not mean that it is real"
NOT_LOOKED_AT = "signatures were not looked at, as the libraries for them are not installed"


@dataclass(frozen=True)
class Detection:
    """The verdict on one file.

    Args:
        verdict: `PROVEN`, `CLAIMED`, `CHANGED` or `NOTHING`.
        evidence: what it rests on, the strongest first.
    """

    path: Path
    verdict: str
    evidence: tuple[Evidence, ...]

    @property
    def is_unread(self) -> bool:
        """Whether nothing was found since there is no picture that can be read: it may be damaged."""
        return self.verdict == NOTHING and any(one.text == UNREAD for one in self.evidence)

    @property
    def values(self) -> dict[str, object]:
        """As JSON has it."""
        return {"path": str(self.path), "verdict": self.verdict, "evidence": [one._asdict() for one in self.evidence]}


def trusted_authorities(others: Path | None = None) -> bytes:
    """PEM of the certificates that are trusted: this machine's own, and those of a file.

    Args:
        others: PEM file, or None.
    Raises:
        DataError: the file cannot be read; or it is named, and the libraries for signatures are not installed.
    """
    if others is None and missing_libraries():
        return b""
    check_installed()
    from cxr.provenance.keys import known_authorities, pem_of, read_certificates

    return known_authorities() + (pem_of(read_certificates(others)) if others else b"")


def detect(path: Path, authorities: bytes, remake: Remake | None = None, label: str = "") -> Detection:
    """Gather what is known of one file.

    Args:
        path: of a picture or a DICOM file from anywhere.
        authorities: PEM of the certificates that are trusted; empty for none.
        remake: called for files with a recipe; None to make nothing again.
        label: what messages call it; its path if empty.
    Raises:
        DataError: the file cannot be read.
    """
    traces = read_traces(path, authorities, label or str(path))
    found = [*of_manifest(traces.manifest), *of_marks(traces)]
    if traces.recipe is not None:
        made_by = f"model {traces.recipe.model}, seed {traces.recipe.seed}"
        found.append(Evidence("claim", f"carries a recipe of this program: {made_by}"))
        found += of_log(path)
        found += of_remaking(path, remake) if remake else ()
    if missing_libraries():
        found.append(Evidence("remark", NOT_LOOKED_AT))
    elif any(one.kind != "remark" for one in found):  # a list says that a file is unchanged, and not what it is
        found += of_list(path, authorities)
    order = ("proof", "fault", "claim", "remark")
    found.sort(key=lambda one: order.index(one.kind))
    return Detection(path, _verdict({one.kind for one in found}), tuple(found))


def _verdict(kinds: set[str]) -> str:
    if "fault" in kinds:
        return CHANGED
    if "proof" in kinds:
        return PROVEN
    return CLAIMED if "claim" in kinds else NOTHING
