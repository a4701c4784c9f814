"""Closed-form signed distances, mm, negative inside; what solids are made of.

A place is (x, y, z), three arrays of one rank that broadcast. A distance is exact for
spheres and capsules and first order in the distance elsewhere; its sign is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Scalar = Any
Axes = tuple[Array, Array, Array]
Rows = tuple[tuple[float, ...], ...]


def occupancy(distance: Array, voxel: Scalar) -> Array:
    """Returns the share of each voxel inside a solid, from its signed distance."""
    return jnp.clip(0.5 - distance / voxel, 0.0, 1.0)


def rows_between(origin: float, step: float, count: int, span: Any) -> slice:
    """Returns voxels of one axis whose middles lie in (low, high) mm, at least one."""
    low = min(max(math.ceil((span[0] - origin) / step), 0), count - 1)
    high = max(min(math.floor((span[1] - origin) / step) + 1, count), low + 1)
    return slice(low, high)


def table(at: Array, knots: tuple[float, ...], values: tuple[float, ...]) -> Array:
    """Returns a table of numbers interpolated linearly, held at its ends.

    Args:
        at: where, any shape.
        knots: rising.
        values: one a knot.
    """
    return tables(at, knots, (values,))[0]


def tables(
    at: Array, knots: tuple[float, ...], columns: Sequence[tuple[float, ...]]
) -> tuple[Array, ...]:
    """Returns several tables of the same knots, as `table` reads one.

    As a sum of ramps, one matrix product for all: jnp.interp's search takes long to
    compile, and so does every further product.
    """
    knots_mm = np.asarray(knots, np.float32)
    slopes = np.diff(np.asarray(columns)) / np.diff(knots)
    bends = np.diff(slopes, prepend=0.0, append=0.0).astype(np.float32).T
    inside = jnp.clip(at, knots_mm[0], knots_mm[-1])
    ramps = jnp.maximum(
        inside[..., None] - knots_mm.reshape((1,) * at.ndim + (-1,)), 0.0
    )
    rise = jnp.dot(ramps, bends, precision=jax.lax.Precision.HIGHEST)
    return tuple(values[0] + rise[..., i] for i, values in enumerate(columns))


def length(x: Array, y: Array, z: Array) -> Array:
    """Returns the euclidean length, with a slope everywhere."""
    return jnp.sqrt(jnp.square(x) + jnp.square(y) + jnp.square(z) + 1e-6)


def squircle(
    x: Array, y: Array, half: tuple[Array, Array], square: float
) -> tuple[Array, Array]:
    """Returns squares of the norm (1 on the outline) and of the radius, mm^2.

    Between an ellipse (square = 0) and a rectangle (1):
    p + q - square p q = 1 with p = (x / a)^2, q = (y / b)^2.

    Source:
        Fernandez-Guasti 1992, Int. J. Math. Educ. Sci. Technol. 23, 895.
    """
    p, q = jnp.square(x / half[0]), jnp.square(y / half[1])
    total = p + q
    root = jnp.sqrt(jnp.maximum(jnp.square(total) - 4.0 * square * p * q, 0.0))
    return 0.5 * (total + root) + 1e-6, jnp.square(x) + jnp.square(y) + 1e-6


def squircle_distance(
    x: Array, y: Array, half: tuple[Array, Array], square: float
) -> Array:
    """Returns the signed distance to a squircle along the line to its middle, mm."""
    norm_sq, radius_sq = squircle(x, y, half, square)
    return jnp.sqrt(radius_sq) * (1.0 - jax.lax.rsqrt(norm_sq))


def squircle_edge(x: Array, half: tuple[Array, Array], square: float) -> Array:
    """Returns |y| of a squircle's outline at x, mm; 0 beyond its ends."""
    p = jnp.clip(jnp.square(x / half[0]), 0.0, 1.0)
    return half[1] * jnp.sqrt((1.0 - p) / (1.0 - square * p) + 1e-9)


def ellipsoid(place: Axes, centre: Any, semi: Any, axes: Rows | None = None) -> Array:
    """Returns the signed distance to an ellipsoid, first order.

    Args:
        place: (x, y, z), mm.
        centre: its centre, three numbers or arrays.
        semi: three semi-axes, mm.
        axes: rows are the unit directions of the semi-axes; None: along x, y, z.
    """
    x, y, z = (p - c for p, c in zip(place, centre, strict=True))
    along = (x, y, z)
    if axes is not None:
        along = tuple(a * x + b * y + c * z for a, b, c in axes)
    scaled = [u / s for u, s in zip(along, semi, strict=True)]
    norm = length(*scaled)
    slope = length(*(u / s for u, s in zip(scaled, semi, strict=True)))
    return norm * (norm - 1.0) / slope


def capsule(place: Axes, start: Any, end: Any, radius: Any) -> Array:
    """Returns the signed distance to a straight tube with round ends.

    Args:
        place: (x, y, z), mm.
        start: centre of one end, three numbers or arrays.
        end: centre of the other end.
        radius: mm, or (at the start, at the end) for one that tapers.
    """
    axis = [b - a for a, b in zip(start, end, strict=True)]
    off = [p - a for p, a in zip(place, start, strict=True)]
    length_sq = sum(a * a for a in axis) + 1e-6
    along = sum(o * a for o, a in zip(off, axis, strict=True)) / length_sq
    t = jnp.clip(along, 0.0, 1.0)
    gap = length(*(o - t * a for o, a in zip(off, axis, strict=True)))
    if isinstance(radius, tuple):
        radius = radius[0] + (radius[1] - radius[0]) * t
    return gap - radius


def flat_capsule(
    place: Axes, start: Any, end: Any, normal: Any, half: tuple[Any, Any]
) -> Array:
    """Returns the signed distance to a tube whose section is an ellipse, first order.

    Args:
        place: (x, y, z), mm.
        start: centre of one end.
        end: centre of the other end.
        normal: unit vector of the thin direction.
        half: (half thickness along the normal, half width across it), mm.
    """
    axis = [b - a for a, b in zip(start, end, strict=True)]
    off = [p - a for p, a in zip(place, start, strict=True)]
    length_sq = sum(a * a for a in axis) + 1e-6
    along = sum(o * a for o, a in zip(off, axis, strict=True)) / length_sq
    t = jnp.clip(along, 0.0, 1.0)
    off = [o - t * a for o, a in zip(off, axis, strict=True)]
    gap_sq = sum(o * o for o in off) + 1e-6
    thin_sq = jnp.square(sum(o * n for o, n in zip(off, normal, strict=True)))
    wide_sq = jnp.maximum(gap_sq - thin_sq, 0.0)
    norm = jnp.sqrt(thin_sq / half[0] ** 2 + wide_sq / half[1] ** 2)
    return jnp.sqrt(gap_sq) * (1.0 - 1.0 / norm)


def soft_radius(radius: Array, voxel: Scalar) -> Array:
    """Returns the radius at which a soft-edged tube has a sharp one's volume, mm.

    clip(1/2 - d/v, 0, 1) over a disc of radius r integrates to pi (r^2 + v^2 / 12), or
    to pi (r + v/2)^3 / (3 v) if r < v/2: solved for the volume wanted, pi r^2. Without
    it a 2 mm vessel would weigh twice as much in 4 mm voxels. May be negative.
    """
    wide = jnp.sqrt(jnp.maximum(radius**2 - voxel**2 / 12.0, 1e-6))
    thin = jnp.cbrt(3.0 * voxel * radius**2) - 0.5 * voxel
    return jnp.where(3.0 * radius**2 > voxel**2, wide, thin)
