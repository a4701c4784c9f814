"""The anatomy at one moment: motion of chest wall, diaphragm, heart and lung.

Lengths here are those of the reference patient (`Anatomy` scales divided out), so that
every solid is written once. Full exhale is the rest position. Across the body the chest
stretches about its back: tissue at the front wall moves anteriorly by all of `ap_mm`,
tissue at the back not at all, and each side moves out (`to_rest` undoes it). Down the
body the lung follows the diaphragm, all of the way at the dome and not at the apex.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from fluoro_jax.errors import UserError
from fluoro_jax.sim.body import skeleton
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.shapes import Axes, tables

Array = jax.Array
Scalar = Any

# Share of the diaphragm's descent that the heart follows: mean slope of the left main
# coronary artery on the right diaphragm, 0.17 to 0.93 in 12 volunteers (Danias et al.
# 1999, Relationship between motion of coronary arteries and diaphragm during free
# breathing). Of the chest wall's anterior shift it follows half: ours.
HEART_SI_SHARE = 0.6
HEART_AP_SHARE = 0.5
# Share by which the ventricles' semi-axes shrink in systole, 14 % of the volume: ours.
# The solid is the heart's outer (epicardial) surface. Myocardium keeps its volume, so
# that surface moves much less than the chambers' walls.
BEAT = 0.05

# fmt: off
# Rib cage at exhale, middle of the wall: half width, front and back against height.
CAGE_Z = (-190.0, -130.0, -82.0, -47.0, -18.0, 9.0, 39.0, 67.0, 92.0, 113.0, 190.0)
CAGE_HALF = (143.5, 141.0, 139.7, 133.6, 125.9, 121.6, 118.2, 114.3, 112.3, 116.2,
    121.3)
CAGE_FRONT = (-78.2, -82.5, -87.7, -90.6, -90.1, -85.5, -78.4, -70.0, -60.6, -55.6,
    -56.5)
CAGE_BACK = (85.4, 89.4, 93.8, 101.3, 104.6, 102.9, 98.0, 93.1, 92.7, 95.6, 98.1)
# Per mm that the chest wall moves anteriorly: shift of the front at this height, and of
# each side outward. From the turning ribs of skeleton.py, fitted.
ANTERIOR_PER_MM = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.15, 1.2, 1.1, 0.85, 0.3)
WIDEN = (0.15, 0.25, 0.40, 0.48, 0.48, 0.45, 0.42, 0.41, 0.45, 0.5, 0.5)
# fmt: on
APEX_Z = 128.0  # the lung above does not follow the diaphragm
# Largest excursion of the right hemidiaphragm in ten supine volunteers, 6.0 +- 0.7 cm:
# Thorax 1994; 49: 885-889 (PMID 7940428).
MOST_SI_MM = 60.0
LEAST_MM = -10.0  # below the usual exhale; recorded breaths go a little there
SCALES = (0.8, 1.2)


@struct.dataclass
class Pose:
    """An anatomy and how far its parts have moved from exhale, reference mm.

    Attributes:
        anatomy: whose body it is.
        inferior_shift_mm: diaphragm and abdominal organs, inferior.
        anterior_shift_mm: front of the chest wall, anterior.
        heart_mm: heart, (anterior, inferior).
        systolic_contraction: share by which the ventricles' semi-axes are shorter.
        ribs: `[24, 13, 3]` centrelines now, world mm: 12 left, 12 right.
        rise_mm: sternum, superior: the mean of ribs 2 to 7.
    """

    anatomy: Anatomy
    inferior_shift_mm: Scalar
    anterior_shift_mm: Scalar
    heart_mm: tuple[Scalar, Scalar]
    systolic_contraction: Scalar
    ribs: Array
    rise_mm: Scalar


def pose_at(
    anatomy: Anatomy, si_mm: Scalar, ap_mm: Scalar, heart_phase: Scalar = 0.0
) -> Pose:
    """Returns the pose with the diaphragm `si_mm` lower and the chest `ap_mm` anterior.

    Args:
        anatomy: the patient at full exhale.
        si_mm: diaphragm displacement now, mm.
        ap_mm: chest wall displacement now, mm.
        heart_phase: cycles of the heart beat; 0 is the end of diastole.

    Returns:
        The pose; all but ribs and sternum is linear in the two displacements.
    """
    inferior = si_mm / anatomy.scale_height
    anterior = ap_mm / anatomy.scale_ap
    heart = (HEART_AP_SHARE * anterior, HEART_SI_SHARE * inferior)
    # contraction and refilling take the first half of the beat
    beat = jnp.mod(jnp.asarray(heart_phase, jnp.float32), 1.0) / 0.5
    contraction = BEAT * jnp.square(jnp.sin(jnp.pi * jnp.minimum(beat, 1.0)))
    ribs = skeleton.rib_nodes(anatomy, ap_mm)
    ends = lambda nodes: nodes.reshape(2, 12, -1, 3)[:, 1:7, -1, 2]
    risen = jnp.mean(ends(ribs) - ends(skeleton.rib_nodes(anatomy, 0.0)))
    rise = risen / anatomy.scale_height
    return Pose(anatomy, inferior, anterior, heart, contraction, ribs, rise)


def cage_section(z: Array) -> tuple[Array, Array, Array]:
    """Returns half width, front and back (y) of the cage at exhale, reference mm."""
    half, front, back, _, _ = _cage(z)
    return half, front, back


def _cage(z: Array) -> tuple[Array, ...]:
    # always all columns, so that one product serves every caller in a program
    columns = (CAGE_HALF, CAGE_FRONT, CAGE_BACK, WIDEN, ANTERIOR_PER_MM)
    return tables(z, CAGE_Z, columns)


def stretch(z: Array, anterior_shift_mm: Scalar) -> tuple[Array, Array, Array]:
    """Returns how the chest is stretched at height z.

    Args:
        z: any shape, reference mm.
        anterior_shift_mm: front of the chest wall, reference mm.

    Returns:
        (width factor [1], depth factor [1], y of the back wall, reference mm), as z.
    """
    half, front, back, widen, anterior = _cage(z)
    wide = 1.0 + anterior_shift_mm * widen / half
    deep = 1.0 + anterior_shift_mm * anterior / (back - front)
    return wide, deep, back


def to_rest(pose: Pose, place: Axes) -> tuple[Array, Array]:
    """Returns x and y of a reference place before the chest stretched, mm."""
    x, y, z = place
    wide, deep, back = stretch(z, pose.anterior_shift_mm)
    return x / wide, back - (back - y) / deep


def follow(anatomy: Anatomy, z: Array) -> Array:
    """Returns the share of the diaphragm's descent at height z (reference mm, exhale).

    w = 3 h^2 - 2 h^3 from h = 0 at the apex to 1 at the top of the right dome: half way
    at mid lung, smooth at both ends. The form is ours.
    """
    h = jnp.clip((APEX_Z - z) / (APEX_Z - anatomy.dome_right_mm), 0.0, 1.0)
    return jnp.square(h) * (3.0 - 2.0 * h)


def lung_displacement_mm(
    anatomy: Anatomy, si_mm: Scalar, ap_mm: Scalar, points: Array
) -> Array:
    """Returns the displacement of lung tissue since exhale (DVF).

    u_z = -si w(h) with `follow`'s w; then, at the new height, depth and width are
    stretched as the chest is. Smooth and invertible: every factor is monotone.

    Args:
        anatomy: the patient.
        si_mm: diaphragm displacement now, mm.
        ap_mm: chest wall displacement now, mm.
        points: `[..., 3]` world (LPS) mm at full exhale.

    Returns:
        `[..., 3]` mm, world.
    """
    scale = jnp.stack(
        [
            jnp.asarray(s, jnp.float32)
            for s in (anatomy.scale_lateral, anatomy.scale_ap, anatomy.scale_height)
        ]
    ).reshape((1,) * (points.ndim - 1) + (3,))
    x, y, z = jnp.moveaxis(points / scale, -1, 0)
    down = (si_mm / anatomy.scale_height) * follow(anatomy, z)
    wide, deep, back = stretch(z - down, ap_mm / anatomy.scale_ap)
    moved = jnp.stack([x * wide, back - (back - y) * deep, z - down], axis=-1)
    return (moved - points / scale) * scale


def check_pose(anatomy: Anatomy, si_mm: float, ap_mm: float) -> None:
    """Checks breathing amplitudes; takes numbers, not traced values.

    Args:
        anatomy: the patient; numpy or plain leaves.
        si_mm: furthest diaphragm displacement from exhale, mm.
        ap_mm: furthest chest wall displacement from exhale, mm.

    Raises:
        UserError: naming the limit that was passed.
    """
    for name in ("scale_lateral", "scale_ap", "scale_height"):
        value = float(getattr(anatomy, name))
        if not SCALES[0] <= value <= SCALES[1]:
            raise UserError(
                f"anatomy.{name} = {value:g}",
                needed=f"from {SCALES[0]:g} to {SCALES[1]:g}",
                why="beyond that the parts of the body no longer fit together",
                fix=f"take a {name} between these limits",
            )
    most = np.asarray(_most_ap_mm(anatomy))
    pair = int(most.argmin())
    _within("SI", si_mm, MOST_SI_MM, "no diaphragm travels further (6.0 +- 0.7 cm)")
    why = f"rib {pair + 1} then lies level and can turn no further about its joint"
    _within("AP", ap_mm, float(most[pair]), why)


_most_ap_mm = jax.jit(skeleton.most_ap_mm)


def _within(name: str, value: float, most: float, why: str) -> None:
    if not (math.isfinite(value) and LEAST_MM <= value <= most):
        if not math.isfinite(value) or value < LEAST_MM:
            why = "0 is full exhale; a chest empties only a little further"
        raise UserError(
            f"{name} displacement = {value:g} mm",
            needed=f"from {LEAST_MM:g} to {most:.1f} mm for this patient",
            why=why,
            fix=f"take a smaller {name} amplitude or another anatomy",
        )
