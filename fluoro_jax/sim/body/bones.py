"""The bones: ribs and cartilage that move, the rest that is drawn once.

Distances are signed, mm; tables in reference mm (see solids.py). Only the ribs, the
costal cartilages and the sternum follow the breath.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import shapes, skeleton, solids, tubes
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.motion import Pose, cage_section, stretch
from fluoro_jax.sim.body.shapes import Axes, table
from fluoro_jax.sim.body.tubes import Shape, Tubes

Array = jax.Array
Scalar = Any

RIB_REACH_MM = 42.0  # no piece of rib is longer, its thickness included
RIB_FLAT = 1.3  # a rib is this much wider, and thinner, than a round one
CARTILAGE_RADIUS_MM = 5.0
CARTILAGE_PIECES = 4
CARTILAGE_REACH_MM = 46.0
# Where the cartilage of pairs 1 to 10 ends at exhale, |x| and z: 1 to 7 on the sternum,
# 8 to 10 on the cartilage above.
CARTILAGE_END = (
    (20.0, 92.0),
    (14.0, 60.0),
    (13.0, 40.0),
    (13.0, 22.0),
    (13.0, 6.0),
    (13.0, -8.0),
    (12.0, -18.0),
    (74.0, -62.0),
    (94.0, -93.0),
    (106.0, -116.0),
)
# Sternum at exhale: half width against height; xiphoid, body, manubrium.
STERNUM_Z = (-52.0, -34.0, -20.0, 20.0, 50.0, 62.0, 80.0, 98.0)
STERNUM_HALF = (3.0, 9.0, 17.0, 16.0, 13.0, 18.0, 26.0, 27.0)
STERNUM_MM = 5.0  # half thickness
# Vertebral bodies: radius against height.
BODY_Z = (-205.0, -149.0, -45.0, 47.0, 134.0, 200.0)
BODY_R = (22.0, 20.5, 17.0, 15.0, 14.0, 12.0)
# Long bones, reference mm: nodes with radii; the outer end rises with the arms.
CLAVICLE = ((16.0, -60.0, 101.0), (44.0, -60.0, 110.0), (84.0, -34.0, 122.0))
CLAVICLE_END = ((122.0, -4.0, 126.0), (148.0, 18.0, 124.0))
CLAVICLE_R = (8.0, 6.0, 5.5, 5.5, 6.5)
SHOULDER = (152.0, 22.0, 112.0)  # middle of the head of the humerus
SHOULDER_LIFT_MM = 14.0  # arms up against down
ARM_DEG = (-84.0, 72.0)  # against the horizontal, down and up
ARM_MM = 150.0
ARM_R = (46.0, 38.0)  # skin, at the shoulder and at the elbow
HUMERUS_R = (23.0, 12.0, 11.0)

SCAPULA_BOX = ((-165.0, 165.0), (-25.0, 125.0), (-25.0, 155.0))


def rib_tubes(pose: Pose) -> Tubes:
    """Returns all ribs as flat pieces of tube, 12 a rib, world mm."""
    anatomy, nodes = pose.anatomy, pose.ribs
    start, end = nodes[:, :-1], nodes[:, 1:]
    axis = end - start
    axis = axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
    middle = 0.5 * (start + end)
    # thin across the wall: away from the middle of the chest, square to the rib
    out = middle * jnp.asarray([[[1.0, 1.0, 0.0]]])
    out = out - jnp.sum(out * axis, -1, keepdims=True) * axis
    out = out / jnp.linalg.norm(out, axis=-1, keepdims=True)
    radius = anatomy.rib_radius_mm * jnp.tile(jnp.asarray(skeleton.RIB_THICK), 2)
    half = jnp.stack([radius / RIB_FLAT, radius * RIB_FLAT], -1)
    half = jnp.broadcast_to(half[:, None], (*start.shape[:2], 2))
    flat = lambda a: a.reshape(-1, a.shape[-1])
    return Tubes(flat(start), flat(end), flat(half), flat(out))


def rib_distance(ribs: Tubes, grid: Grid, shape: Shape) -> Array:
    """Returns the signed distance to the nearest rib, `[Z, Y, X]` mm, at most a voxel.

    Args:
        ribs: `rib_tubes` of the body now.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
    """
    return tubes.tube_distance(ribs, grid, shape, reach_mm=RIB_REACH_MM)


def cartilage_tubes(pose: Pose) -> Tubes:
    """Returns costal cartilages, from the ribs' front ends along the wall, world mm."""
    anatomy = pose.anatomy
    ends = pose.ribs.reshape(2, 12, -1, 3)[:, :10, -1]
    scale = (anatomy.scale_lateral, anatomy.scale_ap, anatomy.scale_height)
    sign = jnp.asarray([1.0, -1.0]).reshape(2, 1)
    lateral = 1.0 + anatomy.asymmetry * sign
    x0 = jnp.abs(ends[..., 0]) / (scale[0] * lateral)
    y0, z0 = ends[..., 1] / scale[1], ends[..., 2] / scale[2]
    goal = jnp.asarray(CARTILAGE_END)
    wide = stretch(z0, pose.anterior_shift_mm)[0]
    x1 = jnp.broadcast_to(goal[None, :, 0], x0.shape)
    x1 = jnp.where(jnp.arange(10)[None] < 7, x1, x1 * wide)
    z1 = goal[:, 1] + pose.rise_mm
    t = jnp.linspace(0.0, 1.0, CARTILAGE_PIECES + 1).reshape(1, 1, -1)
    between = lambda a, b: a[..., None] * (1.0 - t) + b[..., None] * t
    x, z = between(x0, x1), between(z0, jnp.broadcast_to(z1[None], z0.shape))
    wall = lambda x, z: _front_wall(pose, x, z)
    y = wall(x, z) + (y0 - wall(x0, z0))[..., None] * (1.0 - t)
    nodes = solids.to_world(anatomy, jnp.stack([x * sign[..., None], y, z], -1))
    radius = CARTILAGE_RADIUS_MM * jnp.ones(nodes.shape[:-1])
    return tubes.pieces(nodes, radius)


