"""The slices in a DICOM file: where they lie, and their HU."""

from __future__ import annotations

import math
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.ct_series import Slice, check_place
from fluoro_jax.io.dicom.header import check_grey, import_pydicom
from fluoro_jax.io.dicom.reading import (
    UNCOMPRESSED,
    guarded,
    number_of,
    numbers_of,
    read_dataset,
    text_of,
    whole_of,
)
from fluoro_jax.io.straighten import AIR_HU, MOST_VOXELS

LOWEST_HU = -1024.0  # no tissue and no air reads less: padding
MOST_SIDE = 8192
# Of a compressed file, before memory is taken for what it claims: a CT shrinks to a
# third; a small file may be all air.
MOST_RATIO, SMALL_BYTES = 100, 64 * 2**20


FRAGMENT, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
PIXEL_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


@dataclass(frozen=True)
class Assumed:
    """What to take where a file says nothing; every use is noted in `sources`.

    Attributes:
        spacing_mm: (x, y, z) of images without geometry (secondary captures); their
            frames are taken as axial slices from superior to inferior.
        intercept: HU of a stored value of 0 where RescaleIntercept is missing.
    """

    spacing_mm: tuple[float, float, float] | None = None
    intercept: float | None = None


@dataclass(frozen=True)
class Plane(Slice):
    """A slice with its HU.

    Attributes:
        hu: `[rows, columns]` float32.
        padded: pixels that were padding, now air.
        uid: SOPInstanceUID, of all frames of one file.
        frame_uid: FrameOfReferenceUID.
        patient: PatientID, to be compared and never shown.
        position: PatientPosition.
        notes: (name, source) of what was assumed or is worth saying.
    """

    hu: np.ndarray
    padded: int
    uid: str
    frame_uid: str
    patient: str
    position: str
    notes: tuple[tuple[str, str], ...]


def read_planes(path: Path, assumed: Assumed) -> list[Plane]:
    """Reads every slice of a file: one, or the frames of a multi-frame file.

    Raises:
        UserError: a damaged file, no position, no RescaleIntercept, too many pixels, or
            a compression that cannot be read.
    """
    with guarded(path):
        dataset = read_dataset(path, pixels=True)
        rows, cols, frames = _sizes(path, dataset)
        values = _stored(path, dataset, (frames, rows, cols))
        shared = (
            text_of(dataset, "SOPInstanceUID"),
            text_of(dataset, "FrameOfReferenceUID"),
            text_of(dataset, "PatientID"),
            text_of(dataset, "PatientPosition"),
        )
        planes = []
        for index in range(frames):
            header = _frame_header(dataset, index)
            place, axes, pixel, placed = _place(path, header, assumed, (index, frames))
            directions = check_place(path, place, axes, pixel)
            hu, padded, scaled = _to_hu(path, values[index], header, assumed)
            place_mm, pair = np.array(place, float), (float(pixel[0]), float(pixel[1]))
            notes = (*placed, *scaled)
            planes.append(
                Plane(
                    path, place_mm, directions, pair, (rows, cols), hu, padded, *shared,
                    notes,
                )
            )  # fmt: skip
    return planes


def _sizes(path: Path, dataset: Any) -> tuple[int, int, int]:
    rows, cols = whole_of(dataset, "Rows") or 0, whole_of(dataset, "Columns") or 0
    frames = whole_of(dataset, "NumberOfFrames") or 1
    samples = whole_of(dataset, "SamplesPerPixel") or 1
    if not (0 < rows <= MOST_SIDE and 0 < cols <= MOST_SIDE and samples == 1):
        refuse(
            f"{path}: {rows} x {cols} pixels of {samples} samples",
            f"grey images of 1 to {MOST_SIDE} pixels a side",
            why="a CT slice has one value a pixel",
            fix="export the series again",
        )
    shown = text_of(dataset, "PhotometricInterpretation")
    stored = whole_of(dataset, "BitsStored") or whole_of(dataset, "BitsAllocated")
    check_grey(path, shown, stored, whole_of(dataset, "HighBit"))
    if not 0 < frames <= MOST_VOXELS // (rows * cols):
        refuse(
            f"{path}: {frames} frames of {rows} x {cols} pixels",
            f"at most {MOST_VOXELS} voxels",
            why="a volume must fit into memory",
            fix="export the series again, or crop it",
        )
    return rows, cols, frames


