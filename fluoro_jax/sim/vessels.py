"""Lung vessels: a tree of tapering, bent spokes about each hilum.

Drawn once at exhale and carried along z with the lung: nothing below the apex moves as
far as the diaphragm, and the share falls with height.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.anatomy import Anatomy
from fluoro_jax.sim.solids import grid_axes, occupancy, to_reference

Array = jax.Array
Scalar = Any
HILUM = (30.0, 6.0, 16.0)  # |x|, y, z, reference mm
APEX_Z, BASE_Z = 128.0, -30.0  # nothing moves at the apex, all at the base


def _directions() -> np.ndarray:
    """Unit vectors of the spokes, away from the midline, `[N, 3]`."""
    index = np.arange(26) + 0.5
    turn = np.pi * (1.0 + 5.0**0.5) * index
    out = 1.0 - index / 26.0 * 1.25  # cosine with the lateral axis, to -0.25
    flat = np.sqrt(1.0 - out**2)
    return np.stack([out, 0.75 * flat * np.cos(turn), flat * np.sin(turn)], axis=-1)


def vessel_share(anatomy: Anatomy, grid: Grid, shape: tuple[int, int, int]) -> Array:
    """Share of each voxel filled by vessels at exhale, `[Z, Y, X]`."""
    x, y, z = to_reference(anatomy, grid_axes(grid, shape))
    phase = 2.0 * jnp.pi * anatomy.vessel_seed
    side = jnp.abs(x) - HILUM[0]
    away = jnp.where(x > 0.0, 1.0, 2.0) + phase  # the two lungs differ
    # bend space a little, so that spokes are curved
    side = side + 6.0 * jnp.sin(z / 24.0 + away)
    up = z - HILUM[2] + 7.0 * jnp.sin(jnp.abs(x) / 21.0 + 2.0 * away)
    back = y - HILUM[1] + 6.0 * jnp.sin(jnp.abs(x) / 26.0 + z / 31.0 + away)
    far_sq = jnp.square(side) + jnp.square(up) + jnp.square(back)
    along = jnp.zeros_like(far_sq)
    for direction in _directions():
        d = direction / np.linalg.norm(direction)
        spoke = float(d[0]) * side + float(d[1]) * back + float(d[2]) * up
        along = jnp.maximum(along, spoke)
    off = jnp.sqrt(jnp.maximum(far_sq - jnp.square(along), 0.0) + 1e-3)
    radius = 0.6 + 6.0 * jnp.exp(-jnp.sqrt(far_sq + 1.0) / 38.0)
    return occupancy(off - radius, grid.spacing_mm[0])


def carry(share: Array, anatomy: Anatomy, grid: Grid, si_mm: Scalar) -> Array:
    """Vessels moved with the lung for a diaphragm `si_mm` lower, `[Z, Y, X]`."""
    count = share.shape[0]
    spacing = grid.spacing_mm[2]
    z = grid.origin_mm[2] + jnp.arange(count) * spacing
    base, apex = BASE_Z * anatomy.scale_height, APEX_Z * anatomy.scale_height
    # z = z0 - si (apex - z0) / (apex - base), solved for z0; rigid below the base
    rate = si_mm / (apex - base)
    start = jnp.minimum((z + rate * apex) / (1.0 + rate), jnp.maximum(apex, z))
    start = jnp.where(start < base, z + si_mm, start)
    place = jnp.clip((start - grid.origin_mm[2]) / spacing, 0.0, count - 1.001)
    low = jnp.floor(place).astype(jnp.int32)
    part = (place - low).reshape(-1, 1, 1)
    return share[low] * (1.0 - part) + share[low + 1] * part
