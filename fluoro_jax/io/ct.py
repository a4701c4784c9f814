"""CT volumes from files: HU and where the voxels lie, in DICOM LPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io.ct_series import read_series
from fluoro_jax.io.mha import MetaImage, read_mha, to_lps, write_mha
from fluoro_jax.io.nifti import SUFFIXES, check_nifti

# What counts as a volume in one file; a folder without any counts as one DICOM series.
VOLUMES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")


def read_ct(path: Path) -> tuple[np.ndarray, Grid]:
    """Reads a CT volume.

    Args:
        path: a `.mha` file; or, with the extra `[dicom]`, whatever SimpleITK reads: a
            folder with one DICOM series, `.nii.gz`, `.nrrd`, `.mhd`, ...

    Returns:
        (HU `[Z, Y, X]` float32, grid in LPS mm of the file's own origin).

    Raises:
        UserError: if it is missing, cannot be read, has no three axes, lies obliquely,
            or has slices that do not make a whole volume (`ct_series`); a NIfTI file
            that is cut off or without orientation (`nifti`); if SimpleITK is needed and
            not installed.
    """
    path = Path(path)
    image = read_mha(path) if path.suffix == ".mha" else _read_by_simpleitk(path)
    if image.array.ndim != 3:
        raise UserError(
            f"{path}: {image.array.ndim} axes",
            needed="3 axes (a volume)",
            why="a fluoroscopy frame is projected from a volume",
            fix="give one volume, not a slice or a series of volumes",
        )
    # Once, here: all that reads the grid takes x, y, z to run along +L, +P, +S.
    image = to_lps(image)
    hu = image.array.astype(np.float32)
    # In the header's order x, y, z; the array's axes are the reverse.
    (x, y, z), (dx, dy, dz) = image.offset, image.spacing
    return hu, Grid((x, y, z), (dx, dy, dz))


def write_ct(path: Path, hu: np.ndarray, grid: Grid) -> None:
    """A volume `[Z, Y, X]` as a compressed `.mha`, in its own type of number."""
    floats = lambda values: tuple(float(v) for v in values)
    write_mha(
        Path(path), MetaImage(hu, floats(grid.spacing_mm), floats(grid.origin_mm))
    )


def _read_by_simpleitk(path: Path) -> MetaImage:
    if not path.exists():
        raise UserError(
            f"no file or folder {path}",
            needed="a CT volume: .mha, or a folder with one DICOM series",
            why="there is nothing to read",
            fix="check the path",
        )
    try:
        # Here, not at the top: an extra of 50 MB that a `.mha` does not need.
        import SimpleITK  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UserError(
            f"{path}: {path.suffix or 'a folder'} needs SimpleITK, not installed",
            needed="the extra [dicom], or a .mha file",
            why="only .mha is read without it",
            fix="pip install 'fluoro_jax[dicom]'",
        ) from error
    if path.is_dir():
        return read_series(path, SimpleITK)
    if path.name.lower().endswith(SUFFIXES):
        check_nifti(path)
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: SimpleITK cannot read it ({str(error).splitlines()[-1].strip()})",
            needed="a CT volume in a format that SimpleITK reads",
            why="the file is damaged or of another kind",
            fix="open it in a viewer such as 3D Slicer and export it as .mha",
        ) from error
    parts = image.GetNumberOfComponentsPerPixel()
    if parts != 1:
        raise UserError(
            f"{path}: {parts} numbers a voxel (colour, vectors or layers of segments)",
            needed="one number a voxel: HU, or the labels of a mask",
            why="they are read as a volume",
            fix="export one scalar volume; a segmentation of 3D Slicer as a label map",
        )
    count = image.GetDimension()
    found = MetaImage(
        SimpleITK.GetArrayFromImage(image),
        image.GetSpacing(),
        image.GetOrigin(),
        # Column i is the direction of axis i, as in `MetaImage`.
        np.reshape(image.GetDirection(), (count, count)),
    )
    _check_place(path, found)
    return found


def _check_place(path: Path, image: MetaImage) -> None:
    """Refuses a header that says not where the voxels lie; the library may take it."""
    numbers = np.array([*image.spacing, *image.offset, *np.ravel(image.direction)])
    if not np.isfinite(numbers).all() or min(image.spacing) <= 0.0:
        raise UserError(
            f"{path}: voxels of {image.spacing} mm, the first at {image.offset} mm",
            needed="sizes of more than 0 mm, a finite origin and direction",
            why="millimetres are read off them",
            fix="correct the header, or convert the file in 3D Slicer",
        )
