"""Files and folders of this program: whether they are what they say they are.

All files may come from third parties: images are decoded in a limited child process, and faults are lines, not traces.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxr.dataset.header_faults import wrong_header
from cxr.dataset.reproduce import DIFFERENT, IDENTICAL, Comparison, Reproducer
from cxr.dataset.set_faults import find_faults
from cxr.folders.foreign_image import read_foreign
from cxr.folders.metadata import CHECKSUMS_NAME
from cxr.images.dicom_pixels import is_dicom
from cxr.provenance.installed import missing_libraries
from cxr.request.errors import DataError

NOT_THE_SAME = 1

Say = Callable[[str], None]


def verify_file(path: Path, reproducer: Reproducer, say: Say) -> int:
    """Make the image of one PNG or DICOM file again; of DICOM, also compare what the header says with the recipe.

    Args:
        say: called with the outcome.
    Returns:
        0 if it is identical or within tolerance and its header is right, else 1.
    Raises:
        CxrError: the file carries no recipe, or its model is not here.
    """
    outcome = reproducer.check(*read_foreign(path))
    say(f"{path}: {describe_outcome(outcome)}")
    faults = wrong_header(path) if is_dicom(path) else ()
    for fault in faults:
        say(f"{path}: {fault}")
    return NOT_THE_SAME if faults or outcome.verdict == DIFFERENT else 0


def verify_folder(directory: Path, reproducer: Reproducer, sample: int, say: Say) -> int:
    """Check a data set, or a folder of ``generate``: every file's hash, recipes, labels; then make some again.

    Args:
        sample: how many to make again, evenly from the whole set.
        say: called with what is wrong, and at the end with how much was checked.
    Returns:
        0 if all is as it should be, else 1.
    Raises:
        CxrError: it is not such a folder, or the model is not here.
    """
    images, faults = find_faults(directory)
    faults += _signature_faults(directory, say)
    for fault in faults:
        say(fault)
    say(f"{len(images)} images: " + (f"{len(faults)} faults" if faults else "files, recipes and labels are right"))
    code = NOT_THE_SAME if faults else 0
    for image in images[:: max(1, -(-len(images) // sample))] if sample else ():
        code = max(code, verify_file(image.path, reproducer, say))
    return code


def _signature_faults(directory: Path, say: Say) -> list[str]:
    """What has changed since the folder was signed; the signer is reported separately, as that is not a fault."""
    if not (directory / CHECKSUMS_NAME).exists():
        return []
    if missing := missing_libraries():
        say(f"{directory / CHECKSUMS_NAME} is not checked: {missing}")
        return []
    from cxr.provenance.checksums import changed_files, read_list
    from cxr.provenance.keys import known_authorities

    try:
        signed = read_list(directory, known_authorities())
    except DataError as error:
        return [str(error)]
    if signed is None:
        return []
    if not signed.is_valid:
        return [f"{directory / CHECKSUMS_NAME} does not fit its signature"]
    say(f"signed by {signed.signer}" + ("" if signed.is_trusted else ", for whom nobody here vouches"))
    return list(changed_files(directory, signed))


def describe_outcome(outcome: Comparison) -> str:
    """One line for a reader."""
    text = outcome.verdict
    if outcome.verdict != IDENTICAL:
        text += f", at most {outcome.max_levels:.1f} of 256 grey levels apart, PSNR {outcome.psnr_db:.1f} dB"
    return text + (f"; not as in the recipe: {', '.join(outcome.changed)}" if outcome.changed else "")