def _stored(path: Path, dataset: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns stored values, `[frame, row, column]`."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", UNCOMPRESSED[0]))
    if "PixelData" not in dataset:
        refuse(
            f"{path}: no pixels",
            "a CT slice with PixelData",
            why="there is nothing to project",
            fix="export the series again",
        )
    if syntax not in UNCOMPRESSED:
        return _decompressed(path, dataset, shape)
    bits = whole_of(dataset, "BitsAllocated") or 0
    needed, found = math.prod(shape) * bits // 8, len(dataset.PixelData)
    if found < needed or bits not in (8, 16, 32):
        refuse(
            f"{path}: {found} bytes of pixels",
            f"{needed}, for {shape[0]} x {shape[1]} x {shape[2]} of {bits} bits (8, "
            "16 or 32)",
            why="the file is cut off",
            fix="copy the file again",
        )
    if not dataset.file_meta.get("TransferSyntaxUID"):
        # A file without meta group is implicit little endian (PS3.10, 7.5).
        dataset.file_meta.TransferSyntaxUID = UNCOMPRESSED[0]
    return np.asarray(dataset.pixel_array).reshape(shape)


def _decompressed(path: Path, dataset: Any, shape: tuple[int, int, int]) -> np.ndarray:
    size, claimed = path.stat().st_size, 4 * math.prod(shape)
    if claimed > max(MOST_RATIO * size, SMALL_BYTES):
        refuse(
            f"{path}: {size} bytes that claim {claimed} of pixels",
            f"at most {MOST_RATIO} times the file's size",
            why="no image is compressed so far; memory would be taken for nothing",
            fix="copy the file again, or export the series uncompressed",
        )
    try:
        import SimpleITK  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UserError(
            f"{path}: compressed pixels need SimpleITK, not installed",
            needed="the extra [dicom]",
            why="GDCM, which comes with it, decompresses JPEG, JPEG-LS and RLE",
            fix="pip install 'fluoro_jax[dicom]'",
        ) from error
    _check_fragments(path, dataset.PixelData)
    with tempfile.TemporaryDirectory() as folder:
        # GDCM takes memory for whatever length a damaged element claims: it is given
        # the pixels alone, without rescaling.
        plain = Path(folder) / "pixels.dcm"
        _pixels_alone(dataset).save_as(plain, enforce_file_format=True)
        try:
            values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(plain)))
            return np.reshape(values, shape)
        except (RuntimeError, ValueError) as error:
            last = (str(error).splitlines() or [""])[-1].strip()
    refuse(
        f"{path}: its pixels cannot be decompressed ({last[:64]})",
        "a transfer syntax that GDCM reads, and a whole file",
        why="the file is damaged or compressed in another way",
        fix="export the series uncompressed, or gdcmconv --raw FILE NEW",
    )


def _check_fragments(path: Path, data: bytes) -> None:
    """Refuses encapsulated pixels whose fragments are longer than what is there."""
    at = 0
    while at + 8 <= len(data):
        tag, length = struct.unpack_from("<4sI", data, at)
        if tag == SEQUENCE_END:
            return
        at += 8 + length
        if tag != FRAGMENT or at > len(data):
            break
    if at != len(data) or not data:
        refuse(
            f"{path}: {len(data)} bytes of pixels that are no whole fragments",
            "encapsulated pixels (PS3.5, A.4)",
            why="the file is cut off or damaged",
            fix="copy the file again",
        )


