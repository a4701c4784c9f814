"""Writes CT series and RTSTRUCTs with a synthetic identity.

For the phantom and for tests: every UID follows from a seed, so that files written in
several calls refer to one another, and the same call writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.dicom.header import import_pydicom
from fluoro_jax.io.files import beside
from fluoro_jax.io.volumes import Roi

# Directions of a slice's rows and columns in LPS, as scanners write them.
POSITIONS = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDL": (0, -1, 0, 1, 0, 0),
    "HFDR": (0, 1, 0, -1, 0, 0),
    "FFDL": (0, 1, 0, 1, 0, 0),
    "FFDR": (0, -1, 0, -1, 0, 0),
}
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
INTERCEPT = -1024  # HU of a stored 0, as most scanners write
HU_STORED = (-1024, 31743)
DATE, TIME = "20000101", "120000"
MOST_DS = 16  # characters of a decimal string


@dataclass(frozen=True)
class Identity:
    """The synthetic patient of a set of files.

    Attributes:
        seed: all UIDs follow from it, so that files of one seed refer to one another.
        name: PatientName and PatientID.
    """

    seed: int = 0
    name: str = "PHANTOM"

    def uid(self, *what: object) -> str:
        """Returns the UID of a thing, always the same for the same identity."""
        pydicom = import_pydicom(Path("an identity"))
        words = [str(word) for word in (self.name, self.seed, *what)]
        return str(pydicom.uid.generate_uid(prefix="2.25.", entropy_srcs=words))


def write_ct_series(
    folder: Path,
    hu: np.ndarray,
    grid: Grid,
    *,
    identity: Identity | None = None,
    position: str = "HFS",
    percent: float | None = None,
) -> str:
    """Writes a volume as one CT series.

    Args:
        folder: takes one file a slice; made if missing.
        hu: `[Z, Y, X]` along LPS axes; rounded to whole HU.
        grid: LPS mm.
        identity: of the patient.
        position: one of `POSITIONS`; slices are turned as a scanner writes them.
        percent: breathing phase, written as SeriesDescription "NN%".

    Returns:
        Its SeriesInstanceUID.

    Raises:
        UserError: another position, or no pydicom.
    """
    import_pydicom(folder)
    identity = identity or Identity()
    turned, places, axes, pixel = _turned(hu, grid, position)
    low, high = HU_STORED
    stored = (np.clip(np.round(turned), low, high) - INTERCEPT).astype("<u2")
    folder.mkdir(parents=True, exist_ok=True)
    step_mm = float(np.linalg.norm(places[1] - places[0]))
    for index, (plane, place) in enumerate(zip(stored, places, strict=True)):
        data = _header(identity, "CT", CT_IMAGE, identity.uid("ct", percent, index))
        data.SeriesInstanceUID = identity.uid("series", percent)
        data.SeriesDescription = "CT" if percent is None else f"{percent:g}%"
        data.SeriesNumber = 1 if percent is None else 1 + int(percent)
        data.FrameOfReferenceUID = identity.uid("frame")
        data.PositionReferenceIndicator = ""
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.InstanceNumber = index + 1
        data.PatientPosition = position
        data.ImagePositionPatient = [_decimal(v) for v in place]
        data.ImageOrientationPatient = [_decimal(v) for v in axes]
        data.PixelSpacing = [_decimal(v) for v in pixel]
        data.SliceThickness = _decimal(step_mm)
        data.KVP, data.AcquisitionNumber = "120", 1
        data.RescaleIntercept, data.RescaleSlope = str(INTERCEPT), "1"
        data.RescaleType = "HU"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows, data.Columns = plane.shape
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        data.PixelData = plane.tobytes()
        _save(folder / f"{index:04d}.dcm", data)
    return str(identity.uid("series", percent))


def _turned(
    hu: np.ndarray, grid: Grid, position: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    """Returns slices as scanned, their places `[N, 3]`, directions, pixel mm."""
    if position not in POSITIONS:
        refuse(
            f"patient position {position}",
            ", ".join(POSITIONS),
            why="it says how slices lie in the patient",
            fix="HFS is head first supine",
        )
    axes = np.array(POSITIONS[position], float)
    normal = np.cross(axes[:3], axes[3:])
    spacing = np.array([float(s) for s in grid.spacing_mm])
    first = np.array([float(o) for o in grid.origin_mm])
    values, size = np.asarray(hu), np.array(hu.shape[::-1])
    # World axis and sense of each stored axis: (slice, row, column).
    stored = [(int(np.abs(d).argmax()), float(d.sum())) for d in
              (normal, axes[3:], axes[:3])]  # fmt: skip
    values = np.transpose(values, [2 - world for world, _ in stored])
    for axis, (world, sense) in enumerate(stored):
        if sense < 0.0:
            values = np.flip(values, axis)
            first[world] += (size[world] - 1) * spacing[world]
    step = normal * spacing[stored[0][0]]
    places = first + np.arange(len(values))[:, None] * step
    pixel = (float(spacing[stored[1][0]]), float(spacing[stored[2][0]]))
    return np.ascontiguousarray(values), places, axes, pixel


def write_rtstruct(
    path: Path,
    rois: Sequence[Roi],
    *,
    identity: Identity | None = None,
    percent: float | None = None,
) -> None:
    """Writes ROIs as an RTSTRUCT that refers to a series of `write_ct_series`.

    Args:
        path: of the file; its folder is made if missing.
        rois: contours and points; names as they are. A ROI's own UIDs replace those of
            the identity.
        identity: of the patient, as the CT's.
        percent: phase of the CT that the contours were drawn on.

    Raises:
        UserError: no pydicom.
    """
    import_pydicom(path)
    identity = identity or Identity()
    dataset = import_pydicom(path).Dataset
    uid = identity.uid("rtstruct", percent)
    data = _header(identity, "RTSTRUCT", RTSTRUCT, uid)
    data.SeriesInstanceUID = identity.uid("rtstruct series", percent)
    data.SeriesNumber, data.InstanceNumber = 100, 1
    data.StructureSetLabel = "PHANTOM"
    data.StructureSetDate, data.StructureSetTime = DATE, TIME
    default = (identity.uid("frame"), identity.uid("series", percent))
    rois = [
        replace(r, frame_uid=r.frame_uid or default[0],
                series_uid=r.series_uid or default[1])
        for r in rois
    ]  # fmt: skip
    frames = {roi.frame_uid: roi.series_uid for roi in rois} or dict([default])
    data.ReferencedFrameOfReferenceSequence = [
        _frame_item(dataset, str(data.StudyInstanceUID), *pair)
        for pair in frames.items()
    ]
    data.StructureSetROISequence = []
    data.ROIContourSequence, data.RTROIObservationsSequence = [], []
    for number, roi in enumerate(rois, start=1):
        named, drawn, seen = _roi_items(dataset, number, roi)
        data.StructureSetROISequence.append(named)
        data.ROIContourSequence.append(drawn)
        data.RTROIObservationsSequence.append(seen)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(path, data)


def _frame_item(dataset: Any, study: str, frame: str, series: str) -> Any:
    item, one, inner = dataset(), dataset(), dataset()
    inner.SeriesInstanceUID = series
    one.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # as TPSs write it
    one.ReferencedSOPInstanceUID = study
    one.RTReferencedSeriesSequence = [inner]
    item.FrameOfReferenceUID = frame
    item.RTReferencedStudySequence = [one]
    return item


def _roi_items(dataset: Any, number: int, roi: Roi) -> tuple[Any, Any, Any]:
    named, drawn, seen = dataset(), dataset(), dataset()
    named.ROINumber, named.ROIName = number, roi.name
    named.ReferencedFrameOfReferenceUID = roi.frame_uid
    named.ROIGenerationAlgorithm = "AUTOMATIC"
    drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [255, 0, 0]
    drawn.ContourSequence = []
    shapes = [("CLOSED_PLANAR", points) for points in roi.contours_mm]
    shapes += [("POINT", points) for points in roi.points_mm.reshape(-1, 1, 3)]
    for kind, points in shapes:
        item = dataset()
        item.ContourGeometricType = kind
        item.NumberOfContourPoints = len(points)
        item.ContourData = [_decimal(v) for v in np.ravel(points)]
        drawn.ContourSequence.append(item)
    seen.ObservationNumber = seen.ReferencedROINumber = number
    seen.RTROIInterpretedType, seen.ROIInterpreter = "GTV", ""
    return named, drawn, seen


def mask_contours(
    share: np.ndarray, grid: Grid, *, level: float = 0.5
) -> tuple[np.ndarray, ...]:
    """Returns the contours of a mask in each of its slices.

    Holes are contours of their own (XOR). With shares in [0, 1] the contours lie
    between voxels; with a mask of 0 and 1 they cut its corners.

    Args:
        share: `[Z, Y, X]`.
        grid: of the voxels, LPS mm.
        level: of the share on the contour.

    Returns:
        Closed polygons, each `[N, 3]` LPS mm, N >= 3.
    """
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm
    found = []
    for k in np.flatnonzero(np.asarray(share).max(axis=(1, 2)) > level):
        # A rim of zeros closes contours at the volume's sides.
        plane = np.pad(np.asarray(share[k], float), 1) - level
        x = float(x0) + float(dx) * (np.arange(plane.shape[1]) - 1.0)
        y = float(y0) + float(dy) * (np.arange(plane.shape[0]) - 1.0)
        for points in outlines(x, y, plane):
            height = np.full((len(points), 1), float(z0) + k * float(dz))
            found.append(np.hstack([points, height]))
    return tuple(found)


def outlines(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Returns the closed lines on which values `[Y, X]` are zero, each `[N, 2]` (x, y).

    The first point is not repeated at the end.
    """
    from contourpy import contour_generator  # an extra, though matplotlib needs it

    lines: Any = contour_generator(x, y, values).lines(0.0)
    # Three points and the first again.
    return [line[:-1] for line in lines if len(line) >= 4]


def _header(identity: Identity, modality: str, sop_class: str, uid: str) -> Any:
    pydicom = import_pydicom(Path("a header"))
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = LITTLE_ENDIAN
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.PatientName = data.PatientID = identity.name
    data.PatientBirthDate, data.PatientSex = "", ""
    data.StudyInstanceUID, data.StudyID = identity.uid("study"), "1"
    data.StudyDate = data.SeriesDate = DATE
    data.StudyTime = data.SeriesTime = TIME
    data.AccessionNumber = data.ReferringPhysicianName = ""
    data.Modality, data.Manufacturer = modality, "fluoro_jax"
    return data


def _decimal(value: float) -> str:
    """Returns a decimal string of at most 16 characters, as DICOM allows."""
    for digits in range(12, 0, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= MOST_DS:
            return text
    return text


def _save(path: Path, data: Any) -> None:
    with beside(path) as (fresh,):
        data.save_as(fresh, enforce_file_format=True)