def _front_wall(pose: Pose, x: Array, z: Array) -> Array:
    """Returns y of the middle of the front wall now, at |x| and z, reference mm."""
    half, front, back = cage_section(z)
    wide, deep, _ = stretch(z, pose.anterior_shift_mm)
    bottom, top = solids.CAGE_TOP
    w = jnp.clip((z - bottom) / (top - bottom), 0.0, 0.95)
    close = jnp.sqrt(1.0 - w**4)
    size = (half * close, 0.5 * (back - front) * close)
    rest = 0.5 * (front + back) - shapes.squircle_edge(
        x / wide, size, solids.CAGE_SQUARE
    )
    return back - (back - rest) * deep


def cartilage_distance(bars: Tubes, grid: Grid, shape: Shape) -> Array:
    """Returns the signed distance to costal cartilage, mm, as `rib_distance`."""
    return tubes.tube_distance(bars, grid, shape, reach_mm=CARTILAGE_REACH_MM)


def sternum_distance(pose: Pose, place: Axes, cage: Array) -> Array:
    """Returns the signed distance to the sternum, a plate on the front of the cage.

    Args:
        pose: the body now.
        place: reference (x, y, z), mm, any shapes of one rank that broadcast.
        cage: `solids.cage_distance` at the same places, mm.

    Returns:
        Reference mm, negative inside.
    """
    x, y, z = place
    z = z - pose.rise_mm
    across = jnp.abs(x) - table(z, STERNUM_Z, STERNUM_HALF)
    low, high = STERNUM_Z[0], STERNUM_Z[-1]
    along = jnp.abs(z - 0.5 * (low + high)) - 0.5 * (high - low)
    plate = jnp.maximum(jnp.abs(cage) - STERNUM_MM, jnp.maximum(across, along))
    return jnp.maximum(plate, y)


