"""What speaks for a file being synthetic -> one verdict, with what it rests on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxr.folders.metadata import CHECKSUMS_NAME, file_sha256
from cxr.provenance.checksums import raw_sha256, read_list
from cxr.provenance.manifest import INVALID, TRUSTED, SignedFacts
from cxr.provenance.signing import signed_here
from cxr.provenance.traces import SOURCE_TYPES, Traces, read_traces
from cxr.request.errors import CxrError

PROVEN = "synthetic, proven"
CLAIMED = "says that it is synthetic"
CHANGED = "says that it is synthetic, and has been changed since"
NOTHING = "nothing found, which does not mean that it is real"
NAMES = {term.decode() for term in SOURCE_TYPES}

Remake = Callable[[Path], tuple[bool, str]]
"""Makes the image of a file again: whether it is the same, and how far it is from it, in words."""


@dataclass(frozen=True)
class Detection:
    """The verdict on one file.

    Args:
        path: of the file.
        verdict: `PROVEN`, `CLAIMED`, `CHANGED` or `NOTHING`.
        evidence: what it rests on, one sentence each.
    """

    path: Path
    verdict: str
    evidence: tuple[str, ...]

    @property
    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"path": str(self.path)}


def detect(path: Path, authorities: bytes, remake: Remake | None = None) -> Detection:
    """Gather what is known of one file.

    Args:
        path: of a picture or a DICOM file, which may be anybody's.
        authorities: PEM of the certificates that are trusted; empty for none.
        remake: called for files with a recipe; None to make nothing again.
    Raises:
        DataError: the file cannot be read.
    """
    traces = read_traces(path, authorities)
    proofs, claims, faults = _of_manifest(traces.manifest)
    claims += _of_marks(traces)
    for found, listed in zip((proofs, claims, faults), _of_list(path, authorities), strict=True):
        found += listed
    if traces.recipe is not None:
        claims.append(f"carries a recipe of this program: model {traces.recipe.model}, seed {traces.recipe.seed}")
        if when := signed_here(file_sha256(path)):
            proofs.append(f"was signed on this machine on {when}")
        if remake is not None:
            _remake(path, remake, proofs, faults, claims)
    return Detection(path, _verdict(proofs, claims, faults), tuple(proofs + faults + claims))


def _verdict(proofs: list[str], claims: list[str], faults: list[str]) -> str:
    if faults:
        return CHANGED
    if proofs:
        return PROVEN
    return CLAIMED if any(not claim.startswith("not ") for claim in claims) else NOTHING


def _of_manifest(manifest: SignedFacts | None) -> tuple[list[str], list[str], list[str]]:
    """Proofs, claims and faults."""
    if manifest is None:
        return [], [], []
    terms = [address.rpartition("/")[2] for address in manifest.digital_source_types]
    what = f"C2PA manifest by {manifest.generator or 'an unnamed program'}, signed by {manifest.signer}"
    if manifest.state == INVALID:
        return [], [], [f"{what}: picture or manifest has changed ({', '.join(manifest.reasons) or 'no reason given'})"]
    if not NAMES & set(terms):
        return [], [f"not marked as generated: {what} says {', '.join(terms) or 'nothing of its source'}"], []
    text = f"{what}: {', '.join(terms)}"
    if manifest.state == TRUSTED:
        return [text], [], []
    return [], [f"{text}; nobody here vouches for the signer"], []


def _of_marks(traces: Traces) -> list[str]:
    claims = [f"XMP says {term}" for term in traces.source_types]
    claims += [f"carries {text}" for text in traces.programs]
    return claims + [
        f"{'' if 'is NO' not in text else 'not marked as generated: '}DICOM: {text}" for text in traces.dicom
    ]


def _remake(path: Path, remake: Remake, proofs: list[str], faults: list[str], claims: list[str]) -> None:
    try:
        is_same, text = remake(path)
    except CxrError as error:
        claims.append(f"could not be made again: {error}")
        return
    (proofs if is_same else faults).append(f"made again from its recipe: {text}")


def _of_list(path: Path, authorities: bytes) -> tuple[list[str], list[str], list[str]]:
    """Proofs, claims and faults, from the signed list of the nearest folder above that has one."""
    folders = [folder for folder in path.absolute().parents if (folder / CHECKSUMS_NAME).exists()]
    signed = _read_list(folders[0], authorities) if folders else None
    name = path.absolute().relative_to(folders[0]).as_posix() if folders else ""
    if signed is None or name not in signed.sha256:
        return [], [], []
    text = f"is in the list {folders[0] / CHECKSUMS_NAME}, signed by {signed.signer}"
    if not signed.is_valid:
        return [], [], [f"{text}: the list has changed"]
    if signed.sha256[name] != raw_sha256(path):
        return [], [], [f"{text}: the file has changed"]
    return ([text], [], []) if signed.is_trusted else ([], [f"{text}; nobody here vouches for the signer"], [])


_read_list = functools.lru_cache(maxsize=4)(read_list)  # of many files in one folder
