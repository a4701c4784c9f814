"""A sphere in an animated CT: where it fits, how it moves, what it adds to a frame.

The sphere takes the place of the tissue that is there. Line integrals add, so only a
small box around it is projected, on a grid finer than the CT's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, Grid
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import CtVolume
from fluoro_jax.sim.ct_field import (
    Landmarks,
    displacement_mm,
    tissue_displacement_mm,
    tissue_origin_mm,
)
from fluoro_jax.sim.tumor.tumor import sphere_chord_mm
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector

Array = jax.Array
Scalar = Any
BOX_VOXELS = 64  # a side of the box; a voxel is then at most 1/50 of the diameter
# As above, where only the replaced tissue is in the box; see docs/ct.md for the error.
REPLACED_VOXELS = 32
DENSITY_G_CC = 1.06  # of a tumour
MARGIN = 1.2  # box side over diameter


def sample_sites(
    rng: np.random.Generator,
    lung: np.ndarray,
    grid: Grid,
    *,
    count: int,
    diameter_mm: tuple[float, float],
) -> list[tuple[np.ndarray, float]]:
    """Returns centres and diameters of spheres that lie wholly in the lung.

    Diameters are drawn evenly, then a centre evenly over the voxels that have room.

    Args:
        rng: where the random numbers come from.
        lung: `[Z, Y, X]` bool, vessels filled in.
        grid: where its voxels are.
        count: spheres.
        diameter_mm: range, mm.

    Returns:
        `count` pairs of world `[3]` mm, as the CT was scanned, and mm.

    Raises:
        UserError: if the largest has no room.
    """
    clear_mm = clearance_mm(lung, grid)
    if clear_mm.max() < 0.5 * diameter_mm[1]:
        raise UserError(
            f"a sphere of {diameter_mm[1]:g} mm in this lung",
            needed=f"at most {2.0 * clear_mm.max():.0f} mm",
            why="the whole sphere must lie in the lung",
            fix="take smaller tumours",
        )
    sites = []
    for _ in range(count):
        diameter = float(rng.uniform(*diameter_mm))
        fits = np.argwhere(clear_mm >= 0.5 * diameter)
        index = fits[rng.integers(len(fits))][::-1]  # to x, y, z
        centre = np.array(grid.origin_mm) + index * np.array(grid.spacing_mm)
        sites.append((centre.astype(np.float32), diameter))
    return sites


def clearance_mm(lung: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the distance of every voxel of the lung from its border, `[Z, Y, X]`."""
    spacing = tuple(float(s) for s in reversed(grid.spacing_mm))
    return np.asarray(ndimage.distance_transform_edt(lung, sampling=spacing))


def path_mm(
    landmarks: Landmarks, breathing: Breathing, time_s: AnyArray, centre_mm: AnyArray
) -> Array:
    """Returns where the tissue at a place of the CT is at each time, `[T, 3]` mm."""
    si, ap = displacement_mm(landmarks, breathing, jnp.asarray(time_s))
    x, y, z = (jnp.full_like(si, c) for c in centre_mm)
    forward, down = tissue_displacement_mm(landmarks, (x, y, z), si, ap)
    return jnp.stack([x, y - forward, z - down], axis=-1)


def sphere_frame(
    volume: CtVolume,
    geometry: Geometry,
    centre_mm: AnyArray,
    diameter_mm: float,
    *,
    density_g_cc: float = DENSITY_G_CC,
) -> Array:
    """Returns what a sphere adds to the line integrals of a CT, `[rows, cols]`.

    Args:
        volume: the CT at this moment.
        geometry: the view.
        centre_mm: `[3]` world mm, at this moment.
        diameter_mm: mm.
        density_g_cc: of its soft tissue.
    """
    extra, box = _extra(volume, jnp.asarray(centre_mm), diameter_mm, density_g_cc)
    return projector.project(extra, box, geometry)


