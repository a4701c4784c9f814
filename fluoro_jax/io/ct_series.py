"""A folder of CT slices (DICOM), checked before it becomes a volume.

Slices are sorted by their position along the normal of their plane, never by file name
or instance number. Missing, duplicated, truncated or foreign slices are refused: each
would shift or stretch the volume without any other sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.dicom.header import check_grey
from fluoro_jax.io.mha import MetaImage

# DICOM tags as GDCM writes them: group and element in hexadecimal.
POSITION, ORIENTATION, PIXEL_MM = "0020|0032", "0020|0037", "0028|0030"
ROWS, COLS, BITS = "0028|0010", "0028|0011", "0028|0100"
SHOWN, STORED, HIGH = "0028|0004", "0028|0101", "0028|0102"
# Ours, all four.
SAME_PLACE_MM = 0.01  # closer slices are the same slice twice
SPACING_OFF = 0.01  # relative difference between the steps of one series
FARTHEST_MM = 1e5  # from the origin: 100 m
TILT_MM = 0.1  # by which a slice may lie beside the normal through the first


@dataclass(frozen=True)
class Slice:
    """One file of a series.

    Attributes:
        path: of the file.
        place_mm: `[3]` centre of the first pixel, LPS.
        axes: `[2, 3]` directions of its rows and columns.
        pixel_mm: (row, column) size of a pixel.
        shape: (rows, columns).
    """

    path: Path
    place_mm: np.ndarray
    axes: np.ndarray
    pixel_mm: tuple[float, float]
    shape: tuple[int, int]


S = TypeVar("S", bound=Slice)  # also with what a reader knows beside


def read_series(folder: Path, simpleitk: Any) -> MetaImage:
    """Reads the one series of a folder.

    Args:
        folder: holds the slices of one series.
        simpleitk: the module.

    Returns:
        The volume, its spacing taken from the slices' positions.

    Raises:
        UserError: no series, several, slices that are missing, doubled, cut off or of
            different planes.
    """
    names = _one_series(folder, simpleitk)
    slices = [_read_header(Path(name), simpleitk) for name in names]
    slices, step_mm = in_order(folder, slices)
    planes = []
    for one in slices:
        # One by one, in the order found here: nothing depends on how the library sorts.
        image = _read(one.path, simpleitk)
        pixels = simpleitk.GetArrayFromImage(image)
        planes.append(np.reshape(pixels, one.shape))
    first = slices[0]
    normal = np.cross(*first.axes)
    down, right = first.pixel_mm
    # PixelSpacing is (between rows, between columns); a header's spacing begins with x.
    return MetaImage(
        np.stack(planes),
        (right, down, step_mm),
        tuple(map(float, first.place_mm)),
        # Columns are the directions of x, y and z.
        np.stack([*first.axes, normal], axis=1),
    )


def _one_series(folder: Path, simpleitk: Any) -> list[str]:
    """File names of the folder's only series; every DICOM file must be in it."""
    reader = simpleitk.ImageSeriesReader
    ids = reader.GetGDCMSeriesIDs(str(folder))
    if len(ids) > 1:
        refuse(
            f"{folder} holds {len(ids)} series: {', '.join(ids)}",
            "a folder with the slices of one CT series",
            why="slices of two scans make no volume",
            fix="move each series into a folder of its own",
        )
    names = list(reader.GetGDCMSeriesFileNames(str(folder), ids[0])) if ids else []
    # A file that is not among the names is a slice that could not be read: a gap.
    known = {Path(name).name for name in names}
    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.name not in known and _looks_like_dicom(path)
    )
    if others:
        refuse(
            f"{folder}: {len(others)} files are no readable slices, first {others[0]}",
            "whole DICOM slices of one series",
            why="a slice that is cut off or of another kind would leave a gap",
            fix="copy the series again, and move other files out of the folder",
        )
    if len(names) < 2:
        refuse(
            f"{len(names)} slices of a DICOM series in {folder}"
            if names
            else f"no DICOM series in {folder}",
            "a folder with the slices of one CT series, at least 2",
            why="a volume needs the distance between its slices",
            fix="give the folder that holds the .dcm files themselves",
        )
    return names


def _looks_like_dicom(path: Path) -> bool:
    if path.name.startswith("._"):  # of macOS: see `reading.may_be_dicom`
        return False
    if path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        return True
    with path.open("rb") as file:
        # A DICOM file has 128 free bytes and then "DICM"; some exports have no suffix.
        return file.read(132)[128:] == b"DICM"


def _read_header(path: Path, simpleitk: Any) -> Slice:
    reader = simpleitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        # Several numbers of a tag are divided by backslashes.
        numbers = lambda tag: [float(v) for v in reader.GetMetaData(tag).split("\\")]
        place, axes, pixel = map(numbers, (POSITION, ORIENTATION, PIXEL_MM))
        rows, cols, bits = (int(reader.GetMetaData(t)) for t in (ROWS, COLS, BITS))
        has = reader.HasMetaDataKey
        shown, *few = (
            reader.GetMetaData(tag).strip() if has(tag) else ""
            for tag in (SHOWN, STORED, HIGH)
        )
        stored, high = (int(one) if one else None for one in few)
    except (RuntimeError, ValueError) as error:
        last = str(error).splitlines()[-1].strip()
        refuse(
            f"{path}: no position, orientation or pixel size can be read ({last})",
            "a CT slice with ImagePositionPatient, ImageOrientationPatient and "
            "PixelSpacing",
            why="they say where the slice lies",
            fix="copy the file again, or export the series again",
        )
    directions = check_place(path, place, axes, pixel)
    check_grey(path, shown, stored, high)
    # A header can be read although the pixels behind it are cut off (a test does so).
    if path.stat().st_size < rows * cols * bits // 8 and not _compressed(path):
        refuse(
            f"{path}: {path.stat().st_size} bytes",
            f"more than {rows * cols * bits // 8}, for {rows} x {cols} pixels",
            why="the file is cut off",
            fix="copy the file again",
        )
    return Slice(path, np.array(place), directions, (pixel[0], pixel[1]), (rows, cols))


