"""A CT and the tumour's mask from single files, in place of DICOM series and RTSTRUCT.

Such files have no FrameOfReferenceUID: that mask and CT belong together is known from
their voxels alone, which must be the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.ct import VOLUMES, read_ct
from fluoro_jax.io.volumes import CtPhase

SAME_MM = 0.01  # between the voxels of mask and CT: affines are float32 in a .nii
NONE_UID = "none: this kind of file has no FrameOfReferenceUID"
MOST_LABELS = 20  # that a message lists


def read_file_ct(path: Path) -> CtPhase:
    """Reads a CT from one file.

    Args:
        path: `.mha`; with the extra `[dicom]` `.mhd`, `.nii`, `.nii.gz` or `.nrrd`.

    Returns:
        The CT; its affine is that of the axes turned to LPS.

    Raises:
        UserError: as of `io.ct.read_ct`; values that are not finite; one slice.
    """
    hu, grid = read_ct(path)
    bad = int(hu.size - np.isfinite(hu).sum())
    if bad or len(hu) < 2:
        refuse(
            f"{path}: {bad} values that are no finite numbers"
            if bad
            else f"{path}: one slice",
            "a volume of Hounsfield units, at least two slices",
            "densities are taken from them",
            "export the CT again, with air (-1000 HU) where nothing is known",
        )
    spacing = [float(s) for s in grid.spacing_mm]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [float(o) for o in grid.origin_mm]
    sources = {
        "geometry": f"header of {path.name}",
        "hu": f"values of {path.name}, taken as Hounsfield units",
        "axes": "turned to LPS",
        "frame_of_reference": NONE_UID,
    }
    slices = affine[2, 3] + spacing[2] * np.arange(len(hu))
    return CtPhase(hu, grid, affine, slices, sources=sources)


def read_mask(path: Path, ct: CtPhase, *, label: int | None = None) -> np.ndarray:
    """Reads the tumour's mask on the voxels of its CT.

    Args:
        path: a file of whole numbers, of a kind as of `read_file_ct`; 0 is background.
        ct: the CT that it was drawn on.
        label: the tumour's value; None where there is only one beside 0.

    Returns:
        `[Z, Y, X]` float32 in {0, 1}, on the grid of `ct`.

    Raises:
        UserError: other voxels than the CT's, values that are no labels, an empty mask,
            several labels and none chosen.
    """
    if not path.name.lower().endswith(VOLUMES):
        # SimpleITK reads a DICOM-SEG too, and puts its frames anywhere.
        refuse(
            f"{path}: a mask of another kind",
            f"a file {', '.join(VOLUMES)}",
            "where its voxels are must be known",
            "export the segmentation as .nii.gz or .nrrd",
        )
    values, grid = read_ct(path)
    _check_voxels(path, (values.shape, grid), (ct.hu.shape, ct.grid))
    labels = np.unique(values)
    if not np.isfinite(labels).all() or (labels != np.round(labels)).any():
        refuse(
            f"{path}: values that are no whole numbers, as "
            f"{labels[labels != np.round(labels)][0]:g}",
            "a mask: 0 outside, one whole number inside",
            "a voxel is the tumour's or not",
            "export the segmentation as a label map, without smoothing",
        )
    labels = labels[labels != 0.0]
    chosen = labels if label is None else labels[labels == label]
    if len(chosen) != 1:
        names = ", ".join(f"{v:g}" for v in labels[:MOST_LABELS]) or "none"
        more = ", ..." * (len(labels) > MOST_LABELS)
        asked = "" if label is None else f", not {label}"
        refuse(
            f"{path}: labels beside 0: {names}{more}{asked}",
            "one label, or the tumour's by its number",
            "the tumour alone is the target",
            f"--roi={labels[0]:g}" if len(labels) else "draw the tumour, and export",
        )
    return (values == chosen[0]).astype(np.float32)


def _check_voxels(
    path: Path,
    found: tuple[tuple[int, ...], Grid],
    needed: tuple[tuple[int, ...], Grid],
) -> None:
    numbers = lambda grid: np.array([*grid.spacing_mm, *grid.origin_mm], float)
    off = np.abs(numbers(found[1]) - numbers(needed[1])).max()
    if found[0] == needed[0] and off < SAME_MM:
        return
    words = lambda shape, grid: (
        f"{' x '.join(map(str, shape[::-1]))} voxels of "
        f"{' x '.join(f'{float(v):.4g}' for v in grid.spacing_mm)} mm at "
        f"({', '.join(f'{float(v):.5g}' for v in grid.origin_mm)}) mm"
    )
    refuse(
        f"{path}: {words(*found)}",
        f"{words(*needed)}, as the CT (LPS axes)",
        "a mask says of the CT's own voxels which are the tumour's",
        "resample the mask to the CT with nearest neighbours, as 3D Slicer does on "
        "export with the CT as reference volume",
    )
