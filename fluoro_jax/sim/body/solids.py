"""Soft solids of the chest: outline, rib cage, diaphragm, heart, lungs.

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
from fluoro_jax.sim.body import outline, shapes
from fluoro_jax.sim.body.anatomy import Anatomy, girth_mm
from fluoro_jax.sim.body.motion import Pose, cage_section, to_rest
from fluoro_jax.sim.body.outline import (
    EXTENT_MM,
    SKIN_ANTERIOR_PER_MM,
    SKIN_BACK,
    SKIN_FRONT,
    SKIN_HALF,
    SKIN_SQUARE,
    SKIN_WIDEN,
    SKIN_Z,
)
from fluoro_jax.sim.body.shapes import Axes, occupancy, table, tables

__all__ = ["EXTENT_MM", "Axes", "occupancy"]  # beside what is defined here

Array = jax.Array
Scalar = Any

CAGE_SQUARE = 0.254
CAGE_TOP = (28.0, 134.0)  # the cage narrows from here to here as 1 - w^4
WALL_MM = 5.0  # from the middle of the cage to the lung

# fmt: off
# Mediastinum: half width on either side against height, and how it narrows in depth.
MIDDLE_Z = (-150.0, 0.0, 22.0, 38.0, 52.0, 64.0, 78.0, 100.0, 115.0, 132.0)
MIDDLE_LEFT = (25.0, 26.0, 34.0, 33.0, 36.0, 39.0, 31.0, 28.0, 30.0, 40.0)
MIDDLE_RIGHT = (22.0, 24.0, 32.0, 31.0, 28.0, 27.0, 27.0, 27.0, 30.0, 40.0)
SPREAD_Y = (-100.0, -70.0, -35.0, 0.0, 40.0, 75.0, 105.0)
SPREAD = (0.1, 0.25, 0.9, 1.0, 0.95, 0.8, 0.6)
# fmt: on

HEART_Y, HEART_Z = -32.0, -6.0  # middle of the ventricles at exhale
HEART_AXES = (  # unit axes (x left, y posterior, z superior), with semi-axes below
    (0.640, -0.496, -0.587),
    (-0.766, -0.346, -0.542),
    (0.066, 0.796, -0.602),
)
VENTRICLES = (57.0, 41.0, 37.0)
# The atria lie right of, behind and above the middle of the ventricles.
ATRIA_OFF = (-39.0, 14.0, 16.0)
ATRIA = (35.0, 28.0, 33.0)
# Domes: |x|, y of the top; how wide and deep; how far the rim lies below the top.
DOME_RIGHT = (58.0, -22.0, 76.0, 122.0)
DOME_LEFT = (66.0, -10.0, 74.0, 110.0)
DOME_RIM_MM = 96.0
# Descending aorta against height: the left lung goes round it.
AORTA_Z = (-190.0, -140.0, -100.0, -65.0, -30.0, 0.0, 35.0, 60.0, 75.0)
AORTA_X = (6.0, 8.0, 12.0, 16.0, 20.0, 22.0, 25.0, 24.0, 18.0)
AORTA_Y = (-16.0, -8.0, 6.0, 24.0, 34.0, 37.0, 37.0, 30.0, 12.0)
AORTA_R = 12.0


def body_grid(voxel_mm: float) -> tuple[Grid, tuple[int, int, int]]:
    """Returns the grid of body volumes with cubic voxels, and the shape `[Z, Y, X]`."""
    nx, ny, nz = (max(2, round(length / voxel_mm)) for length in EXTENT_MM)
    first = lambda n: -0.5 * (n - 1) * voxel_mm
    spacing = (voxel_mm, voxel_mm, voxel_mm)
    return Grid((first(nx), first(ny), first(nz)), spacing), (nz, ny, nx)


def grid_axes(grid: Grid, shape: tuple[int, int, int]) -> Axes:
    """Returns x `[1, 1, X]`, y `[1, Y, 1]`, z `[Z, 1, 1]` of voxel centres, mm."""
    nz, ny, nx = shape
    along = lambda i, n: grid.origin_mm[i] + jnp.arange(n) * grid.spacing_mm[i]
    return (
        along(0, nx).reshape(1, 1, nx).astype(jnp.float32),
        along(1, ny).reshape(1, ny, 1).astype(jnp.float32),
        along(2, nz).reshape(nz, 1, 1).astype(jnp.float32),
    )


def box(
    grid: Grid, shape: tuple[int, int, int], spans: tuple
) -> tuple[slice, slice, slice]:
    """Returns the `[z, y, x]` slices of a volume that hold a region in every body.

    Args:
        grid: of the volume, plain numbers.
        shape: `[Z, Y, X]`.
        spans: (low, high) reference mm along x, y and z; the largest body is 1.2 times
            as large.
    """
    rows = [
        shapes.rows_between(o, d, n, (1.2 * min(low, 0.0), 1.2 * max(high, 0.0)))
        for o, d, n, (low, high) in zip(
            grid.origin_mm, grid.spacing_mm, shape[::-1], spans, strict=True
        )
    ]
    return rows[2], rows[1], rows[0]


def part_of(place: Axes, part: tuple[slice, slice, slice]) -> Axes:
    """Returns the places of such a part, from those of `grid_axes`, mm."""
    x, y, z = place
    return x[:, :, part[2]], y[:, part[1]], z[part[0]]


def to_reference(anatomy: Anatomy, place: Axes) -> Axes:
    """Returns reference mm of world mm: the patient's scalings divided out."""
    x, y, z = place
    side = jnp.where(x > 0.0, 1.0 + anatomy.asymmetry, 1.0 - anatomy.asymmetry)
    return (
        x / (anatomy.scale_lateral * side),
        y / anatomy.scale_ap,
        z / anatomy.scale_height,
    )


