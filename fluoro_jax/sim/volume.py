"""The solids composed to one attenuation volume, by priority.

Painted in this order, later over earlier: fat, muscle, lung (less what fills it),
vessels, stomach gas, airways, ribs, sternum, spine, clavicles.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

from fluoro_jax.geometry import Grid
from fluoro_jax.sim import attenuation as att
from fluoro_jax.sim import solids, vessels
from fluoro_jax.sim.anatomy import Anatomy
from fluoro_jax.sim.motion import pose_at

Array = jax.Array
Scalar = Any
Shape = tuple[int, int, int]


@struct.dataclass
class Still:
    """What of a person need be drawn only once; shares of voxels `[Z, Y, X]`.

    Attributes:
        spine: vertebrae.
        clavicle: clavicles.
        airway: trachea and main bronchi.
        vessel: lung vessels at exhale.
    """

    spine: Array
    clavicle: Array
    airway: Array
    vessel: Array


def draw_still(anatomy: Anatomy, grid: Grid, shape: Shape) -> Still:
    """Draws what does not breathe, and the vessels at rest."""
    voxel = grid.spacing_mm[0]
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    return Still(
        spine=solids.occupancy(solids.spine_distance(anatomy, place), voxel),
        clavicle=solids.occupancy(solids.clavicle_distance(place), voxel),
        airway=solids.occupancy(solids.airway_distance(place), voxel),
        vessel=vessels.vessel_share(anatomy, grid, shape),
    )


def body_volume(
    anatomy: Anatomy,
    grid: Grid,
    *,
    still: Still,
    displacement_mm: tuple[Scalar, Scalar],
    mu_lung: Scalar,
) -> Array:
    """Attenuation of the whole thorax at one moment.

    Args:
        anatomy: the person.
        grid: where the voxels are.
        still: `draw_still` of the same person and grid.
        displacement_mm: (diaphragm inferior, chest wall anterior) now.
        mu_lung: attenuation of the lung now, 1/mm.

    Returns:
        `[Z, Y, X]` 1/mm at 60 keV.
    """
    voxel = grid.spacing_mm[0]
    nz, ny, nx = still.spine.shape
    pose = pose_at(anatomy, *displacement_mm)
    place = solids.to_reference(anatomy, solids.grid_axes(grid, (nz, ny, nx)))
    share = lambda distance: solids.occupancy(distance, voxel)
    skin = solids.skin_distance(pose, place)
    cage = solids.cage_distance(pose, place)
    lung = share(solids.lung_distance(pose, place, cage))
    vessel = vessels.carry(still.vessel, anatomy, grid, displacement_mm[0])
    mu = att.ADIPOSE * share(skin)
    mu = _paint(mu, share(skin + anatomy.fat_mm), att.MUSCLE)
    mu = _paint(mu, lung, mu_lung)
    mu = _paint(mu, lung * vessel, att.BLOOD)
    mu = _paint(mu, share(solids.gas_distance(pose, place)), att.AIR)
    mu = _paint(mu, still.airway, att.AIR)
    mu = _paint(mu, share(solids.rib_distance(pose, place, cage)), att.RIB)
    mu = _paint(mu, share(solids.sternum_distance(place, cage)), att.STERNUM)
    mu = _paint(mu, still.spine, att.VERTEBRA)
    return _paint(mu, still.clavicle, att.CLAVICLE)


def _paint(mu: Array, share: Array, value: Scalar) -> Array:
    return mu + share * (value - mu)
