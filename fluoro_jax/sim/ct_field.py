"""The field by which the inside of a CT's chest breathes, its inverse and stretch.

Motion. The phantom's rule for the inside of the chest: tissue at height h (0 at the
lung's apex, 1 at the dome and below) moves inferiorly by SI w(h), w = 3 h^2 - 2 h^3;
tissue between the spine and the sternum moves anteriorly by AP g(y). The descent fades
to nothing towards the chest wall and the spine, which a single CT cannot tell from what
slides along them: the field is smooth, and a rib bends where a real one would turn.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal

Array = jax.Array
Scalar = Any
Place = tuple[Array, Array, Array]  # world (x, y, z) mm, of shapes that broadcast

STEEPEST = 1.5  # slope of 3 h^2 - 2 h^3 halfway
WALL_SHARE = (0.8, 1.15)  # of the chest's ellipse: full motion within, none beyond
SPINE_MM = (25.0, 45.0)  # from the midline: no motion within, full beyond
NEWTON_STEPS = 4  # to invert the field; 0.001 mm at the limit
LEAST_JACOBIAN = 0.2  # and 2 - 0.2 at most: inverting it needs |slope| < 1


@struct.dataclass
class Landmarks:
    """Where the chest is in a CT, world mm, as it was scanned.

    Attributes:
        apex_mm: z of the top of the lungs.
        dome_mm: z of the diaphragm's dome.
        spine_mm: y of the front of the spine.
        sternum_mm: y of the back of the sternum.
        back_mm: y of the inner chest wall at the back.
        middle_mm: x of the midline.
        half_width_mm: from the midline to the inner chest wall.
        taken_at: fraction of the breath at which the CT was taken (0: exhale).
    """

    apex_mm: Scalar
    dome_mm: Scalar
    spine_mm: Scalar
    sternum_mm: Scalar
    back_mm: Scalar
    middle_mm: Scalar
    half_width_mm: Scalar
    taken_at: Scalar = 0.0


def displacement_mm(
    landmarks: Landmarks, breathing: Breathing, time_s: AnyArray
) -> tuple[Array, Array]:
    """Returns diaphragm (inferior) and chest wall (anterior) motion, each `[T]` mm.

    Both count from where the CT was taken, not from exhale.

    Args:
        landmarks: says at which part of the breath that was.
        breathing: curve and amplitudes.
        time_s: `[T]` s.
    """
    si, ap = breathing_signal(breathing, time_s)
    si_mm = (si - landmarks.taken_at) * breathing.si_mm
    return si_mm, (ap - landmarks.taken_at) * breathing.ap_mm


def tissue_displacement_mm(
    landmarks: Landmarks,
    place: Place,
    si_mm: Scalar,
    ap_mm: Scalar,
) -> tuple[Array, Array]:
    """Returns the displacement of tissue at a place, (anterior, inferior) mm.

    Args:
        landmarks: of the chest.
        place: world (x, y, z) mm, any shapes of one rank that broadcast.
        si_mm: diaphragm displacement from where the CT was taken, inferior.
        ap_mm: chest wall displacement from there, anterior.
    """
    x, y, _ = place
    forward = ap_mm * forward_share(landmarks, y) + jnp.zeros_like(x)
    return forward, si_mm * across_share(landmarks, x, y) * height_share(
        landmarks, place[2]
    )


def tissue_origin_mm(
    landmarks: Landmarks, place: Place, si_mm: Scalar, ap_mm: Scalar
) -> tuple[Place, Array]:
    """Returns where tissue that is now at a place was when the CT was taken.

    Args:
        landmarks: of the chest.
        place: world (x, y, z) mm.
        si_mm: as in `tissue_displacement_mm`.
        ap_mm: likewise.

    Returns:
        (x, y, z) mm, y of the given y's shape, and the Jacobian determinant of the
        motion there [1].
    """
    x, y, z = place
    # forward: (x, y, z) goes to (x, y - ap g(y), z - si a(x, y) w(z))
    from_y, stretch_y = undo(y, lambda q: -ap_mm * forward_share(landmarks, q))
    across = across_share(landmarks, x, from_y)
    from_z, stretch_z = undo(
        z + 0.0 * across, lambda q: -si_mm * across * height_share(landmarks, q)
    )
    return (x, from_y, from_z), stretch_y * stretch_z


def forward_share(landmarks: Landmarks, y: Array) -> Array:
    """Returns 0 from the spine back, 1 from the sternum on, smooth between."""
    depth = landmarks.spine_mm - landmarks.sternum_mm
    return _smooth((landmarks.spine_mm - y) / depth)


def height_share(landmarks: Landmarks, z: Array) -> Array:
    """Returns 0 at the apex and above, 1 at the dome and below, smooth between."""
    height = landmarks.apex_mm - landmarks.dome_mm
    return _smooth((landmarks.apex_mm - z) / height)


def across_share(landmarks: Landmarks, x: Array, y: Array) -> Array:
    """Returns 1 in the middle of the chest, 0 at its wall and in the spine."""
    radius = 0.5 * (landmarks.back_mm - landmarks.sternum_mm)
    aside = x - landmarks.middle_mm
    along = (y - 0.5 * (landmarks.back_mm + landmarks.sternum_mm)) / radius
    reach_sq = jnp.square(aside / landmarks.half_width_mm) + jnp.square(along)
    wall = _between(jnp.sqrt(reach_sq), *WALL_SHARE)
    low, high = SPINE_MM
    clear = _between(jnp.abs(aside), low, high)
    behind = _between(y, landmarks.spine_mm - 10.0, landmarks.spine_mm + 10.0)
    return (1.0 - wall) * (1.0 - behind * (1.0 - clear))


def _between(x: Array, low: Scalar, high: Scalar) -> Array:
    """Returns 0 up to `low`, 1 from `high` on, smooth between."""
    return _smooth((x - low) / (high - low))


def _smooth(x: Array) -> Array:
    x = jnp.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def check_field(landmarks: Landmarks, si: np.ndarray, ap: np.ndarray) -> None:
    """Checks the Jacobian determinant of the field over all times.

    It is a product of two stretches, each linear in its amplitude and furthest from 1
    halfway: 1 + 1.5 SI / height and 1 + 1.5 AP / depth.
    """
    height = float(landmarks.apex_mm - landmarks.dome_mm)
    depth = float(landmarks.spine_mm - landmarks.sternum_mm)
    for name, length in (("apex above the dome", height), ("spine to sternum", depth)):
        if not 10.0 < length < 1000.0:
            raise UserError(
                f"landmarks with {length:g} mm {name}",
                needed="10 to 1000 mm",
                why="motion is measured in shares of the chest",
                fix="check apex_mm > dome_mm and spine_mm > sternum_mm (LPS, mm)",
            )
    for name, move, slope in (
        ("SI", si, STEEPEST / height),
        ("AP", ap, STEEPEST / depth),
    ):
        worst = float(move[np.argmax(np.abs(move))])
        limit = (1.0 - LEAST_JACOBIAN) / slope
        if not abs(worst) <= limit:
            raise UserError(
                f"{name} motion of {worst:.1f} mm from where the CT was taken, which "
                f"stretches the lung {1.0 + slope * worst:.2f} times",
                needed=f"at most {limit:.1f} mm either way in this chest: from "
                f"{LEAST_JACOBIAN:g} to {2.0 - LEAST_JACOBIAN:g} times",
                why="near a Jacobian of 0 the field folds the lung onto itself",
                fix=f"take a smaller {name.lower()}_mm, or another taken_at",
            )


def undo(place: Array, move: Any) -> tuple[Array, Array]:
    """Returns where tissue now at `place` was along one axis, and its stretch."""
    origin = place
    slope_at = lambda q: jax.jvp(move, (q,), (jnp.ones_like(q),))[1]
    for _ in range(NEWTON_STEPS):
        miss = origin + move(origin) - place
        origin = origin - miss / (1.0 + slope_at(origin))
    return origin, 1.0 + slope_at(origin)
