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

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.ndimage import map_coordinates

from fluoro_jax.geometry import Geometry, Grid, pixel_positions_mm, source_mm, view_axes

Array = jax.Array
CHUNK = 8  # planes worked on together: bounds memory, feeds the matrix product
EXACT = jax.lax.Precision.HIGHEST


def project(mu: Array, grid: Grid, geometry: Geometry) -> Array:
    """Line integrals from the source to every pixel centre.

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
    """The gantry angle as 0, 1, 2, 3 quarter turns, or None (another, or traced)."""
    if isinstance(geometry.gantry_deg, Tracer):
        return None
    angle = np.asarray(geometry.gantry_deg)
    if angle.shape or float(angle) % 90.0:
        return None
    return int(float(angle) // 90) % 4


def turned(geometry: Geometry, quarter: int | None) -> Geometry:
    """The view with its `quarter_turn` as a plain number, where `jit` traced it."""
    if quarter is None:
        return geometry
    return dataclasses.replace(geometry, gantry_deg=90.0 * quarter)


def march(
    mu: Array, grid: Grid, geometry: Geometry, *, samples: int | None = None
) -> Array:
    """The same integrals by trilinear sampling of each ray: slow, plain, general.

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
    """Plane depths about the volume's middle, mm, and their distance, for any angle.

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
    """Depth from the source of the volume's middle, mm."""
    _, ny, nx = shape
    beam = view_axes(geometry)[2]
    x = grid.origin_mm[0] + 0.5 * (nx - 1) * grid.spacing_mm[0]
    y = grid.origin_mm[1] + 0.5 * (ny - 1) * grid.spacing_mm[1]
    return geometry.sad_mm + beam[0] * x + beam[1] * y


def _ray_factor(geometry: Geometry) -> Array:
    """Length of each ray per unit of depth, 1 / cos, `[rows, cols]`."""
    down, right = pixel_positions_mm(geometry)
    slope_sq = jnp.square(down / geometry.sdd_mm).reshape(-1, 1) + jnp.square(
        right / geometry.sdd_mm
    ).reshape(1, -1)
    return jnp.sqrt(1.0 + slope_sq)


def _hat(place: Array, count: int) -> Array:
    """Linear interpolation as a matrix `[..., n, count]` from places `[..., n]`."""
    index = jnp.arange(count, dtype=place.dtype).reshape((1,) * place.ndim + (count,))
    return jnp.maximum(1.0 - jnp.abs(place[..., None] - index), 0.0)


@functools.partial(jax.jit, static_argnums=3)
def _project_aligned(mu: Array, grid: Grid, geometry: Geometry, quarter: int) -> Array:
    """Gantry at a quarter turn: the planes are the volume's slices."""
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm
    lateral = quarter % 2 == 1
    slices = jnp.transpose(mu, (2, 0, 1) if lateral else (1, 0, 2))  # [D, Z, U]
    depth0, step, u0, du = (x0, dx, y0, dy) if lateral else (y0, dy, x0, dx)
    # beam direction along the slice axis, and image right along the other one
    beam_sign = (1.0, -1.0, -1.0, 1.0)[quarter]
    right_sign = (1.0, 1.0, -1.0, -1.0)[quarter]
    count, nz, nu = slices.shape
    index = jnp.arange(count, dtype=jnp.float32)
    shrink = (geometry.sad_mm + beam_sign * (depth0 + index * step)) / geometry.sdd_mm
    down, right = pixel_positions_mm(geometry)

    def chunk_sum(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
        part, scale = chunk
        scale = scale[:, None]
        columns = _hat((right_sign * right[None] * scale - u0) / du, nu)
        heights = _hat((-down[None] * scale - z0) / dz, nz)
        wide = jnp.einsum("dzu,dcu->dzc", part, columns, precision=EXACT)
        image = jnp.einsum("drz,dzc->rc", heights, wide, precision=EXACT)
        return total + image, None

    pad = -count % CHUNK
    slices = jnp.pad(slices, ((0, pad), (0, 0), (0, 0)))
    slices = slices.reshape(-1, CHUNK, nz, nu)
    shrink = jnp.pad(shrink, (0, pad)).reshape(-1, CHUNK)
    total = jnp.zeros((geometry.rows, geometry.cols), mu.dtype)
    total, _ = jax.lax.scan(chunk_sum, total, (slices, shrink))
    return total * step * _ray_factor(geometry)


@jax.jit
def _project_general(mu: Array, grid: Grid, geometry: Geometry) -> Array:
    """Any angle: gather whole z columns at four neighbours, then resample along z."""
    nz, ny, nx = mu.shape
    (x0, y0, z0), (dx, dy, dz) = grid.origin_mm, grid.spacing_mm
    # z contiguous, with one column of zeros all round
    padded = jnp.pad(jnp.transpose(mu, (1, 2, 0)), ((1, 1), (1, 1), (0, 0)))
    table = padded.reshape((ny + 2) * (nx + 2), nz)
    depths, step = _planes(mu.shape, grid)
    depths = depths + _mid_depth(mu.shape, grid, geometry)
    down, right = pixel_positions_mm(geometry)
    axis_right, _, beam = view_axes(geometry)
    source = source_mm(geometry)
    slope = right / geometry.sdd_mm
    toward_x = beam[0] + axis_right[0] * slope
    toward_y = beam[1] + axis_right[1] * slope

    def gather(depth: Array) -> Array:
        x = jnp.clip((source[0] + depth * toward_x - x0) / dx + 1.0, 0.0, nx + 1.0)
        y = jnp.clip((source[1] + depth * toward_y - y0) / dy + 1.0, 0.0, ny + 1.0)
        left = jnp.minimum(jnp.floor(x), nx).astype(jnp.int32)
        low = jnp.minimum(jnp.floor(y), ny).astype(jnp.int32)
        fx, fy = (x - left)[:, None], (y - low)[:, None]
        at = low * (nx + 2) + left
        near = table[at] * (1.0 - fx) + table[at + 1] * fx
        far = table[at + nx + 2] * (1.0 - fx) + table[at + nx + 3] * fx
        return near * (1.0 - fy) + far * fy

    def chunk_sum(total: Array, depth: Array) -> tuple[Array, None]:
        columns = jax.vmap(gather)(depth)  # [chunk, cols, Z]
        scale = (depth / geometry.sdd_mm)[:, None]
        heights = _hat((-down[None] * scale - z0) / dz, nz)
        image = jnp.einsum("drz,dcz->rc", heights, columns, precision=EXACT)
        return total + image, None

    total = jnp.zeros((geometry.rows, geometry.cols), mu.dtype)
    total, _ = jax.lax.scan(chunk_sum, total, depths.reshape(-1, CHUNK))
    return total * step * _ray_factor(geometry)
