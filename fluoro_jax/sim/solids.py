"""Implicit solids of the thorax.

Every solid is a signed distance in mm (negative inside) evaluated at the moment asked
for, so no deformation field has to be inverted. A voxel's share of a solid is
clip(0.5 - distance / voxel, 0, 1): soft edges one voxel wide. volume.py composes them.

Coordinates are reference mm: x left, y posterior, z superior, |x| where a pair is
symmetric. The tables are of one chest CT, made symmetric and moved to exhale:
LIDC-IDRI-0001 (Armato III et al., doi:10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.anatomy import Anatomy
from fluoro_jax.sim.motion import Pose

Array = jax.Array
Scalar = Any
Axes = tuple[Array, Array, Array]

EXTENT_MM = (352.0, 288.0, 368.0)  # x, y, z of every body volume

# Rib cage, middle of the wall: half width, front and back (y) against height z.
CAGE_Z = (-190.0, -130.0, -82.0, -47.0, -18.0, 9.0, 39.0, 67.0, 92.0, 113.0, 190.0)
CAGE_HALF = (
    136.0,
    134.0,
    133.0,
    129.0,
    125.0,
    122.0,
    120.0,
    117.0,
    114.0,
    111.0,
    100.0,
)
CAGE_FRONT = (
    -80.0,
    -82.0,
    -88.0,
    -91.0,
    -92.0,
    -91.0,
    -88.0,
    -84.0,
    -80.0,
    -76.0,
    -66.0,
)
CAGE_BACK = (74.0, 76.0, 79.0, 84.0, 88.0, 91.0, 91.0, 86.0, 78.0, 68.0, 40.0)
CAGE_TOP = (28.0, 134.0)  # the cage narrows from here to here as 1 - w^4
WALL_MM = 7.0  # from the middle of the cage to the lung

# Skin: half width, front and back against height; shoulders slope up to the neck.
SKIN_Z = (-190.0, -100.0, 0.0, 70.0, 115.0, 135.0, 155.0, 172.0, 190.0)
SKIN_HALF = (147.0, 150.0, 156.0, 166.0, 170.0, 158.0, 112.0, 74.0, 62.0)
SKIN_FRONT = (-106.0, -108.0, -107.0, -103.0, -97.0, -90.0, -76.0, -70.0, -68.0)
SKIN_BACK = (112.0, 113.0, 116.0, 116.0, 108.0, 98.0, 84.0, 70.0, 64.0)

# Vertebral bodies: middle (y) against height.
SPINE_Z = (-190.0, -121.0, -68.0, -23.0, 24.0, 68.0, 105.0, 134.0, 190.0)
SPINE_Y = (6.0, 18.0, 36.0, 48.0, 53.0, 44.0, 24.0, -2.0, -20.0)

# Rib pairs 1 to 12 lie in tilted sheets z = A + B |x| + C y.
RIB_A = (
    147.0,
    130.0,
    100.0,
    64.0,
    27.0,
    -12.0,
    -50.0,
    -84.0,
    -104.0,
    -118.0,
    -147.0,
    -172.0,
)
RIB_B = (-0.25, -0.13, 0.03, 0.19, 0.31, 0.40, 0.45, 0.43, 0.27, 0.02, -0.16, -0.30)
RIB_C = (0.55, 0.56, 0.63, 0.68, 0.73, 0.75, 0.80, 0.86, 0.86, 0.90, 1.0, 1.2)
RIB_END_Y = (
    -66.0,
    -78.0,
    -86.0,
    -90.0,
    -92.0,
    -90.0,
    -80.0,
    -64.0,
    -45.0,
    -22.0,
    14.0,
    50.0,
)
RIB_TOP_Z = 117.0
RIB_HEAD_MM = 26.0  # ribs begin this far from the midline
VERTEBRA_MM = 25.0  # distance of neighbouring vertebrae

HEART_CENTRE = (0.0, -34.0, -14.0)  # x comes from the anatomy
HEART_AXES = (  # unit axes (x left, y posterior, z superior), with semi-axes below
    (0.640, -0.496, -0.587),
    (-0.766, -0.346, -0.542),
    (0.066, 0.796, -0.602),
)
HEART_SEMI = (75.0, 55.0, 52.0)
# Domes: |x|, y of the top; how wide and deep; how far the rim lies below the top.
DOME_RIGHT = (58.0, -30.0, 76.0, 122.0)
DOME_LEFT = (66.0, -14.0, 74.0, 110.0)
DOME_RIM_MM = 96.0


def body_grid(voxel_mm: float) -> tuple[Grid, tuple[int, int, int]]:
    """The grid of every body volume with cubic voxels, and its `[Z, Y, X]` shape."""
    nx, ny, nz = (max(2, round(length / voxel_mm)) for length in EXTENT_MM)
    first = lambda n: -0.5 * (n - 1) * voxel_mm
    spacing = (voxel_mm, voxel_mm, voxel_mm)
    return Grid((first(nx), first(ny), first(nz)), spacing), (nz, ny, nx)


def grid_axes(grid: Grid, shape: tuple[int, int, int]) -> Axes:
    """World x `[1, 1, X]`, y `[1, Y, 1]` and z `[Z, 1, 1]` of voxel centres, mm."""
    nz, ny, nx = shape
    along = lambda i, n: grid.origin_mm[i] + jnp.arange(n) * grid.spacing_mm[i]
    return (
        along(0, nx).reshape(1, 1, nx).astype(jnp.float32),
        along(1, ny).reshape(1, ny, 1).astype(jnp.float32),
        along(2, nz).reshape(nz, 1, 1).astype(jnp.float32),
    )


def to_reference(anatomy: Anatomy, place: Axes) -> Axes:
    """World mm to reference mm: the person's scalings divided out."""
    x, y, z = place
    return (
        x / anatomy.scale_lateral,
        y / anatomy.scale_ap,
        z / anatomy.scale_height,
    )


