"""Organs and vessels of the mediastinum and the abdomen, drawn once at exhale.

Organs of the abdomen ride on the diaphragm as one block; vessels and airways of the
mediastinum stay. Tables in reference mm at exhale (x left, y posterior, z superior),
after LIDC-IDRI-0001 (see solids.py), organs about 16 mm higher than there at
inspiration.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import shapes, solids, tissues, tubes
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.motion import Pose
from fluoro_jax.sim.body.shapes import Axes, occupancy
from fluoro_jax.sim.body.tubes import Shape, Tubes

Array = jax.Array
Scalar = Any
Number = float | int
Chain = tuple[tuple[Number, Number, Number, Number], ...]  # x, y, z, radius

# fmt: off
TRACHEA: Chain = ((0, -44, 200, 8), (0, -34, 150, 8), (0, -26, 129, 8.5),
    (-2, -9, 85, 8.5), (-2, 12, 38, 9))
BRONCHI: tuple[Chain, ...] = (
    ((-2, 12, 38, 7), (18, 15, 25, 6), (40, 14, 12, 5.5), (50, 26, -6, 4)),
    ((-2, 12, 38, 8), (-16, 14, 26, 7.5), (-30, 14, 8, 6), (-40, 26, -14, 4)),
    ((40, 14, 12, 4.5), (54, -2, 24, 3.5), (60, -8, 38, 3)),
    ((-16, 14, 26, 5), (-38, 8, 34, 4), (-50, 0, 46, 3)),
)
AORTA: Chain = ((6, -24, 20, 15), (-8, -24, 44, 15), (-4, -18, 64, 14), (6, -4, 74, 13),
    (17, 12, 74, 12.5), (24, 28, 62, 12), (25, 37, 35, 12), (22, 37, 0, 12),
    (20, 34, -30, 11.5), (16, 24, -65, 11), (12, 6, -100, 10.5), (8, -8, -140, 10),
    (6, -16, -190, 9))
VEINS: tuple[Chain, ...] = (
    ((-14, -20, 0, 9), (-19, -20, 35, 9), (-19, -24, 66, 9), (-26, -36, 100, 8),
        (-34, -30, 126, 7)),
    ((-19, -26, 68, 8), (4, -42, 80, 7.5), (28, -38, 104, 7), (36, -30, 126, 6.5)),
    ((-12, -14, -20, 11), (-14, -14, -50, 11), (-16, -14, -100, 10.5),
        (-16, -16, -190, 10)),
)
PULMONARY: tuple[Chain, ...] = (
    ((20, -42, 18, 14), (14, -24, 36, 13), (20, 0, 36, 11), (34, 10, 26, 9)),
    ((14, -20, 36, 11), (-10, -8, 30, 11), (-28, 0, 20, 9)),
)
GULLET: Chain = ((4, -10, 125, 6), (4, 8, 90, 6), (6, 22, 60, 6), (9, 31, 20, 6),
    (12, 30, -10, 6), (17, 14, -40, 7), (24, -8, -58, 8), (32, -20, -68, 9))
# Liver: right lobe and left lobe, centre and semi-axes.
LIVER_RIGHT = ((-68.0, -6.0, -76.0), (66.0, 80.0, 78.0))
LIVER_LEFT = ((0.0, -46.0, -62.0), (70.0, 36.0, 32.0))
SPLEEN = ((92.0, 42.0, -66.0), (26.0, 34.0, 50.0))
STOMACH = ((54.0, -36.0, -70.0), (42.0, 42.0, 62.0))
GAS = ((56.0, -54.0, -36.0), (1.8, 1.1, 1.0))  # semi-axes in bubble radii
KIDNEY = ((66.0, 44.0, -140.0), (27.0, 24.0, 54.0))  # |x|
# fmt: on
TUBE_REACH_MM = 76.0


def world_tubes(anatomy: Anatomy, *lines: Chain) -> Tubes:
    """Returns chains of (x, y, z, radius), reference mm, as tubes in world mm."""
    parts = []
    for line in lines:
        nodes = jnp.asarray(line, jnp.float32)
        parts.append(tubes.pieces(solids.to_world(anatomy, nodes[:, :3]), nodes[:, 3]))
    return tubes.join(*parts)


def draw_tubes(anatomy: Anatomy, grid: Grid, shape: Shape, *lines: Chain) -> Array:
    """Returns the share of each voxel inside tubes, `[Z, Y, X]` in [0, 1].

    Args:
        anatomy: the patient.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
        lines: chains of (x, y, z, radius), reference mm.
    """
    found = world_tubes(anatomy, *lines)
    distance = tubes.tube_distance(found, grid, shape, reach_mm=TUBE_REACH_MM)
    return occupancy(distance, grid.spacing_mm[0])


def liver_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Returns the signed distance to the liver, before the diaphragm cuts it.

    Args:
        anatomy: the patient.
        place: reference (x, y, z), mm, any shapes of one rank that broadcast.

    Returns:
        Reference mm, negative inside.
    """
    size = lambda semi: [s * anatomy.liver_scale for s in semi]
    right = shapes.ellipsoid(place, LIVER_RIGHT[0], size(LIVER_RIGHT[1]))
    left = shapes.ellipsoid(place, LIVER_LEFT[0], size(LIVER_LEFT[1]))
    return jnp.minimum(right, left)


