"""Writes a `Clip` as a multi-frame RT Image, under a synthetic identity alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax import __version__
from fluoro_jax.clip import Clip
from fluoro_jax.errors import refuse
from fluoro_jax.io.dicom.header import import_pydicom, quiet
from fluoro_jax.io.dicom.intensity import (
    CREATOR,
    CREATOR_TAG,
    DOMAIN_TAG,
    NEPER_PER_OD,
    OPTICAL_DENSITY,
)
from fluoro_jax.io.dicom.patient import (
    POSITIONS,
    as_head_first_supine,
    image_axes,
    letters,
)
from fluoro_jax.io.files import beside

RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
NAME, NUMBER = "SYNTHETIC^FLUORO_JAX", "SYNTHETIC"
TOP = 65535
EMPTY = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "OperatorsName",
    "PositionReferenceIndicator",
)


def write_rt_image(
    path: Path | str, clip: Clip, *, patient_position: str = "HFS"
) -> None:
    """Writes a clip as one RT Image file of 16 bits, whole or not at all.

    Line integrals and "log" are stored as thousandths of optical density (RescaleType
    OD), counts and display levels with a slope. The domain stands in a private tag.

    Args:
        path: of the file.
        clip: at least 2 frames; its view is in patient axes, as if head first supine.
        patient_position: how the patient of the file lies; the view and the pixels
            are turned accordingly, and `read_clip` turns them back.

    Raises:
        UserError: pydicom is not installed, or there is no such position.
    """
    if patient_position not in POSITIONS:
        refuse(
            f"patient position {patient_position!r}",
            "one of " + ", ".join(POSITIONS),
            "the patient's axes depend on it",
            "HFS, head first supine",
        )
    frames = np.asarray(clip.frames, np.float32)
    dataset = identity(path, Uids(clip), RT_IMAGE, "RTIMAGE", "rtimage")
    gantry_deg, half_turn = machine_angle(
        float(clip.geometry.gantry_deg), patient_position
    )
    _view(dataset, clip, gantry_deg, half_turn)
    # The frame of reference begins at the isocentre.
    dataset.PatientPosition, dataset.IsocenterPosition = patient_position, [0, 0, 0]
    sign = -1.0 if half_turn else 1.0
    axes = image_axes(float(clip.geometry.gantry_deg))
    dataset.PatientOrientation = [letters(sign * axis) for axis in axes]
    _times(dataset, clip)
    frames = frames[:, ::-1, ::-1] if half_turn else frames
    _pixels(dataset, frames, clip.domain)
    save(path, dataset)


def machine_angle(equal_deg: float, position: str) -> tuple[float, bool]:
    """Returns the gantry angle whose view in patient axes is `equal_deg`.

    The inverse of `patient.as_head_first_supine`.

    >>> machine_angle(30.0, "HFS"), machine_angle(330.0, "FFS")
    ((30.0, False), (30.0, True))
    """
    zero, half_turn = as_head_first_supine(0.0, position)
    quarter, _ = as_head_first_supine(90.0, position)
    sense = 1.0 if abs((quarter - zero) % 360.0 - 90.0) < 1.0 else -1.0
    # HFS as it stands, so that angles outside of [0, 360) come back as they were.
    if zero == 0.0 and sense > 0.0:
        return equal_deg, half_turn
    return (sense * (equal_deg - zero)) % 360.0, half_turn


def identity(path: Path | str, uids: Uids, sop: str, modality: str, role: str) -> Any:
    """Returns a new `Dataset` with synthetic patient, study and series.

    UIDs are made from the clip's content, so the same clip gives the same file.

    Args:
        path: named by the error if pydicom is missing.
        uids: of the clip.
        sop: SOP class UID.
        modality: of the series.
        role: makes the UIDs of several files of one clip differ.
    """
    import_pydicom(path)
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop
    dataset.SOPInstanceUID = uids(f"{role} instance")
    dataset.SeriesInstanceUID = uids(f"{role} series")
    dataset.StudyInstanceUID = uids("study")
    dataset.FrameOfReferenceUID = uids("frame of reference")
    dataset.PatientName, dataset.PatientID = NAME, NUMBER
    # Of type 2: present, and empty where nothing is known.
    for key in EMPTY:
        setattr(dataset, key, "")
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "synthetic identity of fluoro_jax"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 1
    dataset.Manufacturer = dataset.ManufacturerModelName = "fluoro_jax"
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = __version__, "0"
    return dataset


class Uids:
    """UIDs made from a clip's frames and view, and a role; hashes the frames once."""

    def __init__(self, clip: Clip) -> None:
        digest = hashlib.sha256(repr(clip.geometry).encode())
        for frame in np.asarray(clip.frames):
            digest.update(np.ascontiguousarray(frame).tobytes())
        self.digest = digest.hexdigest()

    def __call__(self, role: str) -> str:
        """Returns the UID of a role: the same for the same clip, always."""
        from pydicom.uid import generate_uid

        return generate_uid(entropy_srcs=[self.digest, role])


