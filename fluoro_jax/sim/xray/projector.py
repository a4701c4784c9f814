"""Cone-beam line integrals of a volume, at any gantry angle.

All rays are sampled where they cross planes parallel to the detector. For a panel whose
columns run along the gantry axis, every pixel of a column then shares its axial (x, y)
at a given plane, and its z is a multiple of the pixel's height. Trilinear sampling thus
splits exactly into one bilinear gather per (plane, column) and one linear resampling
along z per plane; at 0, 90, 180 and 270 degrees the planes are the volume's own slices
(Joseph 1982, doi:10.1109/TMI.1982.4307572).

The volume is linearly interpolated and falls to zero over one spacing at its faces, so
a slab of N voxels measures N spacings.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float

from fluoro_jax.geometry import (
    AnyArray,
    Geometry,
    Grid,
    pixel_positions_mm,
    source_mm,
    view_axes,
)

Array = jax.Array
CHUNK = 8  # planes gathered together: bounds memory


def project(
    mu: Float[AnyArray, "z y x"], grid: Grid, geometry: Geometry
) -> Float[Array, "rows cols"]:
    """Returns line integrals from the source to every pixel centre.

    Args:
        mu: `[Z, Y, X]` attenuation, 1/mm, world (LPS) axes.
        grid: where the voxels are; x and y spacing should be alike unless the gantry
            angle is a known multiple of 90 degrees.
        geometry: the view; its angle may be traced, which takes the general path.

    Returns:
        `[rows, cols]` line integrals [1].
    """
    quarter = quarter_turn(geometry)
    if quarter is None:
        return _project_general(mu, grid, geometry)
    return _project_aligned(mu, grid, geometry, quarter)


def quarter_turn(geometry: Geometry) -> int | None:
    """Returns the gantry angle as quarter turns, 0 to 3; None if another or traced."""
    if isinstance(geometry.gantry_deg, Tracer):
        return None
    angle = np.asarray(geometry.gantry_deg)
    if angle.shape or float(angle) % 90.0:
        return None
    return int(float(angle) // 90) % 4


def turned(geometry: Geometry, quarter: int | None) -> Geometry:
    """Returns the view with a traced `quarter_turn` as a plain number."""
    if quarter is None:
        return geometry
    return dataclasses.replace(geometry, gantry_deg=90.0 * quarter)


def march(
    mu: Float[AnyArray, "z y x"],
    grid: Grid,
    geometry: Geometry,
    *,
    samples: int | None = None,
) -> Float[Array, "rows cols"]:
    """Returns the same integrals by trilinear sampling of each ray: slow, general.

    Args:
        mu: `[Z, Y, X]` 1/mm.
        grid: where the voxels are.
        geometry: the view.
        samples: planes per ray; None takes the general path's own planes.

    Returns:
        `[rows, cols]` line integrals [1]. The gradient recomputes each chunk.
    """
    depths, step = _planes(mu.shape, grid, samples)
    down, right = pixel_positions_mm(geometry)
    axis_right, axis_down, beam = view_axes(geometry)
    toward = (
        beam.reshape(3, 1, 1)
        + axis_right.reshape(3, 1, 1) * (right / geometry.sdd_mm).reshape(1, 1, -1)
        + axis_down.reshape(3, 1, 1) * (down / geometry.sdd_mm).reshape(1, -1, 1)
    )
    first = jnp.stack([jnp.asarray(v, jnp.float32) for v in grid.origin_mm])
    pitch = jnp.stack([jnp.asarray(v, jnp.float32) for v in grid.spacing_mm])
    start = (source_mm(geometry) - first).reshape(3, 1, 1)
    shift = _mid_depth(mu.shape, grid, geometry)

    @jax.checkpoint
    def add_plane(total: Array, depth: Array) -> tuple[Array, None]:
        place = (start + toward * (depth + shift)) / pitch.reshape(3, 1, 1)
        value = map_coordinates(mu, [place[2], place[1], place[0]], order=1)
        return total + value, None

    total = jnp.zeros((geometry.rows, geometry.cols), mu.dtype)
    total, _ = jax.lax.scan(add_plane, total, depths)
    return total * step * _ray_factor(geometry)


def _planes(
    shape: tuple[int, ...], grid: Grid, samples: int | None = None
) -> tuple[Array, Array]:
    """Returns plane depths about the volume's middle and their distance, mm.

    One plane per voxel, so that linear interpolation weights add up to one exactly
    along an aligned axis, wherever the planes fall.
    """
    _, ny, nx = shape
    dx, dy, _ = grid.spacing_mm
    step = jnp.maximum(jnp.asarray(dx, jnp.float32), jnp.asarray(dy, jnp.float32))
    count = math.ceil(math.hypot(nx, ny)) + 2
    count = -(-count // CHUNK) * CHUNK
    if samples is not None:
        step = step * count / samples
        count = samples
    return (jnp.arange(count, dtype=jnp.float32) - (count - 1) / 2) * step, step


def _mid_depth(shape: tuple[int, ...], grid: Grid, geometry: Geometry) -> Array:
    """Returns the depth from the source of the volume's middle, mm."""
    _, ny, nx = shape
    beam = view_axes(geometry)[2]
    x = grid.origin_mm[0] + 0.5 * (nx - 1) * grid.spacing_mm[0]
    y = grid.origin_mm[1] + 0.5 * (ny - 1) * grid.spacing_mm[1]
    return geometry.sad_mm + beam[0] * x + beam[1] * y