def spine_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Returns the signed distance to the vertebrae: bodies, pedicles and processes.

    Args:
        anatomy: the patient.
        place: reference (x, y, z), mm, any shapes of one rank that broadcast.

    Returns:
        Reference mm, negative inside.
    """
    x, y, z = place
    z = z - anatomy.vertebra_shift_mm
    x = x - anatomy.scoliosis_mm * jnp.sin(z / 60.0)
    y = y - table(z, skeleton.SPINE_Z, skeleton.SPINE_Y)
    count = tuple(float(n) for n in range(len(skeleton.SPINE_Z)))
    number = table(z, skeleton.SPINE_Z, count)
    between = tuple(n + 0.5 for n in count[:-1])
    pitch = table(number, between, tuple(np.diff(skeleton.SPINE_Z).tolist()))
    level = (number - jnp.floor(number + 0.5)) * pitch  # mm from the body's middle
    waist = table(z, BODY_Z, BODY_R) - 1.0 + 0.02 * jnp.square(level)
    body = jnp.sqrt(jnp.square(x) + jnp.square(y / 0.85) + 1e-6) - waist
    body = jnp.maximum(body, jnp.abs(level) - 0.42 * pitch)
    side = jnp.abs(x)
    pedicle = jnp.sqrt(jnp.square(side - 11.0) + jnp.square(level - 4.0) + 1e-6) - 4.0
    pedicle = jnp.maximum(pedicle, jnp.abs(y - 18.0) - 11.0)
    # transverse processes, then the laminae and the spinous process, slanting down
    back = 27.0 + 0.25 * side
    cross = jnp.sqrt(jnp.square(y - back) + jnp.square(level - 3.0) + 1e-6) - 4.5
    cross = jnp.maximum(cross, side - 30.0)
    down = level + 4.0 + 0.45 * (y - 34.0)
    spinous = jnp.maximum(side - 3.5, jnp.abs(y - 42.0) - 14.0)
    spinous = jnp.maximum(spinous, jnp.abs(down) - 6.0)
    return jnp.minimum(jnp.minimum(body, pedicle), jnp.minimum(cross, spinous))


def long_bone_tubes(anatomy: Anatomy) -> Tubes:
    """Returns clavicles and upper arms as tubes, world mm."""
    lift = jnp.asarray([0.0, 0.0, SHOULDER_LIFT_MM]) * anatomy.arms_up
    outer = jnp.asarray(CLAVICLE_END) + lift.reshape(1, 3) * jnp.asarray([[0.6], [1.0]])
    clavicle = jnp.concatenate([jnp.asarray(CLAVICLE), outer])
    shoulder, elbow = _arm(anatomy)
    neck = shoulder + 0.18 * (elbow - shoulder)
    middle = 0.55 * neck + 0.45 * elbow
    arm = jnp.stack([shoulder, neck, middle, elbow])
    parts = []
    for nodes, radius in ((clavicle, CLAVICLE_R), (arm, (*HUMERUS_R, HUMERUS_R[-1]))):
        both = jnp.stack([nodes, nodes * jnp.asarray([[-1.0, 1.0, 1.0]])])
        thick = jnp.broadcast_to(jnp.asarray(radius), both.shape[:-1])
        parts.append(tubes.pieces(solids.to_world(anatomy, both), thick))
    return tubes.join(*parts)


def _arm(anatomy: Anatomy) -> tuple[Array, Array]:
    """Returns shoulder and elbow of the left arm, `[3]` reference mm."""
    lift = jnp.asarray([0.0, 0.0, SHOULDER_LIFT_MM]) * anatomy.arms_up
    shoulder = jnp.asarray(SHOULDER) + lift
    low, high = (math.radians(a) for a in ARM_DEG)
    turn = low + anatomy.arms_up * (high - low)
    way = jnp.stack([jnp.cos(turn), -0.15 * jnp.ones_like(turn), jnp.sin(turn)])
    return shoulder, shoulder + ARM_MM * way


def arm_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Returns the signed distance to the upper arms' skin, as `spine_distance`."""
    x, y, z = place
    shoulder, elbow = _arm(anatomy)
    # the sleeve begins inside the chest, so that the armpit is closed
    inner = shoulder + jnp.asarray([-14.0, 0.0, -8.0])
    mirrored = (jnp.abs(x), y, z)
    return shapes.capsule(mirrored, tuple(inner), tuple(elbow), ARM_R)


def scapula_distance(anatomy: Anatomy, place: Axes) -> Array:
    """Returns the signed distance to the shoulder blades, as `spine_distance`.

    A plate parallel to the rib cage, with its spine, neck and coracoid process.
    """
    x, y, z = place
    place = (jnp.abs(x), y, z)
    up = anatomy.arms_up
    mix = lambda a, b: tuple(p + up * (q - p) for p, q in zip(a, b, strict=True))
    top = mix((58.0, 104.0), (66.0, 98.0))
    tip = mix((80.0, -14.0), (104.0, 0.0))
    joint = mix((128.0, 92.0), (128.0, 108.0))
    outside = -1e3
    for (ax, az), (bx, bz) in ((top, tip), (tip, joint), (joint, top)):
        long = jnp.sqrt((bx - ax) ** 2 + (bz - az) ** 2)
        edge = ((bz - az) * (place[0] - ax) - (bx - ax) * (z - az)) / long
        outside = jnp.maximum(outside, edge)
    # 3.6 mm of bone, its middle 12 mm outside the middle of the cage wall: ribs and the
    # muscle between lie within. Only behind y = 12 mm, as the cage also goes round the
    # front. Thickness and distance are ours.
    plate = jnp.abs(solids.cage_at_rest(place) - 12.0) - 1.8
    plate = jnp.maximum(jnp.maximum(plate, outside), 12.0 - y)
    lift = SHOULDER_LIFT_MM * up
    socket = (134.0, 30.0, 108.0 + lift)
    ridge = (top[0] + 2.0, 92.0, top[1] - 14.0)
    corner = (118.0, 78.0, 108.0 + lift)
    tip_of_shoulder = (150.0, 40.0, 124.0 + lift)
    parts = [
        shapes.capsule(place, (110.0, 62.0, 92.0 + lift), socket, (5.0, 10.0)),
        shapes.capsule(place, ridge, corner, (3.0, 5.0)),
        shapes.capsule(place, corner, tip_of_shoulder, (5.0, 6.0)),
        shapes.capsule(place, socket, (128.0, -12.0, 112.0 + lift), (6.0, 5.0)),
    ]
    for part in parts:
        plate = jnp.minimum(plate, part)
    return plate
