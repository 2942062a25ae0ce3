"""Images -> DICOM: Secondary Capture objects that say of themselves, in several places, that they are synthetic.

Source: DICOM PS3.3, A.8.1 (Secondary Capture Image IOD), C.12.1.1.1 (Synthetic Data), C.7.6.1.1.2 (Image Type);
PS3.5, B.2 (UIDs from UUIDs).
"""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr import __version__
from cxr.labels.cells import sides_cell
from cxr.labels.vocabulary import PromptLabels
from cxr.request.errors import DataError
from cxr.request.recipe import Recipe

if TYPE_CHECKING:  # imported where it is used: the page is up before that
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

# UIDs are named after what they stand for, so that the same image always has the same one.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "cxr-studio")
PRIVATE_GROUP, PRIVATE_CREATOR = 0x0099, "CXR STUDIO"
RECIPE_ELEMENT = 0x01
BITS = (8, 12, 16)
# Longest Short Text, and Long String and Person Name, in characters (PS3.5, 6.2). Some validators count bytes.
LONGEST_DESCRIPTION, LONGEST_NAME = 1024, 64
ASKED_FOR, SIDES = "Asked for: ", "; sides: "


@dataclass(frozen=True)
class SyntheticPatient:
    """Whom an object belongs to.

    Args:
        patient_id: "SYN0000001"; letters, digits, _ and -, at most 64.
        labels: what the prompt asked for; sex, age and view go into the object, findings into its comments.
        origin: tells patients of the same ID in two data sets apart, a hash for example.
        counterfactual_of: ID of the patient whose other image this is, with something changed; else empty.
    """

    patient_id: str
    labels: PromptLabels
    origin: str = ""
    counterfactual_of: str = ""


def encode_dicom(
    pixels: NDArray[np.unsignedinteger], recipe: Recipe, patient: SyntheticPatient, bits: int = 16
) -> bytes:
    """Encode one image as a Secondary Capture object; the same image gives the same bytes.

    Args:
        pixels: [H, W] uint8 for 8 bits, uint16 for 12 and 16, 0 = black.
        recipe: goes whole into a private element, in short into Derivation Description.
        patient: synthetic, too.
        bits: Bits Stored.
    Raises:
        DataError: the pixels are not of the kind that ``bits`` needs.
    """
    _check(pixels, bits)
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = uid_of("image", patient.origin, patient.patient_id, recipe.sha256, str(bits))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid_of("implementation")
    meta.ImplementationVersionName = "CXR_STUDIO"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _add_patient(dataset, patient, recipe)
    _add_origin(dataset, recipe)
    _add_pixels(dataset, pixels, bits)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def uid_of(*names: str) -> UID:
    """A UID that is always the same for the same names: 2.25 and a name-based UUID as a whole number."""
    from pydicom.uid import UID

    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(names)).int}")


def _check(pixels: NDArray[np.unsignedinteger], bits: int) -> None:
    wanted = np.uint8 if bits == 8 else np.uint16
    if bits not in BITS or pixels.ndim != 2 or pixels.dtype != wanted or int(pixels.max(initial=0)) >= 2**bits:
        raise DataError(
            f"{bits} bits of {list(pixels.shape)} {pixels.dtype}; use [H, W] uint8 for 8 bits, uint16 for 12 or 16"
        )


def _add_patient(dataset: Dataset, patient: SyntheticPatient, recipe: Recipe) -> None:
    """Patient, General Study and General Series; what a real examination would have and this has not is empty."""
    labels = patient.labels
    dataset.PatientName = _plain(f"SYNTHETIC^{patient.patient_id}", LONGEST_NAME)
    dataset.PatientID = patient.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = labels.sex or ""
    if labels.age is not None:
        dataset.PatientAge = f"{labels.age:03d}Y"
    dataset.PatientComments = recipe.notice
    if patient.counterfactual_of:
        dataset.PatientComments += f" Counterfactual of {patient.counterfactual_of}: the same seed, other words."
    dataset.StudyInstanceUID = uid_of("study", patient.origin, patient.patient_id)
    dataset.SeriesInstanceUID = uid_of("series", patient.origin, patient.patient_id)
    for keyword in ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"):
        setattr(dataset, keyword, "")
    dataset.Modality = "OT"  # never that of a device that would have taken it
    dataset.SeriesNumber = None
    dataset.SeriesDescription = "Synthetic chest radiograph"
    dataset.InstanceNumber = 1  # each synthetic patient has one image
    if labels.findings is not None:
        sides = f"{SIDES}{sides_cell(labels)}" if labels.sides else ""
        dataset.ImageComments = f"{ASKED_FOR}{', '.join(labels.findings) or 'no finding'}{sides}"
    dataset.BodyPartExamined = "CHEST"
    if labels.view is not None:
        dataset.ViewPosition = labels.view
    dataset.PatientOrientation = ""


def _add_origin(dataset: Dataset, recipe: Recipe) -> None:
    """What the object is, what made it, and from what."""
    dataset.SyntheticData = "YES"
    dataset.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC"]
    dataset.ConversionType = "SYN"
    if not recipe.is_derived:  # the picture that it began from has not been inspected
        dataset.BurnedInAnnotation = "NO"
    dataset.Manufacturer = "CXR Studio"
    dataset.ManufacturerModelName = _plain(recipe.model, LONGEST_NAME)
    dataset.SoftwareVersions = __version__
    facts = (
        f"{recipe.notice} Model {recipe.model} ({recipe.model_revision}), LoRA {recipe.adapter} "
        f"(weight {recipe.adapter_weight:g}), seed {recipe.seed}, {recipe.num_inference_steps} steps, guidance "
        f"{recipe.guidance_scale:g}. Recipe SHA-256 {recipe.sha256}. Prompt: {recipe.prompt}"
    )
    dataset.DerivationDescription = _plain(facts, LONGEST_DESCRIPTION)
    from pydicom.dataset import Dataset

    equipment = Dataset()
    equipment.Manufacturer, equipment.ManufacturerModelName = "CXR Studio", dataset.ManufacturerModelName
    equipment.SoftwareVersions = __version__
    equipment.ContributionDescription = "Generated the image from a text prompt" + " and a picture" * recipe.is_derived
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    dataset.ContributingEquipmentSequence = [equipment]
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(RECIPE_ELEMENT, "UT", recipe.to_json())


def _plain(text: str, max_bytes: int) -> str:
    """Text for elements that have no control characters, and in which a backslash would begin another value."""
    shown = "".join(character if character.isprintable() else " " for character in text.replace("\\", "/"))
    return shown.strip().encode()[:max_bytes].decode("utf-8", "ignore").strip()


def _add_pixels(dataset: Dataset, pixels: NDArray[np.unsignedinteger], bits: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