def _ray_factor(geometry: Geometry) -> Array:
    """Returns the length of each ray per unit of depth, 1 / cos, `[rows, cols]`."""
    down, right = pixel_positions_mm(geometry)
    slope_sq = jnp.square(down / geometry.sdd_mm).reshape(-1, 1) + jnp.square(
        right / geometry.sdd_mm
    ).reshape(1, -1)
    return jnp.sqrt(1.0 + slope_sq)


def _taps(place: Array, count: int) -> tuple[tuple[Array, Array], ...]:
    """Returns two (index, weight) that interpolate linearly; weight 0 outside."""
    place = jnp.clip(place, -1.0, float(count))
    low = jnp.floor(place)
    share, low = place - low, low.astype(jnp.int32)

    def tap(index: Array, weight: Array) -> tuple[Array, Array]:
        inside = (index >= 0) & (index < count)
        return jnp.clip(index, 0, count - 1), jnp.where(inside, weight, 0.0)

    return tap(low, 1.0 - share), tap(low + 1, share)


def _rows(table: Array, index: Array, weight: Array) -> Array:
    """Returns weighted whole rows of `[n, m]`: `[..., m]`. Indices must be within."""
    return table.at[index].get(mode="promise_in_bounds") * weight[..., None]


def _add_resampled(total: Array, planes: Array, taps: Any) -> Array:
    """Adds every plane `[k, n, m]`, resampled along n at its own places `[k, p]`.

    A loop, so that a CPU finds the planes in memory: unrolled, XLA computes each value
    of a plane again wherever it is used.
    """

    def add_plane(total: Array, plane: Any) -> tuple[Array, None]:
        table, taps = plane
        return total + sum(_rows(table, at, weight) for at, weight in taps), None

    return jax.lax.scan(add_plane, total, (planes, taps))[0]


@functools.partial(jax.jit, static_argnums=3)
def _project_aligned(mu: Array, grid: Grid, geometry: Geometry, quarter: int) -> Array:
    """Returns line integrals at a quarter turn, where planes are volume slices."""
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm
    lateral = quarter % 2 == 1
    slices = jnp.transpose(mu, (2, 0, 1) if lateral else (1, 0, 2))  # [D, Z, U]
    depth0, step, u0, du = (x0, dx, y0, dy) if lateral else (y0, dy, x0, dx)
    # beam direction along the slice axis, and image right along the other one
    beam_sign = (1.0, -1.0, -1.0, 1.0)[quarter]
    right_sign = (1.0, 1.0, -1.0, -1.0)[quarter]
    count, nz, nu = slices.shape
    pad = -count % CHUNK
    slices = jnp.pad(slices, ((0, pad), (0, 0), (0, 0)))
    index = jnp.arange(count + pad, dtype=jnp.float32)
    depth = geometry.sad_mm + beam_sign * (depth0 + index * step)
    shrink = (depth / geometry.sdd_mm)[:, None]
    down, right = pixel_positions_mm(geometry)
    heights = _taps((-down[None] * shrink - z0) / dz, nz)
    widths = _taps((right_sign * right[None] * shrink - u0) / du, nu)
    first = nz * jnp.arange(CHUNK)[:, None]

    def add_chunk(total: Array, chunk: Any) -> tuple[Array, None]:
        part, heights, widths = chunk
        table = part.reshape(CHUNK * nz, nu)
        lines = sum(_rows(table, first + at, weight) for at, weight in heights)
        return _add_resampled(total, jnp.swapaxes(lines, 1, 2), widths), None

    total = jnp.zeros((geometry.cols, geometry.rows), mu.dtype)
    total, _ = jax.lax.scan(add_chunk, total, _chunks((slices, heights, widths)))
    return total.T * step * _ray_factor(geometry)


def _chunks(tree: Any) -> Any:
    """Splits the leading axis into `[-1, CHUNK]`."""
    return jax.tree.map(lambda v: v.reshape(-1, CHUNK, *v.shape[1:]), tree)


@jax.jit
def _project_general(mu: Array, grid: Grid, geometry: Geometry) -> Array:
    """Returns line integrals at any angle.

    Gathers whole z columns at four neighbours, then resamples along z.
    """
    nz, ny, nx = mu.shape
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm
    table = jnp.transpose(mu, (1, 2, 0)).reshape(ny * nx, nz)
    depths, step = _planes(mu.shape, grid)
    depths = (depths + _mid_depth(mu.shape, grid, geometry))[:, None]
    down, right = pixel_positions_mm(geometry)
    axis_right, _, beam = view_axes(geometry)
    source = source_mm(geometry)
    slope = right[None] / geometry.sdd_mm
    xs = source[0] + depths * (beam[0] + axis_right[0] * slope)
    ys = source[1] + depths * (beam[1] + axis_right[1] * slope)
    across = (_taps((xs - x0) / dx, nx), _taps((ys - y0) / dy, ny))
    heights = _taps((-down[None] * (depths / geometry.sdd_mm) - z0) / dz, nz)

    def add_chunk(total: Array, chunk: Any) -> tuple[Array, None]:
        (in_x, in_y), heights = chunk
        columns = sum(
            _rows(table, j * nx + i, b * a) for j, b in in_y for i, a in in_x
        )  # [chunk, cols, Z]
        return _add_resampled(total, jnp.swapaxes(columns, 1, 2), heights), None

    total = jnp.zeros((geometry.rows, geometry.cols), mu.dtype)
    total, _ = jax.lax.scan(add_chunk, total, _chunks((across, heights)))
    return total * step * _ray_factor(geometry)
