"""Positions of the ribs, the sternum and the spine, and rotation of the ribs.

The tables are of one chest CT at inspiration, the two sides averaged, 12 % wider:
LIDC-IDRI-0001 (Armato III et al., doi:10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0), as
outlined by TotalSegmentator. x left, y posterior, z superior, reference mm; left side
only.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from fluoro_jax.sim.body.anatomy import Anatomy

Array = jax.Array
Scalar = Any

# fmt: off
RIBS = (  # 12 pairs x 13 nodes, costovertebral joint to anterior end
    ((18, 4, 139), (28, 8, 138), (37, 11, 138), (48, 11, 136), (56, 6, 132),
        (62, 0, 128), (66, -8, 124), (67, -17, 120), (63, -26, 117), (60, -34, 113),
        (56, -42, 108), (52, -50, 105), (46, -57, 103)),
    ((18, 6, 134), (30, 17, 134), (43, 28, 133), (59, 28, 132), (74, 23, 128),
        (87, 15, 122), (95, 3, 115), (96, -11, 109), (92, -25, 102), (85, -39, 97),
        (76, -51, 93), (64, -61, 88), (50, -69, 85)),
    ((18, 16, 123), (31, 31, 122), (45, 46, 122), (63, 46, 124), (81, 37, 120),
        (96, 26, 113), (106, 12, 105), (111, -4, 95), (111, -20, 86), (105, -37, 77),
        (96, -52, 69), (82, -64, 63), (66, -74, 57)),
    ((18, 29, 108), (32, 46, 108), (48, 63, 107), (70, 59, 109), (88, 47, 105),
        (103, 32, 97), (113, 15, 88), (119, -3, 76), (119, -21, 64), (115, -39, 52),
        (106, -56, 41), (92, -70, 31), (74, -81, 23)),
    ((18, 41, 88), (33, 59, 88), (50, 77, 87), (73, 70, 89), (92, 56, 85),
        (105, 38, 78), (115, 20, 68), (122, 1, 56), (124, -18, 42), (123, -36, 28),
        (116, -54, 14), (104, -70, 3), (86, -82, -8)),
    ((18, 53, 64), (34, 71, 63), (51, 87, 63), (74, 79, 64), (92, 64, 61),
        (105, 46, 54), (115, 27, 45), (122, 8, 33), (125, -11, 19), (125, -30, 5),
        (122, -49, -9), (113, -66, -23), (101, -80, -37)),
    ((18, 58, 38), (33, 76, 38), (49, 95, 37), (73, 89, 38), (92, 74, 36),
        (105, 56, 31), (114, 36, 22), (123, 17, 11), (128, -2, -1), (131, -21, -15),
        (132, -39, -30), (129, -56, -46), (123, -70, -63)),
    ((18, 59, 9), (32, 78, 9), (47, 96, 8), (70, 92, 8), (89, 80, 5), (104, 63, 1),
        (115, 45, -6), (125, 27, -16), (132, 9, -28), (137, -8, -42), (139, -25, -57),
        (138, -39, -74), (133, -52, -92)),
    ((18, 57, -17), (31, 73, -17), (45, 90, -18), (66, 91, -20), (85, 85, -24),
        (102, 73, -29), (116, 59, -36), (127, 43, -44), (135, 27, -55), (141, 11, -66),
        (142, -5, -78), (142, -20, -93), (138, -34, -108)),
    ((18, 51, -40), (29, 67, -41), (39, 82, -41), (58, 87, -46), (76, 85, -52),
        (93, 79, -60), (107, 69, -67), (120, 58, -76), (129, 45, -86), (137, 32, -96),
        (142, 18, -107), (145, 3, -118), (146, -12, -130)),
    ((18, 43, -71), (26, 56, -71), (34, 69, -71), (45, 79, -74), (59, 81, -81),
        (74, 80, -88), (85, 76, -96), (98, 70, -105), (108, 63, -113), (118, 54, -121),
        (127, 45, -130), (135, 35, -138), (141, 23, -145)),
    ((18, 31, -107), (23, 38, -107), (27, 45, -107), (31, 52, -108), (35, 59, -108),
        (39, 66, -108), (48, 68, -111), (55, 68, -116), (61, 68, -121), (69, 68, -125),
        (75, 67, -130), (82, 66, -135), (88, 64, -140)),
)
# Half the mean thickness of each rib pair, mm, as a share of the mean of all.
RIB_THICK = (1.10, 0.93, 0.89, 0.95, 1.0, 1.07, 1.07, 1.0, 1.02, 1.0, 0.84, 0.75)
# Anterior shift of each pair's front end, per mm of the chest wall's.
RIB_SHARE = (0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.7, 0.3, 0.3)
# Vertebral bodies C6 to L3: y and z of their centres.
SPINE_Z = (-205.0, -177.0, -149.0, -121.0, -95.0, -68.0, -45.0, -23.0, 0.0, 24.0, 47.0,
    68.0, 87.0, 105.0, 120.0, 134.0, 148.0, 162.0, 176.0, 190.0, 204.0)
SPINE_Y = (-2.0, 4.0, 10.0, 18.0, 27.0, 36.0, 43.0, 48.0, 52.0, 53.0, 50.0, 44.0, 35.0,
    24.0, 12.0, -2.0, -9.0, -13.0, -16.0, -20.0, -22.0)
# fmt: on

# The CT is at inspiration: front ends of the ribs lie this far behind it at exhale.
EXHALE_MM = 12.0
# Ribs turn about an axis through the costovertebral joint, in the horizontal plane, at
# this angle to the midplane. CT of breathing men gives 35 degrees, which would widen
# the chest more than deepen it; XCAT's AP expansion is a rise with little spread.
AXIS_DEG = 60.0
REACH = 0.985  # largest anterior position of a rib's end, share of its sagittal reach


def rib_nodes(anatomy: Anatomy, ap_mm: Scalar) -> Array:
    """Returns centrelines of all ribs, `[24, 13, 3]` world mm: 12 left, 12 right.

    Each rib is rigid and turns about its joint until its front end has moved anteriorly
    by its share of `ap_mm` since exhale, exactly.

    Source:
        Wilson et al. 1987, doi:10.1152/jappl.1987.62.4.1665 (rigid rotation).
    """
    at, axis, along, across, turn = _levers(anatomy)
    ahead = _share() * (ap_mm - _exhale_mm(anatomy))
    angle = _turn(along, across, ahead)
    cos, sin = jnp.cos(angle)[..., None, None], jnp.sin(angle)[..., None, None]
    arm = at - at[..., :1, :]
    fixed = jnp.sum(arm * axis, -1, keepdims=True) * axis
    moved = fixed + (arm - fixed) * cos + jnp.cross(axis, arm) * sin
    nodes = (at[..., :1, :] + moved) * turn  # mirror the right side back
    return nodes.reshape(24, -1, 3)


def most_ap_mm(anatomy: Anatomy) -> Array:
    """Returns the largest anterior shift that each rib pair allows, `[12]` mm.

    Of the two sides, the smaller.
    """
    _, _, along, across, _ = _levers(anatomy)
    most = REACH * jnp.hypot(along, across) + along
    return jnp.min(most / _share() + _exhale_mm(anatomy), axis=0)


def _share() -> Array:
    return jnp.asarray(RIB_SHARE, jnp.float32).reshape(1, 12)


def _exhale_mm(anatomy: Anatomy) -> Scalar:
    return (EXHALE_MM + anatomy.rib_tilt_mm) * anatomy.scale_ap


def _levers(anatomy: Anatomy) -> tuple[Array, Array, Array, Array, Array]:
    """Returns the CT's ribs in world mm, all as if on the left, their axis and levers.

    Returns:
        nodes `[2, 12, 13, 3]`, axis `[3]`, and of each front end's turning arm what
        lies along y at angles 0 and 90 degrees, `[2, 12]` mm; signs `[2, 1, 1, 3]` that
        put the right side right.
    """
    sign = jnp.asarray([1.0, -1.0]).reshape(2, 1, 1)
    base = jnp.asarray(RIBS, jnp.float32)[None]
    lateral = anatomy.scale_lateral * (1.0 + anatomy.asymmetry * sign)
    nodes = jnp.stack(
        [
            base[..., 0] * lateral,
            base[..., 1] * anatomy.scale_ap * jnp.ones_like(sign),
            (base[..., 2] + anatomy.rib_shift_mm)
            * anatomy.scale_height
            * jnp.ones_like(sign),
        ],
        axis=-1,
    )
    turn = math.radians(AXIS_DEG)
    axis = jnp.asarray([math.sin(turn), math.cos(turn), 0.0], jnp.float32)
    arm = nodes[..., -1, :] - nodes[..., 0, :]
    axis_arm = axis.reshape(1, 1, 3)
    fixed = jnp.sum(arm * axis_arm, -1) * axis[1]
    along = arm[..., 1] - fixed
    across = jnp.cross(jnp.broadcast_to(axis_arm, arm.shape), arm)[..., 1]
    mirror = jnp.asarray([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]).reshape(2, 1, 1, 3)
    return nodes, axis.reshape(1, 1, 1, 3), along, across, mirror


def _turn(along: Array, across: Array, ahead_mm: Array) -> Array:
    """Returns the angle at which along cos + across sin is `ahead_mm` less, rad."""
    reach = jnp.hypot(along, across)
    want = jnp.clip((along - ahead_mm) / reach, -0.99999, 0.99999)
    middle, half = jnp.arctan2(across, along), jnp.arccos(want)
    wrap = lambda a: jnp.mod(a + jnp.pi, 2.0 * jnp.pi) - jnp.pi
    low, high = wrap(middle - half), wrap(middle + half)
    return jnp.where(jnp.abs(low) < jnp.abs(high), low, high)