def occupancy(distance: Array, voxel: Scalar) -> Array:
    """Share of each voxel inside a solid, from its signed distance."""
    return jnp.clip(0.5 - distance / voxel, 0.0, 1.0)


def _table(at: Array, z: tuple[float, ...], value: tuple[float, ...]) -> Array:
    return jnp.interp(at, jnp.asarray(z), jnp.asarray(value))


def _squircle(x: Array, y: Array, half: tuple[Array, Array], square: float) -> Axes:
    """Norm (1 on the outline), reach of the outline this way, and distance, mm.

    Between an ellipse (square = 0) and a rectangle (1): Fernandez-Guasti 1992.
    """
    p, q = jnp.square(x / half[0]), jnp.square(y / half[1])
    total = p + q
    root = jnp.sqrt(jnp.maximum(jnp.square(total) - 4.0 * square * p * q, 0.0))
    norm = jnp.sqrt(0.5 * (total + root) + 1e-6)
    reach = jnp.sqrt(jnp.square(x) + jnp.square(y) + 1e-6) / norm
    return norm, reach, (norm - 1.0) * reach


def cage_distance(pose: Pose, place: Axes) -> Array:
    """Signed distance to the middle of the rib cage wall."""
    x, y, z = place
    half = _table(z, CAGE_Z, CAGE_HALF) + pose.widen_mm
    front = _table(z, CAGE_Z, CAGE_FRONT) - pose.advance_mm
    back = _table(z, CAGE_Z, CAGE_BACK)
    depth = 0.5 * (back - front)
    norm, reach, _ = _squircle(x, y - 0.5 * (front + back), (half, depth), 0.35)
    bottom, top = CAGE_TOP
    w = jnp.maximum(z - bottom, 0.0) / (top - bottom)
    value = jnp.square(norm) + jnp.square(jnp.square(w)) - 1.0
    slope = jnp.square(2.0 * norm / reach) + jnp.square(4.0 * w**3 / (top - bottom))
    return value / jnp.sqrt(slope + (0.3 / 120.0) ** 2)


def heart_distance(pose: Pose, place: Axes) -> Array:
    """Signed distance to the heart, an oblique ellipsoid."""
    x, y, z = place
    forward, down = pose.heart_mm
    x = x - pose.anatomy.heart_x_mm
    y = y - HEART_CENTRE[1] + forward
    z = z - HEART_CENTRE[2] + down
    norm_sq, slope_sq = 0.0, 0.0
    for axis, semi in zip(HEART_AXES, HEART_SEMI, strict=True):
        along = (axis[0] * x + axis[1] * y + axis[2] * z) / (
            semi * pose.anatomy.heart_scale
        )
        norm_sq = norm_sq + jnp.square(along)
        slope_sq = slope_sq + jnp.square(along / (semi * pose.anatomy.heart_scale))
    norm = jnp.sqrt(norm_sq + 1e-6)
    return norm * (norm - 1.0) / jnp.sqrt(slope_sq + 1e-9)


