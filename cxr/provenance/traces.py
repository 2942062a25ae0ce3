"""One file from anywhere -> everything in it that says how it was made. It is read in a limited child process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.folders.dicom_reader import read_recipe_text
from cxr.images.dicom_pixels import is_dicom, open_dicom
from cxr.images.guarded import read_or_refuse
from cxr.images.pixel_mark import FoundMark, find_mark
from cxr.images.png import RECIPE_KEY, XMP_KEY
from cxr.images.png_text import PNG_SIGNATURE, TEXT_CHUNKS, read_text
from cxr.images.reading import read_grey
from cxr.provenance.installed import missing_libraries
from cxr.provenance.signed_facts import FORMATS, SignedFacts, facts_of
from cxr.request.errors import CxrError, DataError
from cxr.request.limited_child import run_limited
from cxr.request.recipe import MAX_RECIPE_CHARACTERS, Recipe

MAX_BYTES = 256_000_000
MEMORY_BYTES, TIMEOUT_S, MAX_ANSWER_BYTES = 1_000_000_000, 60.0, 4_000_000
SOURCE_TYPES = (b"compositeWithTrainedAlgorithmicMedia", b"trainedAlgorithmicMedia", b"compositeSynthetic")
# Texts that other programs for generated images leave in a PNG.
OTHER_PROGRAMS = {
    "parameters": "AUTOMATIC1111's or Forge's parameters",
    "workflow": "a workflow of ComfyUI",
    "invokeai_metadata": "InvokeAI's metadata",
    "invokeai_graph": "InvokeAI's graph",
    "sd-metadata": "InvokeAI's metadata",
}


@dataclass(frozen=True)
class Traces:
    """What a file says of how it was made; what it does not say is None or empty.

    Args:
        manifest: its C2PA manifest.
        recipe: of this program.
        recipe_fault: why its texts, or the one in the place of a recipe, cannot be read.
        source_types: IPTC's Digital Source Types in its XMP.
        programs: whose texts it carries, in words.
        synthetic_data: DICOM's Synthetic Data (0008,001C), "YES" or "NO"; empty if it is not there.
        is_synthetic_type: whether DICOM's Image Type (0008,0008) names SYNTHETIC.
        mark: what was found of this program's mark in the pixels; None if they could not be read.
    """

    manifest: SignedFacts | None
    recipe: Recipe | None
    recipe_fault: str
    source_types: tuple[str, ...]
    programs: tuple[str, ...]
    synthetic_data: str
    is_synthetic_type: bool
    mark: FoundMark | None


def read_traces(path: Path, authorities: bytes, label: str) -> Traces:
    """Read what a picture or DICOM file says of itself.

    Args:
        path: of the file, which may come from anywhere.
        authorities: PEM of the certificates that are trusted; empty for none.
        label: what messages call it.
    Raises:
        DataError: it cannot be read, or takes too much memory or time.
    """
    answer = run_limited(
        __name__,
        [str(path.absolute())],
        label=label,
        error=DataError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=MAX_ANSWER_BYTES,
        stdin=authorities,
    )
    facts = json.loads(answer)
    manifest = facts_of(facts["manifest"]) if facts.get("manifest") else None
    text = facts.get("recipe") or (manifest.recipe if manifest else None)
    recipe, fault = _recipe(text)
    return Traces(
        manifest,
        recipe,
        fault or facts.get("recipe_fault", ""),
        tuple(facts.get("source_types", ())),
        tuple(facts.get("programs", ())),
        facts.get("synthetic_data", ""),
        facts.get("is_synthetic_type", False),
        FoundMark(*facts["mark"]) if facts["mark"] else None,
    )


def main(arguments: Sequence[str]) -> bytes:
    """What the child does with a path; the authorities come by standard input."""
    path, authorities = Path(arguments[0]), sys.stdin.read()
    if is_dicom(path):
        facts = _dicom_facts(path)
    else:
        facts = _picture_facts(read_or_refuse(path, MAX_BYTES), path.suffix.lower(), authorities)
    return json.dumps({**facts, "mark": _mark(path)}).encode()


def _picture_facts(content: bytes, suffix: str, authorities: str) -> Mapping[str, object]:
    facts: dict[str, object] = {"source_types": _source_types(content)}
    if content.startswith(PNG_SIGNATURE):
        suffix = ".png"
        # Another program's text may be long or cut; that it is there is enough.
        facts["programs"] = [text for key, text in OTHER_PROGRAMS.items() if _has_text(content, key)]
        try:
            facts["recipe"], xmp = (read_text(io.BytesIO(content), key) for key in (RECIPE_KEY, XMP_KEY))
            facts["source_types"] = _source_types((xmp or "").encode())
        except ValueError as error:
            facts["recipe_fault"] = str(error)
    if suffix in FORMATS and not missing_libraries():
        from cxr.provenance.manifest import read_store

        facts["manifest"] = read_store(content, FORMATS[suffix], authorities)
    return facts


def _mark(path: Path) -> FoundMark | None:
    """What the pixels tell, of whatever has some that can be read in this child's memory."""
    try:
        return find_mark(read_grey(path))
    except (DataError, MemoryError):
        return None


def _has_text(content: bytes, keyword: str) -> bool:
    return any(kind + keyword.encode() + b"\0" in content for kind in TEXT_CHUNKS)


def _source_types(content: bytes) -> list[str]:
    """IPTC's terms, wherever XMP may hold them; the longest first, as one ends with another."""
    found = []
    for term in SOURCE_TYPES:
        if term in content:
            found.append(term.decode())
            content = content.replace(term, b"")
    return found


def _dicom_facts(path: Path) -> Mapping[str, object]:
    dataset = open_dicom(path, with_pixels=False)
    text = read_recipe_text(dataset)
    kinds = dataset.get("ImageType") or ()  # pydicom gives a single value as text
    return {
        "recipe": text and text[: MAX_RECIPE_CHARACTERS + 1],  # longer ones are refused
        "synthetic_data": str(dataset.get("SyntheticData") or "")[:16],
        "is_synthetic_type": "SYNTHETIC" in ([kinds] if isinstance(kinds, str) else kinds),
    }


def _recipe(text: str | None) -> tuple[Recipe | None, str]:
    try:
        return (None if text is None else Recipe.from_json(text)), ""
    except CxrError as error:
        return None, str(error)
