"""What is known of a file, one sentence after the other: from its manifest, its marks, logs, lists and its recipe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cxr.folders.metadata import CHECKSUMS_NAME, file_sha256
from cxr.images.pixel_mark import FEWEST_BITS, NUM_BITS
from cxr.provenance.signed_facts import INVALID, TRUSTED, SignedFacts
from cxr.provenance.traces import SOURCE_TYPES, Traces
from cxr.request.errors import CxrError

if TYPE_CHECKING:
    from cxr.provenance.checksums import SignedList

NAMES = {term.decode() for term in SOURCE_TYPES}
UNREAD = "its pixels cannot be read, and were not searched for this program's mark"

Remake = Callable[[Path], tuple[bool, str]]
"""Makes the image of a file again: whether it is the same, and how far it is from it, in words."""


class Evidence(NamedTuple):
    """One thing that is known of a file.

    Args:
        kind: "proof": it is synthetic; "fault": what says so is broken; "claim": it says so, and nobody vouches for it;
            "remark": all else.
        text: a sentence without its end.
    """

    kind: Literal["proof", "fault", "claim", "remark"]
    text: str


def of_manifest(manifest: SignedFacts | None) -> Iterator[Evidence]:
    """What a C2PA manifest says of where the file comes from, and whether that holds."""
    if manifest is None:
        return
    terms = [address.rpartition("/")[2] for address in manifest.digital_source_types]
    text = f"C2PA manifest by {manifest.generator or 'an unnamed program'}, signed by {manifest.signer}"
    is_generated = bool(NAMES & set(terms))
    if manifest.state == INVALID:
        reasons = ", ".join(manifest.reasons) or "no reason given"
        yield Evidence("fault" if is_generated else "remark", f"{text}: picture or manifest has changed ({reasons})")
    elif not is_generated:
        yield Evidence("remark", f"{text} says {', '.join(terms) or 'nothing of its source'}")
    elif manifest.state == TRUSTED:
        yield Evidence("proof", f"{text}: {', '.join(terms)}")
    else:
        yield Evidence("claim", f"{text}: {', '.join(terms)}; nobody here vouches for the signer")


def of_marks(traces: Traces) -> Iterator[Evidence]:
    """What the file says of itself, and the mark in its pixels."""
    for term in traces.source_types:
        yield Evidence("claim", f"IPTC's Digital Source Type is {term}")
    for program in traces.programs:
        yield Evidence("claim", f"carries {program}")
    if traces.synthetic_data:
        kind: Literal["claim", "remark"] = "claim" if traces.synthetic_data == "YES" else "remark"
        yield Evidence(kind, f"Synthetic Data (0008,001C) is {traces.synthetic_data}")
    if traces.is_synthetic_type:
        yield Evidence("claim", "Image Type (0008,0008) names SYNTHETIC")
    if traces.recipe_fault:  # of a later version, or another program
        yield Evidence("remark", f"its texts cannot be read here: {traces.recipe_fault[:200]}")
    if traces.mark is None:
        yield Evidence("remark", UNREAD)
    elif traces.mark.is_there:
        bits = f"{traces.mark.num_bits} of {NUM_BITS} bits; by chance 1 picture of 20 million has {FEWEST_BITS}"
        yield Evidence("claim", f"its pixels carry this program's mark ({bits})")


def of_log(path: Path) -> Iterator[Evidence]:
    """Whether this machine has signed the file."""
    from cxr.provenance.log import signed_here

    try:
        when = signed_here(file_sha256(path))
    except OSError:
        return
    if when:
        yield Evidence("proof", f"was signed on this machine on {when}")


def of_remaking(path: Path, remake: Remake) -> Iterator[Evidence]:
    """Whether its recipe gives the same image again."""
    try:
        is_same, text = remake(path)
    except CxrError as error:
        yield Evidence("remark", f"could not be made again: {error}")
        return
    yield Evidence("proof" if is_same else "fault", f"made again from its recipe: {text}")


def of_list(path: Path, authorities: bytes) -> Iterator[Evidence]:
    """What the signed list of the nearest folder above says of the file."""
    """From the signed list of the nearest folder above that has one."""
    from cxr.provenance.checksums import raw_sha256

    path = path.absolute()
    folder = next((folder for folder in path.parents if (folder / CHECKSUMS_NAME).exists()), path.parent)
    try:
        signed = _signed_list(folder, authorities)
    except CxrError as error:  # many folders have an unsigned list of that name
        yield Evidence("remark", f"the list of its folder was not looked at: {error}")
        return
    if signed is None or (name := path.relative_to(folder).as_posix()) not in signed.sha256:
        return
    text = f"is in the list {folder / CHECKSUMS_NAME}, signed by {signed.signer}"
    if not signed.is_valid:
        yield Evidence("fault", f"{text}: the list has changed")
    elif signed.sha256[name] != raw_sha256(path):
        yield Evidence("fault", f"{text}: the file has changed")
    elif signed.is_trusted:
        yield Evidence("proof", text)
    else:
        yield Evidence("claim", f"{text}; nobody here vouches for the signer")


@functools.lru_cache(maxsize=4)  # of many files in one folder
def _signed_list(folder: Path, authorities: bytes) -> SignedList | None:
    from cxr.provenance.checksums import read_list

    return read_list(folder, authorities)