def to_world(anatomy: Anatomy, points: Any) -> Array:
    """Returns world mm of reference mm, both `[..., 3]`."""
    x, y, z = jnp.moveaxis(jnp.asarray(points, jnp.float32), -1, 0)
    side = jnp.where(x > 0.0, 1.0 + anatomy.asymmetry, 1.0 - anatomy.asymmetry)
    return jnp.stack(
        [
            x * anatomy.scale_lateral * side,
            y * anatomy.scale_ap,
            z * anatomy.scale_height,
        ],
        axis=-1,
    )


def cage_distance(pose: Pose, place: Axes) -> Array:
    """Returns the signed distance to the middle of the rib cage wall, reference mm.

    Args:
        pose: the body now.
        place: reference (x, y, z), mm, any shapes of one rank that broadcast.
    """
    x, y = to_rest(pose, place)
    return cage_at_rest((x, y, place[2]))


def cage_at_rest(place: Axes) -> Array:
    """Returns `cage_distance` at exhale, mm: squircles stacked in z, closed above."""
    x, y, z = place
    half, front, back = cage_section(z)
    size = (half, 0.5 * (back - front))
    middle = 0.5 * (front + back)
    norm_sq, radius_sq = shapes.squircle(x, y - middle, size, CAGE_SQUARE)
    bottom, top = CAGE_TOP
    w = jnp.maximum(z - bottom, 0.0) / (top - bottom)
    value = norm_sq + jnp.square(jnp.square(w)) - 1.0
    slope = 4.0 * jnp.square(norm_sq) / radius_sq
    slope = slope + jnp.square(4.0 * w**3 / (top - bottom)) + (0.3 / 120.0) ** 2
    return value * jax.lax.rsqrt(slope)


def heart_distance(pose: Pose, place: Axes) -> Array:
    """Returns the signed distance to the heart, mm; arguments as in `cage_distance`.

    Oblique ventricles with the atria behind them: the outer (epicardial) surface.
    """
    anatomy, (forward, down) = pose.anatomy, pose.heart_mm
    middle = (
        anatomy.heart_x_mm + 8.0,
        HEART_Y - forward,
        HEART_Z + 0.5 * anatomy.dome_right_mm - down,
    )
    size = lambda semi, factor: [s * anatomy.heart_scale * factor for s in semi]
    off = size(ATRIA_OFF, 1.0)
    behind = [m + o for m, o in zip(middle, off, strict=True)]
    contraction = pose.systolic_contraction
    semi = size(VENTRICLES, 1.0 - contraction)
    ventricles = shapes.ellipsoid(place, middle, semi, HEART_AXES)
    # the atria fill while the ventricles empty
    atria = shapes.ellipsoid(place, behind, size(ATRIA, 1.0 + 0.5 * contraction))
    return jnp.minimum(ventricles, atria)