def _pixels_alone(dataset: Any) -> Any:
    """Returns a dataset of the pixels and what describes them."""
    pydicom = import_pydicom(Path("pixels"))
    plain = pydicom.Dataset()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    plain.file_meta.MediaStorageSOPClassUID = plain.SOPClassUID = dataset.SOPClassUID
    plain.file_meta.MediaStorageSOPInstanceUID = plain.SOPInstanceUID = "2.25.1"
    for keyword in PIXEL_KEYWORDS:
        if keyword in dataset:
            setattr(plain, keyword, getattr(dataset, keyword))
    plain.PixelData = dataset.PixelData
    plain["PixelData"].VR = "OB"
    plain["PixelData"].is_undefined_length = True
    return plain


class _Frame:
    """A header whose values come from the functional groups of one frame first."""

    def __init__(self, dataset: Any, groups: list[Any]) -> None:
        self.dataset, self.groups = dataset, groups

    def get(self, keyword: str, default: Any = None) -> Any:
        for group in self.groups:
            if keyword in group:
                return group.get(keyword)
        return self.dataset.get(keyword, default)


def _frame_header(dataset: Any, index: int) -> Any:
    """Returns what answers `get` for one frame of an enhanced file, or the file."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    groups = [*frames[index : index + 1], *shared[:1]]
    # Each group holds sequences of one item; the values stand in those.
    items = [e.value[0] for g in groups for e in g if e.VR == "SQ" and e.value]
    return _Frame(dataset, items)


def _place(
    path: Path, header: Any, assumed: Assumed, frame: tuple[int, int]
) -> tuple[Any, Any, Any, tuple[tuple[str, str], ...]]:
    place = numbers_of(header, "ImagePositionPatient", 3)
    axes = numbers_of(header, "ImageOrientationPatient", 6)
    pixel = numbers_of(header, "PixelSpacing", 2)
    if place is not None and axes is not None and pixel is not None:
        return place, axes, pixel, ()
    index, count = frame
    if assumed.spacing_mm is None or count < 2:
        missing = [
            name
            for name, value in (
                ("(0020,0032) ImagePositionPatient", place),
                ("(0020,0037) ImageOrientationPatient", axes),
                ("(0028,0030) PixelSpacing", pixel),
            )
            if value is None
        ]
        refuse(
            f"{path}: no {', '.join(missing)}",
            "position, orientation and pixel size of every slice",
            why="they say where the slice lies, in millimetres",
            fix="export the series again; for a multi-frame secondary capture state "
            "its voxels (Assumed.spacing_mm)",
        )
    dx, dy, dz = map(float, assumed.spacing_mm)
    words = f"assumed: voxels of {dx:g} x {dy:g} x {dz:g} mm, frames from the head down"
    at = (0.0, 0.0, (count - 1 - index) * dz)
    return at, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (dy, dx), (("geometry", words),)


def _to_hu(
    path: Path, values: np.ndarray, header: Any, assumed: Assumed
) -> tuple[np.ndarray, int, tuple[tuple[str, str], ...]]:
    """Returns HU `[row, column]`, how many were padding, and notes."""
    slope, intercept = (
        number_of(header, f"Rescale{n}") for n in ("Slope", "Intercept")
    )
    notes: tuple[tuple[str, str], ...] = ()
    if intercept is None:
        if assumed.intercept is None:
            refuse(
                f"{path}: no (0028,1052) RescaleIntercept",
                "RescaleSlope and RescaleIntercept",
                why="stored values become Hounsfield units by them",
                fix="export the series again, or state it (Assumed.intercept, often "
                "-1024)",
            )
        slope, intercept = slope or 1.0, assumed.intercept
        notes = (("hu", f"assumed: stored value {intercept:+g}"),)
    slope = 1.0 if slope is None else slope
    if slope <= 0.0 or not (slope < 1e6 and abs(intercept) < 1e6):
        refuse(
            f"{path}: RescaleSlope {slope:g}, RescaleIntercept {intercept:g}",
            "a slope of more than 0, both under 1e6",
            why="stored values become Hounsfield units by them",
            fix="export the series again",
        )
    hu = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    outside = hu < LOWEST_HU
    padding = number_of(header, "PixelPaddingValue")
    if padding is not None:
        outside |= values == padding
    hu[outside] = AIR_HU
    return hu, int(np.count_nonzero(outside)), notes