def dome_distance(pose: Pose, place: Axes) -> Array:
    """Signed distance to what lies under the diaphragm (negative below it)."""
    x, y, z = place
    left = x > 0.0
    pick = lambda i: jnp.where(left, DOME_LEFT[i], DOME_RIGHT[i])
    right_top = pose.anatomy.dome_right_mm - pose.drop_mm
    top = right_top - jnp.where(left, pose.anatomy.dome_step_mm, 0.0)
    across, along = jnp.abs(x) - pick(0), y - pick(1)
    wide, deep = pick(2), pick(3)
    fall = jnp.square(across / wide) + jnp.square(along / deep)
    height = top - 0.5 * DOME_RIM_MM * (fall + jnp.square(fall))
    slope = jnp.square(across / jnp.square(wide)) + jnp.square(along / jnp.square(deep))
    slope = slope * jnp.square(DOME_RIM_MM * (1.0 + 2.0 * fall))
    return (z - height) / jnp.sqrt(1.0 + slope)


def mediastinum_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Signed distance (sideways) to what keeps the two lungs apart."""
    x, y, z = place
    at = lambda zs, values: _table(z, zs, values)
    spread = jnp.interp(
        y,
        jnp.asarray((-100.0, -70.0, -35.0, 0.0, 40.0, 75.0, 100.0)),
        jnp.asarray((0.1, 0.25, 0.9, 1.0, 0.95, 0.8, 0.6)),
    )
    zs = (-150.0, 0.0, 22.0, 38.0, 52.0, 64.0, 78.0, 100.0, 115.0, 132.0)
    left = at(zs, (25.0, 26.0, 34.0, 33.0, 36.0, 39.0, 31.0, 31.0, 36.0, 52.0))
    right = at(zs, (22.0, 24.0, 32.0, 31.0, 28.0, 27.0, 27.0, 30.0, 36.0, 52.0))
    half = jnp.where(x > 0.0, left, right) + anatomy.mediastinum_mm
    return jnp.abs(x) - (2.0 + half * spread)


def lung_distance(pose: Pose, place: Axes, cage: Array | None = None) -> Array:
    """Signed distance to both lungs: the cage's inside less what fills it.

    Args:
        pose: the body now.
        place: reference (x, y, z), any shapes of one rank that broadcast.
        cage: `cage_distance` at the same places, if already known.

    Returns:
        mm, negative inside a lung, exact in sign; a lower bound outside.
    """
    cage = cage_distance(pose, place) if cage is None else cage
    out = jnp.maximum(cage + WALL_MM, -dome_distance(pose, place))
    out = jnp.maximum(out, -heart_distance(pose, place))
    return jnp.maximum(out, -mediastinum_distance(pose.anatomy, place))


def rib_distance(pose: Pose, place: Axes, cage: Array) -> Array:
    """Signed distance to the nearest rib: where the cage meets one of 12 sheets."""
    x, y, z = place
    side = jnp.abs(x)
    anatomy = pose.anatomy
    nearest = jnp.full(jnp.broadcast_shapes(x.shape, y.shape, z.shape), 1e3)
    for i in range(12):
        tilt = RIB_C[i] + anatomy.rib_tilt - pose.rib_lift[i]
        # the sheet turns about its line through the spine
        hinge = RIB_A[i] + anatomy.rib_shift_mm + RIB_C[i] * 45.0
        sheet = hinge + RIB_B[i] * side + tilt * (y - 45.0)
        high = jnp.abs(z - sheet) / jnp.sqrt(1.0 + RIB_B[i] ** 2 + jnp.square(tilt))
        end = RIB_END_Y[i] - pose.advance_mm - y
        nearest = jnp.minimum(nearest, jnp.maximum(high, end + 4.0))
    flat = jnp.sqrt(jnp.square(nearest / 1.25) + jnp.square(cage / 0.8) + 1e-6)
    ribs = jnp.maximum(flat - anatomy.rib_radius_mm, RIB_HEAD_MM - side)
    # near the cage's top a sheet is parallel to the wall: no tube to be found there
    return jnp.maximum(ribs, z - RIB_TOP_Z)


def _capsule(place: Axes, start: tuple, end: tuple, radius: float) -> Array:
    """Signed distance to a straight tube with round ends."""
    axis = [b - a for a, b in zip(start, end, strict=True)]
    length_sq = sum(a * a for a in axis)
    off = [p - a for p, a in zip(place, start, strict=True)]
    t = (off[0] * axis[0] + off[1] * axis[1] + off[2] * axis[2]) / length_sq
    t = jnp.clip(t, 0.0, 1.0)
    gap = [o - t * a for o, a in zip(off, axis, strict=True)]
    return jnp.sqrt(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2 + 1e-6) - radius


def spine_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Signed distance to the vertebrae: bodies, pedicles and processes."""
    x, y, z = place
    y = y - _table(z, SPINE_Z, SPINE_Y)
    turn = (z - anatomy.vertebra_shift_mm) / VERTEBRA_MM
    level = (turn - jnp.floor(turn + 0.5)) * VERTEBRA_MM  # mm from the middle
    waist = 16.5 + 0.02 * jnp.square(level)
    body = jnp.sqrt(jnp.square(x) + jnp.square(y / 0.85) + 1e-6) - waist
    body = jnp.maximum(body, jnp.abs(level) - 10.5)
    side = jnp.abs(x)
    pedicle = jnp.sqrt(jnp.square(side - 12.0) + jnp.square(level - 4.0) + 1e-6) - 4.0
    pedicle = jnp.maximum(pedicle, jnp.abs(y - 20.0) - 10.0)
    cross = jnp.sqrt(jnp.square(y - 27.0) + jnp.square(level - 3.0) + 1e-6) - 4.0
    cross = jnp.maximum(cross, side - 30.0)
    spinous = jnp.maximum(side - 3.0, jnp.abs(y - 42.0) - 14.0)
    spinous = jnp.maximum(spinous, jnp.abs(level + 5.0) - 6.0)
    return jnp.minimum(jnp.minimum(body, pedicle), jnp.minimum(cross, spinous))


