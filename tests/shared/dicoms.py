"""Small DICOM files of every kind of projection, and edits of their tags."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from fluoro_jax.io.dicom.projection import PROJECTIONS
from fluoro_jax.io.dicom.write import write_rt_image

CLASS = {name: uid for uid, name in PROJECTIONS.items()}
CT = "1.2.840.10008.5.1.4.1.1.2"
PERSON, NUMBER = "MUSTERMANN^ERIKA", "PID-4711"  # must appear in no output
SHAPE = (4, 6, 8)  # frames, rows, columns
PIXELS = np.random.default_rng(0).integers(100, 4000, SHAPE, dtype=np.uint16)
VIEW = {
    "ImagerPixelSpacing": [0.4, 0.3],
    "DistanceSourceToDetector": 1500,
    "DistanceSourceToPatient": 1000,
    "PositionerPrimaryAngle": 0,
    "PositionerSecondaryAngle": 0,
}


def base(kind="XA", pixels=PIXELS) -> Dataset:
    """A file without view or times, under a name that must not be printed."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.SOPClassUID = CLASS.get(kind, kind)
    ds.SOPInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3"
    ds.StudyInstanceUID = "1.2"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = PERSON, NUMBER, "19600101"
    ds.Modality = {"RT Image": "RTIMAGE", CT: "CT"}.get(kind, "RF")
    ds.Rows, ds.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def projection(kind="XA", **changed) -> Dataset:
    """A whole XA or XRF (enhanced or not) or RT Image; None removes a tag."""
    ds = base(kind)
    view = dict(VIEW, PatientOrientation=["R", "F"])
    if kind == "RT Image":
        view = rt_view()
    if kind.startswith("Enhanced"):
        enhance(ds, view, frames=SHAPE[0])
    else:
        edit(ds, FrameTime=100, **view)
    edit(ds, **changed)
    return ds


def rt_view():
    return {
        "ImagePlanePixelSpacing": [0.4, 0.3],
        "RTImageSID": 1500,
        "RadiationMachineSAD": 1000,
        "GantryAngle": 0,
        "RTImagePosition": [-1.05, 1.0],
        "XRayImageReceptorTranslation": [0, 0, -500],
        "PatientPosition": "HFS",
    }


def enhance(ds, view, frames):
    """Moves a view into functional groups, as the enhanced objects have it."""
    geometry, positioner, pixel = Dataset(), Dataset(), Dataset()
    geometry.DistanceSourceToDetector = view["DistanceSourceToDetector"]
    geometry.DistanceSourceToIsocenter = 1000
    positioner.PositionerPrimaryAngle = view["PositionerPrimaryAngle"]
    positioner.PositionerSecondaryAngle = view["PositionerSecondaryAngle"]
    pixel.ImagerPixelSpacing = view["ImagerPixelSpacing"]
    pixel.PixelIntensityRelationship = "LIN"
    pixel.PixelIntensityRelationshipSign = 1
    shared = Dataset()
    shared.XRayGeometrySequence = Sequence([geometry])
    shared.FramePixelDataPropertiesSequence = Sequence([pixel])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in range(frames):
        content, group, here = Dataset(), Dataset(), copy.deepcopy(positioner)
        content.FrameReferenceDateTime = f"20200101120000.{number}00000"
        group.FrameContentSequence = Sequence([content])
        group.PositionerPositionSequence = Sequence([here])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.PatientOrientation = view["PatientOrientation"]


def edit(ds, **changed):
    """Sets tags by keyword; None removes one."""
    for key, value in changed.items():
        if value is None:
            if key in ds:
                del ds[key]
        else:
            setattr(ds, key, value)
    return ds


def save(ds, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def put(folder: Path, kind="XA", **changed) -> Path:
    """One multi-frame file."""
    return save(projection(kind, **changed), folder / "clip.dcm")


def put_singles(folder: Path, kind="XA", order=(2, 0, 3, 1), change=None, **changed):
    """A folder of single frames, named against their order in time."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(order):
        ds = projection(kind, **changed)
        ds.PixelData = PIXELS[number].astype("<u2").tobytes()
        del ds.NumberOfFrames
        ds.SOPInstanceUID, ds.InstanceNumber = f"1.2.3.{number + 1}", number + 1
        ds.AcquisitionDate, ds.AcquisitionTime = "20200101", f"1200{number:02d}.5"
        if change:
            change(number, ds)
        save(ds, folder / f"frame{place}.dcm")
    return folder


def put_rt_image(folder: Path, clip, **keys) -> Path:
    write_rt_image(folder / "clip.dcm", clip, **keys)
    return folder / "clip.dcm"
