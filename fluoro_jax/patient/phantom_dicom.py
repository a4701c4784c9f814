"""A simulated patient as DICOM: CT phases, contours of each, and the truth.

The body is drawn on cubic voxels and read at those of the CT; the tumour is voxelised
at the CT's own voxels, as the share of each inside it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from fluoro_jax.geometry import Grid
from fluoro_jax.io.dicom.write_ct import (
    Identity,
    outlines,
    write_ct_series,
    write_rtstruct,
)
from fluoro_jax.io.straighten import AIR_HU
from fluoro_jax.io.volumes import Roi
from fluoro_jax.sim.background import Case
from fluoro_jax.sim.body import solids, volume
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.ct import (
    CT_BONE_MU_PER_DENSITY,
    CT_SOFT_MU_PER_DENSITY,
    CT_WATER,
    HU_RANGE,
)
from fluoro_jax.sim.lung import breathing_displacement_mm, lung_density
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_path_mm
from fluoro_jax.tracking.baselines.tumor_voxels import tumor_depth, tumor_share

OUTLINE_POINTS = 201  # a side of the plane that an outline is drawn on
ROI_NAME = "GTV"


@dataclass(frozen=True)
class PhantomTruth:
    """What is true of a written phantom.

    Attributes:
        percents: `[P]` of the breathing cycle.
        centres_mm: `[P, 3]` centroid of the tumour, LPS mm of the files.
        volume_ml: of the tumour.
        isocentre_mm: `[3]` LPS mm of the files.
        grid: of the CT.
        shape: `[Z, Y, X]` of the CT.
    """

    percents: np.ndarray
    centres_mm: np.ndarray
    volume_ml: float
    isocentre_mm: np.ndarray
    grid: Grid
    shape: tuple[int, int, int]


def write_phantom(
    folder: Path,
    case: Case,
    *,
    phases: int = 10,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 2.5),
    position: str = "HFS",
    voxel_mm: float = 2.5,
    isocentre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    z_mm: tuple[float, float] | None = None,
) -> PhantomTruth:
    """Writes a case as `folder/ct/NN/*.dcm` and `folder/rtstruct/NN.dcm`.

    Args:
        folder: made if missing.
        case: patient, breath and tumour; its times are not used.
        phases: moments at equal distances of one breath, from full exhale.
        spacing_mm: (x, y, z) of the CT's voxels.
        position: of the patient in the scanner (`write_ct.POSITIONS`).
        voxel_mm: of the cubic voxels that the body is drawn on.
        isocentre_mm: where the phantom's isocentre lies in the files' coordinates.
        z_mm: scanned range above the phantom's isocentre; None scans the whole body.

    Returns:
        The truth, for comparison with what is read back.
    """
    percents = 100.0 * np.arange(phases) / phases
    time_s = (percents / 100.0 - float(case.breathing.start)) * float(
        case.breathing.period_s
    )
    path_mm = np.asarray(
        tumor_path_mm(case.tumor, case.breathing, time_s, case.anatomy), float
    )
    grid, shape = ct_grid(spacing_mm, z_mm)
    shift = np.array(isocentre_mm, float)
    x, y, z = (float(v) for v in np.array(grid.origin_mm) + shift)
    moved = Grid((x, y, z), grid.spacing_mm)
    identity = Identity()
    for index, (percent, hu) in enumerate(
        zip(percents, body_hu(case, time_s, voxel_mm=voxel_mm), strict=True)
    ):
        share = tumor_share(case.tumor, path_mm[index], grid, shape)
        hu = _resampled(hu, voxel_mm, grid, shape)
        hu = hu + share * (_tumor_hu(case.tumor) - hu)
        name = f"{percent:02.0f}"
        write_ct_series(
            folder / "ct" / name,
            hu,
            moved,
            identity=identity,
            position=position,
            percent=float(percent),
        )
        contours = tumor_contours(case.tumor, path_mm[index], grid, shape[0])
        roi = Roi(ROI_NAME, tuple(points + shift for points in contours))
        target = folder / "rtstruct" / f"{name}.dcm"
        write_rtstruct(target, [roi], identity=identity, percent=float(percent))
    centres = path_mm + _offset_mm(case.tumor) + shift
    volume_ml = _volume_ml(case.tumor)
    return PhantomTruth(percents, centres, volume_ml, shift, moved, shape)


def ct_grid(
    spacing_mm: tuple[float, float, float], z_mm: tuple[float, float] | None = None
) -> tuple[Grid, tuple[int, int, int]]:
    """Returns the grid of a CT that holds the whole body, and its shape `[Z, Y, X]`.

    Args:
        spacing_mm: (x, y, z).
        z_mm: centres of the first and the last slice at most; None takes the body.
    """
    nx, ny, nz = (
        max(2, round(length / step))
        for length, step in zip(solids.EXTENT_MM, spacing_mm, strict=True)
    )
    first = lambda n, step: -0.5 * (n - 1) * step
    dx, dy, dz = spacing_mm
    z = first(nz, dz)
    if z_mm is not None:
        z, nz = z_mm[0], max(2, int((z_mm[1] - z_mm[0]) / dz) + 1)
    return Grid((first(nx, dx), first(ny, dy), z), spacing_mm), (nz, ny, nx)


def body_hu(case: Case, time_s: np.ndarray, *, voxel_mm: float) -> Any:
    """Yields the patient without the tumour at each time, HU `[Z, Y, X]`.

    Args:
        case: patient and breath.
        time_s: `[T]`.
        voxel_mm: of the cubic voxels, those of `solids.body_grid`.
    """
    still = _draw_still(case.anatomy, voxel_mm)
    moves = breathing_displacement_mm(case.breathing, jnp.asarray(time_s, jnp.float32))
    lung_g_cc = lung_density(
        case.anatomy, case.breathing, jnp.asarray(time_s, jnp.float32)
    )
    for si_mm, ap_mm, density in zip(*moves, lung_g_cc, strict=True):
        yield np.asarray(
            _hu_now(case.anatomy, voxel_mm, still, (si_mm, ap_mm), density), np.float32
        )


@functools.partial(jax.jit, static_argnums=1)
def _draw_still(anatomy: Anatomy, voxel_mm: float) -> volume.Still:
    return volume.draw_still(anatomy, *solids.body_grid(voxel_mm))


@functools.partial(jax.jit, static_argnums=1)
def _hu_now(
    anatomy: Anatomy, voxel_mm: float, still: volume.Still, move: Any, lung_g_cc: Any
) -> Any:
    grid, _ = solids.body_grid(voxel_mm)
    moved = volume.move(anatomy, still.vessel, move)
    soft, bone = volume.body_densities(
        grid, still=still, moved=moved, lung_g_cc=lung_g_cc
    )
    return hu_of(soft, bone)


def hu_of(soft: Any, bone: Any) -> Any:
    """Returns the HU of soft tissue and bone, g/cc: reverses `sim.ct.densities`."""
    mu = CT_SOFT_MU_PER_DENSITY * soft + CT_BONE_MU_PER_DENSITY * bone
    return 1000.0 * (mu / CT_WATER - 1.0)


def _tumor_hu(tumor: Tumor) -> float:
    return float(np.clip(hu_of(float(tumor.density_g_cc), 0.0), *HU_RANGE))


def _resampled(
    hu: np.ndarray, voxel_mm: float, grid: Grid, shape: tuple[int, int, int]
) -> np.ndarray:
    """Returns the body on the CT's voxels, linearly read; air outside."""
    first = np.array(solids.body_grid(voxel_mm)[0].origin_mm)
    start = (np.array(grid.origin_mm) - first) / voxel_mm
    scale = np.array(grid.spacing_mm) / voxel_mm
    offset: Any = start[::-1]  # scipy's stub knows one number only
    return ndimage.affine_transform(
        hu, scale[::-1], offset, shape, order=1, cval=AIR_HU
    )


