"""The anatomy at one moment: what moves, how far, and by which rule.

Lengths here are those of the reference person (`Anatomy` scales divided out), so that
every solid is written once. Full exhale is the rest position.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fluoro_jax.sim.anatomy import Anatomy

Array = jax.Array
Scalar = Any

# How much each rib pair takes part in the pump handle motion, pairs 1 to 12.
RIB_SHARE = (0.4, 0.6, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.7, 0.3, 0.3)
# A rib is a rigid lever at 31 degrees: its front end rises 1.6 mm per mm forward,
# over about 150 mm of sagittal length.
RIB_RISE_PER_MM = 1.6 / 150.0
# Share of the diaphragm's descent that the heart follows, and of the chest's advance.
HEART_SI_SHARE = 0.6
HEART_AP_SHARE = 0.3
# The lower chest also widens: mm each side per mm of advance (bucket handle).
WIDENING = 0.2


@struct.dataclass
class Pose:
    """An anatomy and how far its parts have moved from exhale, reference mm.

    Attributes:
        anatomy: whose body it is.
        drop_mm: diaphragm and abdominal organs, inferior.
        advance_mm: front of the chest wall, anterior.
        widen_mm: each side of the chest wall.
        rib_lift: `[12]` slope taken off each rib pair, mm up per mm forward.
        heart_mm: heart, (anterior, inferior).
    """

    anatomy: Anatomy
    drop_mm: Scalar
    advance_mm: Scalar
    widen_mm: Scalar
    rib_lift: Array
    heart_mm: tuple[Scalar, Scalar]


def pose_at(anatomy: Anatomy, si_mm: Scalar, ap_mm: Scalar) -> Pose:
    """The body with its diaphragm `si_mm` lower and its chest `ap_mm` further out.

    Args:
        anatomy: the person at full exhale.
        si_mm: diaphragm displacement now, mm.
        ap_mm: chest wall displacement now, mm.

    Returns:
        The pose; every entry is linear in the two displacements.

    Source:
        Rib kinematics: rigid rotation about the spine (Wilson et al. 1987,
        doi:10.1152/jappl.1987.62.4.1665), less for the upper and the floating ribs.
    """
    drop = si_mm / anatomy.scale_height
    advance = ap_mm / anatomy.scale_ap
    lift = jnp.asarray(RIB_SHARE, jnp.float32) * (RIB_RISE_PER_MM * advance)
    heart = (HEART_AP_SHARE * advance, HEART_SI_SHARE * drop)
    return Pose(anatomy, drop, advance, WIDENING * advance, lift, heart)