@jax.jit
def sphere_clip(
    mu: Float[AnyArray, "z y x"],
    grid: Grid,
    landmarks: Landmarks,
    moves_mm: tuple[AnyArray, AnyArray],
    path_mm: Float[AnyArray, "t 3"],
    diameter_mm: Scalar,
    geometry: Geometry,
) -> tuple[Float[Array, "t rows cols"], Float[Array, "t rows cols"]]:
    """Returns what a sphere adds to the line integrals of a breathing CT, and its mask.

    As `sphere_frame` of every moment, for training: no moved volume is needed, since
    the tissue that the sphere replaces is read where it was when the CT was taken; the
    sphere itself is its chord in closed form. Replaced tissue counts as lung, so it
    thins as it stretches.

    Args:
        mu: `[Z, Y, X]` 1/mm, as the CT was taken.
        grid: where its voxels are.
        landmarks: of its chest.
        moves_mm: of `displacement_mm`, each `[T]`.
        path_mm: of `path_mm`, `[T, 3]`.
        diameter_mm: mm.
        geometry: the view.

    Returns:
        Line integrals [1] and mask in {0, 1}, each `[T, rows, cols]`.
    """
    line, inside = _ball(diameter_mm, REPLACED_VOXELS)
    x, y, z = line.reshape(1, 1, -1), line.reshape(1, -1, 1), line.reshape(-1, 1, 1)
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm

    def frame(now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        centre, si_mm, ap_mm = now
        place = (centre[0] + x, centre[1] + y, centre[2] + z)
        place, jacobian = tissue_origin_mm(landmarks, place, si_mm, ap_mm)
        index = (place[2] - z0) / dz, (place[1] - y0) / dy, (place[0] - x0) / dx
        index = jnp.broadcast_arrays(*index)
        here = map_coordinates(mu, index, order=1, mode="nearest") / jacobian
        taken = projector.project(inside * here, _box(centre, line), geometry)
        chord = sphere_chord_mm(geometry, centre, diameter_mm)
        added = jnp.asarray(att.mu_tumor(DENSITY_G_CC) * chord - taken)
        return added, (chord > 0.0).astype(jnp.float32)

    return jax.lax.map(frame, (path_mm, *moves_mm))


@jax.jit
def _extra(
    volume: CtVolume, centre_mm: Array, diameter_mm: Array, density_g_cc: Array
) -> tuple[Array, Grid]:
    """Attenuation that the sphere adds, `[N, N, N]` 1/mm, and the box's grid."""
    line, inside = _ball(diameter_mm, BOX_VOXELS)
    z, y, x = line.reshape(-1, 1, 1), line.reshape(1, -1, 1), line.reshape(1, 1, -1)
    (x0, y0, z0), (dx, dy, dz) = volume.grid.origin_mm, volume.grid.spacing_mm
    places = ((centre_mm[2] + z - z0) / dz, (centre_mm[1] + y - y0) / dy)
    index = jnp.broadcast_arrays(*places, (centre_mm[0] + x - x0) / dx)
    here = map_coordinates(volume.mu(), index, order=1, mode="nearest")
    return inside * (att.mu_tumor(density_g_cc) - here), _box(centre_mm, line)


def _ball(diameter_mm: Scalar, voxels: int) -> tuple[Array, Array]:
    """Returns a box's axis `[N]` mm about the middle, and the sphere in it `[N]^3`."""
    voxel = MARGIN * diameter_mm / voxels
    line = (jnp.arange(voxels, dtype=jnp.float32) - 0.5 * (voxels - 1)) * voxel
    z, y, x = line.reshape(-1, 1, 1), line.reshape(1, -1, 1), line.reshape(1, 1, -1)
    reach = jnp.sqrt(x * x + y * y + z * z)
    return line, jnp.clip(0.5 + (0.5 * diameter_mm - reach) / voxel, 0.0, 1.0)


def _box(centre_mm: Array, line: Array) -> Grid:
    first, voxel = centre_mm + line[0], line[1] - line[0]
    return Grid((first[0], first[1], first[2]), (voxel, voxel, voxel))