def tumor_contours(
    tumor: Tumor, centre_mm: np.ndarray, grid: Grid, slices: int
) -> tuple[np.ndarray, ...]:
    """Returns a tumour's exact outline in the planes of a CT's slices.

    Args:
        tumor: size and shape.
        centre_mm: `[3]` where it is.
        grid: of the CT; only the slices' positions are used.
        slices: of the CT.

    Returns:
        Closed polygons, each `[N, 3]` LPS mm.
    """
    radius = 0.5 * float(tumor.diameter_mm)
    line = np.linspace(-1.02, 1.02, OUTLINE_POINTS) * radius
    found = []
    for k in range(slices):
        z = float(grid.origin_mm[2]) + k * float(grid.spacing_mm[2])
        if abs(z - centre_mm[2]) >= radius:
            continue
        depth = tumor_depth(tumor, line[None, :], line[:, None], z - centre_mm[2])
        for points in outlines(line, line, depth):
            height = np.full((len(points), 1), z)
            found.append(np.hstack([points + centre_mm[:2], height]))
    return tuple(found)


def _fine(tumor: Tumor) -> tuple[np.ndarray, Grid]:
    """Returns a tumour on 160 voxels a side about its centre."""
    step = float(tumor.diameter_mm) / 156
    first = -79.5 * step
    grid = Grid((first, first, first), (step, step, step))
    return tumor_share(tumor, np.zeros(3), grid, (160, 160, 160)), grid


def _volume_ml(tumor: Tumor) -> float:
    if tumor.shape is None:
        return float(np.pi / 6.0 * float(tumor.diameter_mm) ** 3 / 1000.0)
    share, grid = _fine(tumor)
    return float(share.sum() * np.prod(grid.spacing_mm) / 1000.0)


def _offset_mm(tumor: Tumor) -> np.ndarray:
    """Returns the centroid of a tumour about its centre, `[3]` mm."""
    if tumor.shape is None:
        return np.zeros(3)
    share, grid = _fine(tumor)
    index = np.array(ndimage.center_of_mass(share))[::-1]
    return np.array(grid.origin_mm) + index * np.array(grid.spacing_mm)