def save(path: Path | str, dataset: Any) -> None:
    """Writes a dataset in DICOM's file format, whole or not at all."""
    # pydicom warns that vectors of over 64 kB get another type, as the standard has it.
    with beside(Path(path)) as (fresh,), quiet():
        dataset.save_as(fresh, enforce_file_format=True)


def _number(value: float) -> str:
    """A decimal string of DICOM: 16 characters at most."""
    text = f"{value:.10g}"
    return text if len(text) <= 16 else f"{value:.8e}"


def _view(dataset: Any, clip: Clip, gantry_deg: float, half_turn: bool) -> None:
    view = clip.geometry
    sad, sdd = float(view.sad_mm), float(view.sdd_mm)
    (down, right), sign = map(float, view.offset_mm), -1.0 if half_turn else 1.0
    pixel = [float(one) for one in view.pixel_mm]
    numbers = lambda *values: [_number(value) for value in values]
    dataset.RTImageLabel, dataset.RTImageName = "CLIP", "fluoro_jax clip"
    dataset.ImageType = ["DERIVED", "SECONDARY", "RADIOGRAPH"]
    dataset.ConversionType, dataset.RTImagePlane = "WSD", "NORMAL"
    dataset.RadiationMachineName, dataset.PrimaryDosimeterUnit = "", ""
    dataset.RadiationMachineSAD, dataset.RTImageSID = _number(sad), _number(sdd)
    dataset.ImagePlanePixelSpacing = numbers(*pixel)
    dataset.RTImageOrientation = [1, 0, 0, 0, -1, 0]
    # The centre of the first pixel from the panel's centre, whose shift stands apart.
    half = ((view.cols - 1) / 2 * pixel[1], (view.rows - 1) / 2 * pixel[0])
    dataset.RTImagePosition = numbers(-half[0], half[1])
    shift = (sign * right, -sign * down, sad - sdd)
    dataset.XRayImageReceptorTranslation = numbers(*(one + 0.0 for one in shift))
    dataset.XRayImageReceptorAngle = 0
    dataset.GantryAngle = _number(gantry_deg)
    dataset.BeamLimitingDeviceAngle = dataset.PatientSupportAngle = 0
    dataset.ApprovalStatus = "UNAPPROVED"


def _times(dataset: Any, clip: Clip) -> None:
    from pydicom.tag import Tag

    times = np.asarray(clip.time_s, float)
    dataset.NumberOfFrames = len(times)
    dataset.FrameIncrementPointer = Tag("FrameTimeVector")
    steps = np.diff(times, prepend=times[:1]) * 1e3
    dataset.FrameTimeVector = [_number(step) for step in steps]


def _pixels(dataset: Any, frames: np.ndarray, domain: str) -> None:
    count, rows, cols = frames.shape
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, cols, count
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    unit, kind = 1.0, "US"
    if domain in ("line_integral", "log"):
        unit, kind = NEPER_PER_OD, OPTICAL_DENSITY
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = -1
    elif domain == "counts":
        dataset.PixelIntensityRelationship = "LIN"
        dataset.PixelIntensityRelationshipSign = 1
    # Display levels keep the whole range from 0 to 1, which the reader restores.
    low, high = (0.0, 1.0)
    if domain != "display":
        low, high = float(frames.min()) / unit, float(frames.max()) / unit
    zero, slope = _number(low), _number(max(high - low, 1e-6) / TOP)
    dataset.RescaleIntercept, dataset.RescaleSlope = zero, slope
    dataset.RescaleType = kind
    data = bytearray()
    for frame in frames:  # one by one: a long clip is not held twice as floats
        # With the numbers as written: their rounding is then no error of the pixels.
        stored = np.rint((frame / unit - float(zero)) / float(slope))
        data += np.clip(stored, 0, TOP).astype("<u2").tobytes()
    dataset.PixelData = bytes(data)
    dataset["PixelData"].VR = "OW"
    dataset.add_new(CREATOR_TAG, "LO", CREATOR)
    dataset.add_new(DOMAIN_TAG, "LO", domain)
