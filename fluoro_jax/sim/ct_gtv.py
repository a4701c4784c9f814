"""A patient's own tumour, cut out of the CT and put back wherever it is wanted.

The tumour is the contoured gross tumour volume (GTV) with its own densities. Its place
in the CT is filled with lung, so that a clip of the CT alone shows no tumour; what it
adds to a line integral is projected from a small box of fine voxels, and line integrals
add.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, Grid
from fluoro_jax.sim.ct import HU_RANGE, densities
from fluoro_jax.sim.ct_body import cubic
from fluoro_jax.sim.xray import projector
from fluoro_jax.sim.xray.attenuation import BONE_MU_PER_DENSITY, SOFT_MU_PER_DENSITY

Array = jax.Array

# All ours.
RIM_MM = 3.0  # a CT blurs the tumour's edge over about a slice; cut out with it
SHELL_MM = 12.0  # around the tumour: what fills its place is the lung's median there
LUNG_HU = (-980.0, -500.0)  # what counts as lung
LEAST_LUNG_ML = 0.2
LEAST_ML = 0.02  # a sphere of 3.4 mm
VOXEL_MM = 1.0  # of the tumour's box


@struct.dataclass
class Gtv:
    """A tumour on a grid of its own.

    Attributes:
        extra: `[Z, Y, X]` 1/mm at 60 keV that it has more than the lung in its place.
        share: `[Z, Y, X]` share of each voxel inside the contour, 0 to 1.
        grid: where the voxels are about the tumour's centroid.
    """

    extra: AnyArray
    share: AnyArray
    grid: Grid


def cut_gtv(
    hu: AnyArray, grid: Grid, share: AnyArray
) -> tuple[np.ndarray, Gtv, np.ndarray]:
    """Cuts a contoured tumour out of a CT.

    Args:
        hu: `[Z, Y, X]`, LPS axes.
        grid: of the CT.
        share: `[Z, Y, X]` of each voxel inside the contour, 0 to 1.

    Returns:
        HU without the tumour, `[Z, Y, X]`; the tumour; its centroid `[3]` (x, y, z) in
        the CT's coordinates, mm.

    Raises:
        UserError: an empty tumour, or one without lung around it.
    """
    hu = np.clip(np.asarray(hu, np.float32), *HU_RANGE)
    share = np.asarray(share, np.float32)
    centre_mm = _centroid_mm(share, grid)
    part = _box(share, grid)
    near = share[part]
    spacing = [float(s) for s in grid.spacing_mm[::-1]]
    away_mm: Any = ndimage.distance_transform_edt(near < 0.5, sampling=spacing)
    # Falls to nothing over the rim, so that no edge is left where it was.
    weight = np.clip(2.0 - away_mm / RIM_MM, 0.0, 1.0).astype(np.float32)
    filled = hu[part] + weight * (_lung_hu(hu[part], away_mm, grid) - hu[part])
    without = hu.copy()
    without[part] = filled
    mu = lambda values: _mu(values).astype(np.float32)
    extra = mu(hu[part]) - mu(filled)
    origin = [
        float(o) + float(d) * cut.start - float(c)
        for o, d, cut, c in zip(
            grid.origin_mm, grid.spacing_mm, part[::-1], centre_mm, strict=True
        )
    ]
    own = Grid((origin[0], origin[1], origin[2]), grid.spacing_mm)
    extra, fine = cubic(extra, own, VOXEL_MM)
    inside, _ = cubic(near, own, VOXEL_MM)
    return without, Gtv(extra, inside, fine), centre_mm


@jax.jit
def gtv_clip(
    gtv: Gtv, path_mm: Float[AnyArray, "t 3"], geometry: Geometry
) -> tuple[Float[Array, "t rows cols"], Float[Array, "t rows cols"]]:
    """Returns what the tumour adds to the line integrals, and its mask.

    Args:
        gtv: the tumour.
        path_mm: `[T, 3]` its centroid, world mm about the isocentre.
        geometry: the view.

    Returns:
        Line integrals [1] and mask in {0, 1}, each `[T, rows, cols]`. The mask is where
        a ray runs through the tumour for half a voxel of its box or more.
    """

    def frame(centre: Array) -> tuple[Array, Array]:
        x, y, z = (gtv.grid.origin_mm[i] + centre[i] for i in range(3))
        here = Grid((x, y, z), gtv.grid.spacing_mm)
        inside = projector.project(gtv.share, here, geometry)
        least = 0.5 * gtv.grid.spacing_mm[0]
        mask = (inside >= least).astype(jnp.float32)
        return projector.project(gtv.extra, here, geometry), mask

    return jax.lax.map(frame, jnp.asarray(path_mm))


def _mu(hu: np.ndarray) -> np.ndarray:
    soft, bone = densities(hu)
    return np.asarray(SOFT_MU_PER_DENSITY * soft + BONE_MU_PER_DENSITY * bone)


def _centroid_mm(share: np.ndarray, grid: Grid) -> np.ndarray:
    volume_ml = float(share.sum()) * float(np.prod(grid.spacing_mm)) / 1000.0
    if not volume_ml >= LEAST_ML:
        raise UserError(
            f"a tumour of {volume_ml:.3f} ml on the CT's voxels",
            needed=f"at least {LEAST_ML:g} ml",
            why="a tracker needs a tumour that can be seen",
            fix="check that the contours belong to this CT, and the ROI's name",
        )
    centre = [
        float(o) + float(d) * float((share.sum(axis=axes) @ np.arange(n)) / share.sum())
        for o, d, axes, n in zip(
            grid.origin_mm,
            grid.spacing_mm,
            ((0, 1), (0, 2), (1, 2)),
            share.shape[::-1],
            strict=True,
        )
    ]
    return np.array(centre)


def _box(share: np.ndarray, grid: Grid) -> tuple[slice, slice, slice]:
    """Returns the part `[z, y, x]` of a volume that holds the tumour and its shell."""
    parts = []
    for axis, step in enumerate(grid.spacing_mm[::-1]):
        others = tuple({0, 1, 2} - {axis})
        first, last = np.flatnonzero(share.max(axis=others) > 0.0)[[0, -1]]
        more = int(np.ceil(SHELL_MM / float(step)))
        parts.append(
            slice(max(0, int(first) - more), min(share.shape[axis], int(last) + more))
        )
    return parts[0], parts[1], parts[2]


def _lung_hu(hu: np.ndarray, away_mm: np.ndarray, grid: Grid) -> float:
    shell = (away_mm > RIM_MM) & (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])
    found_ml = np.count_nonzero(shell) * float(np.prod(grid.spacing_mm)) / 1000.0
    if found_ml < LEAST_LUNG_ML:
        raise UserError(
            f"{found_ml:.2f} ml of lung around the tumour",
            needed=f"at least {LEAST_LUNG_ML:g} ml of {LUNG_HU[0]:g} to "
            f"{LUNG_HU[1]:g} HU within {SHELL_MM:g} mm",
            why="the tumour's place is filled with the lung beside it",
            fix="check that the contours belong to this CT, and the ROI's name",
        )
    return float(np.median(hu[shell]))
