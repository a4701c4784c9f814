"""Many thin tubes into one volume: each drawn only where it is.

A chain of capsules is evaluated in one window a capsule, so that its cost is that of
the tube and not of the body: 288 pieces of rib cost less than two organs.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import shapes

Array = jax.Array
Scalar = Any
Shape = tuple[int, int, int]


@struct.dataclass
class Tubes:
    """Straight pieces of tube in world (LPS) mm.

    Attributes:
        start: `[N, 3]` one end; end: `[N, 3]` the other.
        radius: `[N, 2]` at start and end (round tubes) or half thickness and half
            width (flat ones).
        normal: `[N, 3]` unit vectors of the thin direction, or None for round tubes.
    """

    start: Array
    end: Array
    radius: Array
    normal: Array | None = None


def pieces(nodes: Array, radius: Array) -> Tubes:
    """Returns round tubes along chains of nodes.

    Args:
        nodes: `[..., K, 3]` world mm.
        radius: `[..., K]` mm at the nodes.

    Returns:
        Tubes of K - 1 pieces a chain, all chains in one list.
    """
    nodes, radius = jnp.asarray(nodes, jnp.float32), jnp.asarray(radius, jnp.float32)
    ends = jnp.stack([radius[..., :-1], radius[..., 1:]], axis=-1)
    return Tubes(
        nodes[..., :-1, :].reshape(-1, 3),
        nodes[..., 1:, :].reshape(-1, 3),
        ends.reshape(-1, 2),
    )


def join(*parts: Tubes) -> Tubes:
    """Returns several lists of round tubes as one."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def tube_distance(tubes: Tubes, grid: Grid, shape: Shape, *, reach_mm: float) -> Array:
    """Returns the signed distance to the nearest tube, `[Z, Y, X]` mm, at most a voxel.

    Farther away than a voxel nothing needs to be known, so windows stay small. Radii
    are made smaller by `shapes.soft_radius`, so that mass is right on any grid.

    Args:
        tubes: what to draw.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
        reach_mm: static; no piece is longer or thicker than this, ends included.
    """
    voxel = float(grid.spacing_mm[0])
    # half a piece, half a voxel of soft edge, half a voxel of rounding
    window = 2 * math.floor(0.5 * reach_mm / voxel + 1.0) + 1
    # along x whole vectors of 8 numbers: thrice as quick as a window of 13
    wide = -(-window // 8) * 8
    nz, ny, nx = shape
    size = (min(nz, window), min(ny, window), min(nx, wide))
    origin = jnp.asarray(grid.origin_mm, jnp.float32)
    thick = shapes.soft_radius(tubes.radius, voxel)
    if tubes.normal is not None:
        # an ellipse keeps its form: shrink both half widths alike
        mean = jnp.sqrt(tubes.radius[:, 0] * tubes.radius[:, 1])
        shrink = jnp.maximum(shapes.soft_radius(mean, voxel) / mean, 0.05)
        thick = tubes.radius * shrink[:, None]
    corner = _corners(tubes, grid, shape, size)
    steps = [jnp.arange(n, dtype=jnp.float32) * voxel for n in size]

    def draw(field: Array, piece: tuple) -> tuple[Array, None]:
        at, start, end, radius, normal = piece
        first = origin + at[::-1] * voxel
        place = (
            (first[0] + steps[2]).reshape(1, 1, -1),
            (first[1] + steps[1]).reshape(1, -1, 1),
            (first[2] + steps[0]).reshape(-1, 1, 1),
        )
        if normal is None:
            here = shapes.capsule(place, start, end, (radius[0], radius[1]))
        else:
            half = (radius[0], radius[1])
            here = shapes.flat_capsule(place, start, end, normal, half)
        before = jax.lax.dynamic_slice(field, at, size)
        field = jax.lax.dynamic_update_slice(field, jnp.minimum(before, here), at)
        return field, None

    field = jnp.full(shape, voxel, jnp.float32)
    parts = (corner, tubes.start, tubes.end, thick, tubes.normal)
    return jax.lax.scan(draw, field, parts)[0]


def _corners(tubes: Tubes, grid: Grid, shape: Shape, size: Shape) -> Array:
    """Returns the first voxel (z, y, x) of each piece's window, `[N, 3]`."""
    origin = jnp.asarray(grid.origin_mm, jnp.float32).reshape(1, 3)
    middle = 0.5 * (tubes.start + tubes.end)
    nearest = jnp.floor((middle - origin) / grid.spacing_mm[0] + 0.5)
    corner = nearest.astype(jnp.int32)[:, ::-1]
    corner = corner - jnp.asarray([[n // 2 for n in size]])
    most = jnp.asarray([[n - w for n, w in zip(shape, size, strict=True)]])
    return jnp.clip(corner, 0, most)