def check_place(path: Path, place: Any, axes: Any, pixel: Any) -> np.ndarray:
    """Checks where a slice lies; returns its axes as `[2, 3]`.

    Args:
        path: for the message.
        place: ImagePositionPatient.
        axes: ImageOrientationPatient.
        pixel: PixelSpacing.

    Raises:
        UserError: for other than 3, 6 and 2 finite numbers, pixels without a size, or
            axes that are no unit vectors at right angles.
    """
    found = np.array([*place, *axes, *pixel], float)
    good = found.shape == (11,) and np.isfinite(found).all() and min(pixel) > 0.0
    good = good and np.abs(found).max() < FARTHEST_MM
    directions = np.reshape(found[3:9], (2, 3)) if good else np.zeros((2, 3))
    # 1e-3: decimal strings of few digits.
    if not good or np.abs(directions @ directions.T - np.eye(2)).max() > 1e-3:
        refuse(
            f"{path}: position {list(place)}, orientation {list(axes)}, pixels "
            f"{list(pixel)} mm",
            "3, 6 and 2 finite numbers, unit axes at right angles, pixels over 0 mm",
            why="they say where the slice lies",
            fix="export the series again",
        )
    return directions


def _compressed(path: Path) -> bool:
    """Returns whether the header names a transfer syntax with compressed pixels."""
    with path.open("rb") as file:
        # The meta group stands first, never compressed; 2048 bytes (ours) hold it.
        head = file.read(2048)
    return b"1.2.840.10008.1.2.4." in head or b"1.2.840.10008.1.2.5" in head


def in_order(folder: Path, slices: Sequence[S]) -> tuple[list[S], float]:
    """Sorts slices along their normal and checks that they make one whole volume.

    Args:
        folder: for the messages.
        slices: at least two.

    Returns:
        (slices in order, distance of two neighbours in mm).

    Raises:
        UserError: slices of different planes, missing, doubled, or stacked askew.
    """
    first = slices[0]
    for one in slices:
        same = (one.shape, one.pixel_mm) == (first.shape, first.pixel_mm)
        # 1e-4 of a direction cosine: rounding of decimal strings, not another plane.
        if not same or np.abs(one.axes - first.axes).max() > 1e-4:
            refuse(
                f"{one.path.name} has other pixels or directions than "
                f"{first.path.name}",
                "slices of one size, pixel size and orientation",
                why="they are stacked to one volume",
                fix=f"move localizers and other scans out of {folder}",
            )
    # The normal from the first slice's axes: instance numbers may run either way.
    normal = np.cross(*first.axes)
    slices = sorted(slices, key=lambda one: float(one.place_mm @ normal))
    places = np.array([one.place_mm for one in slices])
    along = places @ normal
    steps = np.diff(along)
    where = lambda i: f"{slices[i].path.name} and {slices[i + 1].path.name}"
    if steps.min() < SAME_PLACE_MM:
        refuse(
            f"{folder}: {where(int(steps.argmin()))} lie at the same place",
            "every slice once",
            why="a slice that is there twice halves the spacing found",
            fix="remove the duplicate",
        )
    # The median: one missing slice does not change what is usual.
    usual = float(np.median(steps))
    off = np.abs(steps - usual)
    if off.max() > SPACING_OFF * usual:
        worst = int(off.argmax())
        refuse(
            f"{folder}: {steps[worst]:.4g} mm between {where(worst)}, elsewhere "
            f"{usual:.4g} mm",
            "slices at equal distances",
            why="a slice is missing or misplaced; the volume would be distorted",
            fix="export the whole series again",
        )
    # What is left of a step once its part along the normal is taken off.
    aside = places - places[0] - np.outer(along - along[0], normal)
    if np.abs(aside).max() > TILT_MM:
        refuse(
            f"{folder}: slices drift by {np.abs(aside).max():.3g} mm in their plane",
            "slices stacked along their normal (no gantry tilt)",
            why="stacked straight they would shear the patient",
            fix="resample the series to straight axes, as with dcm2niix",
        )
    # The mean step: rounding of single positions averages out.
    return slices, float(along[-1] - along[0]) / (len(slices) - 1)


def _read(path: Path, simpleitk: Any) -> Any:
    try:
        return simpleitk.ReadImage(str(path))
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        refuse(
            f"{path}: SimpleITK cannot read its pixels ({last})",
            "whole slices in a transfer syntax that SimpleITK reads",
            why="the file is damaged or compressed in another way",
            fix="copy the file again, or export the series uncompressed",
        )