def spleen_distance(place: Axes) -> Array:
    """Returns the signed distance to the spleen, mm, as `liver_distance`."""
    return shapes.ellipsoid(place, *SPLEEN)


def gas_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Returns the signed distance to the gas in the stomach, mm, as `liver_distance`.

    It lies in front, as it rises there in a supine patient.
    """
    centre, form = GAS
    # The table is for a left dome 13 mm below the right one, the default step, and a
    # right dome at 0 mm: the bubble stays under the dome of every patient.
    lower = anatomy.dome_right_mm - anatomy.dome_step_mm + 13.0
    centre = (centre[0], centre[1], centre[2] + lower)
    return shapes.ellipsoid(place, centre, [f * anatomy.gas_mm for f in form])


def draw_abdomen(pose: Pose, grid: Grid, shape: Shape) -> Array:
    """Returns soft tissue below the diaphragm at exhale, `[Z, Y, X]` g/cc.

    Only voxels inside the cage and below the diaphragm are used.

    Args:
        pose: the patient at exhale.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
    """
    anatomy, voxel = pose.anatomy, grid.spacing_mm[0]
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    share = lambda distance: occupancy(distance, voxel)
    # a few mm of muscle between lung and organ
    under = solids.dome_distance(pose, place) + 3.0
    mirrored = (jnp.abs(place[0]), place[1], place[2])
    soft = tissues.MUSCLE[0] + share(under) * (tissues.VISCERA[0] - tissues.MUSCLE[0])
    soft = paint(soft, share(shapes.ellipsoid(mirrored, *KIDNEY)), tissues.KIDNEY[0])
    organs = (
        (shapes.ellipsoid(place, *STOMACH), tissues.STOMACH),
        (spleen_distance(place), tissues.SPLEEN),
        (liver_distance(anatomy, place), tissues.LIVER),
        (gas_distance(anatomy, place), tissues.AIR),
    )
    for distance, tissue in organs:
        soft = paint(soft, share(jnp.maximum(distance, under)), tissue[0])
    vessels = draw_tubes(anatomy, grid, shape, AORTA, VEINS[2])
    return paint(soft, vessels, tissues.BLOOD[0])


def draw_mediastinum(anatomy: Anatomy, grid: Grid, shape: Shape) -> Array:
    """Returns soft tissue between the lungs, `[Z, Y, X]` g/cc, on cubic voxels."""
    soft = jnp.full(shape, tissues.MEDIASTINUM[0], jnp.float32)
    gullet = draw_tubes(anatomy, grid, shape, GULLET)
    soft = paint(soft, gullet, tissues.OESOPHAGUS[0])
    return paint(
        soft,
        draw_tubes(anatomy, grid, shape, AORTA, *VEINS, *PULMONARY),
        tissues.BLOOD[0],
    )


def draw_airway(anatomy: Anatomy, grid: Grid, shape: Shape) -> Array:
    """Returns the share of each voxel inside trachea and bronchi, `[Z, Y, X]`."""
    return draw_tubes(anatomy, grid, shape, TRACHEA, *BRONCHI)


def paint(density: Array, share: Array, value: Scalar) -> Array:
    """Returns `density` overlaid by `value`, in the share of each voxel given."""
    return density + share * (value - density)