def clavicle_distance(place: Axes) -> Array:
    """Signed distance to the clavicles."""
    x, y, z = place
    mirrored = (jnp.abs(x), y, z)
    inner = _capsule(mirrored, (18.0, -66.0, 112.0), (75.0, -46.0, 126.0), 6.0)
    outer = _capsule(mirrored, (75.0, -46.0, 126.0), (138.0, -8.0, 134.0), 5.5)
    return jnp.minimum(inner, outer)


def airway_distance(place: Axes) -> Array:
    """Signed distance to trachea and main bronchi."""
    trachea = _capsule(place, (0.0, 2.0, 38.0), (0.0, -32.0, 190.0), 8.0)
    left = _capsule(place, (0.0, 2.0, 38.0), (38.0, 8.0, 12.0), 5.5)
    right = _capsule(place, (0.0, 2.0, 38.0), (-32.0, 8.0, 14.0), 6.0)
    return jnp.minimum(trachea, jnp.minimum(left, right))


def skin_distance(pose: Pose, place: Axes) -> Array:
    """Signed distance to the outline of the body."""
    x, y, z = place
    skin = pose.anatomy.skin_mm
    half = _table(z, SKIN_Z, SKIN_HALF) + skin + pose.widen_mm
    front = _table(z, SKIN_Z, SKIN_FRONT) - skin - pose.advance_mm
    back = _table(z, SKIN_Z, SKIN_BACK) + skin
    depth = 0.5 * (back - front)
    return _squircle(x, y - 0.5 * (front + back), (half, depth), 0.5)[2]


def gas_distance(pose: Pose, place: Axes) -> Array:
    """Signed distance to the gas in the stomach, under the left dome."""
    x, y, z = place
    anatomy = pose.anatomy
    top = anatomy.dome_right_mm - anatomy.dome_step_mm - pose.drop_mm
    far_sq = jnp.square((x - 64.0) / 1.6) + jnp.square((y + 30.0) / 1.2)
    return jnp.sqrt(far_sq + jnp.square((z - top + 32.0) / 0.9) + 1e-6) - 15.0


def sternum_distance(place: Axes, cage: Array) -> Array:
    """Signed distance to the sternum: a band on the front of the cage."""
    x, y, z = place
    band = jnp.maximum(jnp.abs(cage) - 5.0, jnp.abs(x) - 16.0)
    return jnp.maximum(band, jnp.maximum(y, jnp.abs(z - 42.0) - 76.0))