def dome_distance(pose: Pose, place: Axes) -> Array:
    """Returns the signed distance to the diaphragm, mm, negative below it.

    Arguments as in `cage_distance`.
    """
    x, y = to_rest(pose, place)
    z = place[2]
    left = x > 0.0
    pick = lambda i: jnp.where(left, DOME_LEFT[i], DOME_RIGHT[i])
    right_top = pose.anatomy.dome_right_mm - pose.inferior_shift_mm
    top = right_top - jnp.where(left, pose.anatomy.dome_step_mm, 0.0)
    across, along = jnp.abs(x) - pick(0), y - pick(1)
    wide, deep = pick(2), pick(3)
    fall = jnp.square(across / wide) + jnp.square(along / deep)
    height = top - 0.5 * DOME_RIM_MM * (fall + jnp.square(fall))
    slope = jnp.square(across / jnp.square(wide)) + jnp.square(along / jnp.square(deep))
    slope = slope * jnp.square(DOME_RIM_MM * (1.0 + 2.0 * fall))
    return (z - height) / jnp.sqrt(1.0 + slope)


def mediastinum_distance(pose: Pose, place: Axes) -> Array:
    """Returns the lateral signed distance to the mediastinum with the aorta, mm.

    Arguments as in `cage_distance`.
    """
    x, y = to_rest(pose, place)
    z = place[2]
    spread = table(y, SPREAD_Y, SPREAD)
    half = jnp.where(x > 0.0, *tables(z, MIDDLE_Z, (MIDDLE_LEFT, MIDDLE_RIGHT)))
    between = jnp.abs(x) - (2.0 + (half + pose.anatomy.mediastinum_mm) * spread)
    middle = tables(z, AORTA_Z, (AORTA_X, AORTA_Y))
    axis_sq = jnp.square(x - middle[0]) + jnp.square(y - middle[1])
    aorta = jnp.sqrt(axis_sq + 1e-6)
    return jnp.minimum(between, aorta - AORTA_R)


def lung_distance(pose: Pose, place: Axes, cage: Array | None = None) -> Array:
    """Returns the signed distance to both lungs.

    A lung is the rib cage interior minus diaphragm, heart and mediastinum.

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
    return jnp.maximum(out, -mediastinum_distance(pose, place))


def skin_distance(pose: Pose, place: Axes) -> Array:
    """Returns the signed distance to the skin of trunk and neck, mm.

    Without breasts and arms. Arguments as in `cage_distance`.
    """
    x, y, z = place
    more = pose.anatomy.skin_mm + girth_mm(pose.anatomy)
    columns = (SKIN_HALF, SKIN_FRONT, SKIN_BACK, SKIN_WIDEN, SKIN_ANTERIOR_PER_MM)
    half, front, back, widen, anterior = tables(z, SKIN_Z, columns)
    half = half + more + pose.anterior_shift_mm * widen
    front = front - more - pose.anterior_shift_mm * anterior
    back = back + more
    depth = 0.5 * (back - front)
    middle = 0.5 * (front + back)
    return shapes.squircle_distance(x, y - middle, (half, depth), SKIN_SQUARE)


def breast_distance(pose: Pose, place: Axes) -> Array:
    """Returns the signed distance to the breasts, mm; in men, within the trunk.

    Arguments as in `cage_distance`.
    """
    x, y, z = place
    anatomy = pose.anatomy
    out = anatomy.breast_mm * anatomy.sex
    chest = outline.BREAST_BASE_Y - anatomy.skin_mm - girth_mm(anatomy)
    chest = chest - pose.anterior_shift_mm
    # deep in the chest, so that only a cap with a thin rim stands out
    centre = (64.0, chest + outline.BREAST_DEPTH_MM, -28.0)
    semi = [mm + share * out for mm, share in outline.BREAST_SEMI]
    return shapes.ellipsoid((jnp.abs(x), y, z), centre, semi)
