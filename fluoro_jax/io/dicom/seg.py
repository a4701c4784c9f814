"""Writes the masks of a clip as DICOM-SEG: one segment, one frame a frame.

The file refers to the frames of an RT Image that `write.write_rt_image` makes of the
same clip: both have the same synthetic patient and study, and no UID of the source.
Projections have no place in the patient, so a frame is tied to its source frame
(Derivation Image) and not to a plane. highdicom refuses multi-frame projections as
sources, hence this writer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.errors import refuse
from fluoro_jax.io.dicom.patient import image_axes, letters
from fluoro_jax.io.dicom.write import RT_IMAGE, Uids, identity, save

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
# SNOMED CT: a morphologically abnormal structure, and a neoplasm.
CATEGORY = ("49755003", "SCT", "Morphologically Altered Structure")
PROPERTY = ("108369006", "SCT", "Neoplasm")
DERIVED = ("113076", "DCM", "Segmentation")
SOURCE = ("121322", "DCM", "Source image for image processing operation")


def write_seg(
    path: Path | str, clip: Clip, masks: np.ndarray, *, algorithm: str
) -> None:
    """Writes masks as one DICOM-SEG file, whole or not at all.

    Args:
        path: of the file.
        clip: what was segmented.
        masks: `[T, H, W]` in {0, 1}; empty frames are kept.
        algorithm: name of what made the masks, at most 64 characters.

    Raises:
        UserError: masks of another shape than the clip's frames, or with other values;
            pydicom is not installed.
    """
    masks = np.asarray(masks)
    if masks.shape != np.shape(clip.frames) or not np.isin(masks, (0, 1)).all():
        refuse(
            f"masks of shape {masks.shape} for frames of {np.shape(clip.frames)}",
            "one mask a frame, of 0 and 1",
            "a segmentation says for each pixel whether it belongs",
            "give the masks of this clip",
        )
    uids = Uids(clip)
    dataset = identity(path, uids, SEGMENTATION, "SEG", "seg")
    # No frame of reference: projections have no place in the patient.
    del dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator
    axes = image_axes(float(clip.geometry.gantry_deg))
    dataset.PatientOrientation = [letters(axis) for axis in axes]
    _image(dataset, masks)
    dataset.SegmentSequence = [_segment(algorithm)]
    instance = uids("rtimage instance")
    _dimensions(dataset, uids("dimensions"))
    dataset.SharedFunctionalGroupsSequence = [_shared()]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(number, instance) for number in range(1, len(masks) + 1)
    ]
    series = item_of(
        SeriesInstanceUID=uids("rtimage series"),
        ReferencedInstanceSequence=[
            item_of(ReferencedSOPClassUID=RT_IMAGE, ReferencedSOPInstanceUID=instance)
        ],
    )
    dataset.ReferencedSeriesSequence = [series]
    save(path, dataset)


def item_of(**values: Any) -> Any:
    """Returns a pydicom `Dataset` of these attributes, as an item of a sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return item


def code_of(code: tuple[str, str, str]) -> Any:
    """Returns the item of a (value, scheme, meaning)."""
    value, scheme, meaning = code
    return item_of(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _image(dataset: Any, masks: np.ndarray) -> None:
    from pydicom.pixels.utils import pack_bits

    count, rows, cols = masks.shape
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ContentLabel, dataset.ContentDescription = "TUMOUR", "Tracked tumour"
    dataset.ContentCreatorName = ""
    # Of type 1; a fixed day, as the patient is a synthetic one.
    dataset.ContentDate, dataset.ContentTime = "20000101", "000000"
    dataset.LossyImageCompression = "00"
    dataset.SegmentationType, dataset.SegmentsOverlap = "BINARY", "NO"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = count, rows, cols
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    # Frames follow each other without padding; only the end is padded.
    dataset.PixelData = pack_bits(masks.astype(np.uint8).ravel(), pad=True)
    dataset["PixelData"].VR = "OB"


def _segment(algorithm: str) -> Any:
    return item_of(
        SegmentNumber=1,
        SegmentLabel="Tumour",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=algorithm[:64],
        SegmentedPropertyCategoryCodeSequence=[code_of(CATEGORY)],
        SegmentedPropertyTypeCodeSequence=[code_of(PROPERTY)],
    )


def _dimensions(dataset: Any, uid: str) -> None:
    from pydicom.tag import Tag

    pointers = (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        ("TemporalPositionIndex", "FrameContentSequence"),
    )
    dataset.DimensionOrganizationSequence = [item_of(DimensionOrganizationUID=uid)]
    dataset.DimensionIndexSequence = [
        item_of(
            DimensionOrganizationUID=uid,
            DimensionIndexPointer=Tag(key),
            FunctionalGroupPointer=Tag(group),
        )
        for key, group in pointers
    ]


def _shared() -> Any:
    segment = item_of(ReferencedSegmentNumber=1)
    return item_of(SegmentIdentificationSequence=[segment])


def _frame(number: int, instance: str) -> Any:
    content = item_of(DimensionIndexValues=[1, number], TemporalPositionIndex=number)
    source = item_of(
        ReferencedSOPClassUID=RT_IMAGE,
        ReferencedSOPInstanceUID=instance,
        ReferencedFrameNumber=number,
        PurposeOfReferenceCodeSequence=[code_of(SOURCE)],
    )
    derivation = item_of(
        DerivationCodeSequence=[code_of(DERIVED)], SourceImageSequence=[source]
    )
    return item_of(FrameContentSequence=[content], DerivationImageSequence=[derivation])
