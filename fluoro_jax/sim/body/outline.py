"""The outline of trunk, neck and breasts, and the scales at which it fits the volume.

Reference mm at exhale: x left, y posterior, z superior; tables after LIDC-IDRI-0001
(see solids.py).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

Scalar = Any

EXTENT_MM = (384.0, 320.0, 368.0)  # x, y, z of every body volume
MOST_AP_MM = 20.0  # the deepest chest motion of the studies
EDGE_MM = 1.0  # air left between the skin and the volume's side
# fmt: off
# Skin: half width, front and back against height; shoulders slope up to the neck.
SKIN_Z = (-190.0, -130.0, -82.0, -30.0, 10.0, 45.0, 75.0, 100.0, 120.0, 138.0, 155.0,
    172.0, 190.0)
SKIN_HALF = (156.0, 159.0, 162.0, 158.0, 156.0, 161.0, 166.0, 169.0, 166.0, 148.0,
    106.0, 70.0, 60.0)
SKIN_FRONT = (
    -100.0, -103.0, -107.0, -109.0, -108.0, -105.0, -100.0, -94.0, -89.0, -87.0,
    -80.0, -74.0, -72.0,
)
SKIN_BACK = (
    112.0, 114.0, 118.0, 122.0, 123.0, 122.0, 119.0, 115.0, 106.0, 98.0,
    84.0, 70.0, 62.0,
)
# Shift of the front of the skin per mm that the chest wall moves anteriorly; shoulders
# and neck stay.
SKIN_ANTERIOR_PER_MM = (0.8, 1.0, 1.0, 1.0, 1.0, 0.95, 0.85, 0.65, 0.4, 0.2, 0.0, 0.0,
    0.0)
SKIN_WIDEN = (0.2, 0.3, 0.4, 0.45, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
# fmt: on
SKIN_SQUARE = 0.45
BREAST_BASE_Y = -96.0  # the chest under the breast
BREAST_DEPTH_MM = 14.0  # its centre lies this far behind that
BREAST_SEMI = ((20.0, 2.2), (20.0, 1.1), (20.0, 2.1))  # mm and share of what stands out


def most_scales(
    more_mm: Scalar, breast_mm: Scalar, asymmetry: Scalar
) -> tuple[Scalar, Scalar]:
    """Returns the largest lateral and AP scales that fit the volume.

    The outline's half width and depth are linear between the tables' knots, so its
    furthest points are knots. The chest is taken at an AP motion of `MOST_AP_MM`. Arms
    are not counted: the shoulders leave the volume sideways, outside of every ray that
    reaches the lungs at gantry 0.

    Args:
        more_mm: thickness that skin and girth add to the tables.
        breast_mm: how far the breasts stand out; 0 in men.
        asymmetry: left side wider than the mean, share.
    """
    half_x, half_y = (0.5 * length - EDGE_MM for length in EXTENT_MM[:2])
    # at the least scale of a patient, 0.8, the same motion is most in reference mm
    side = float(np.max(np.add(SKIN_HALF, np.multiply(MOST_AP_MM / 0.8, SKIN_WIDEN))))
    lateral = half_x / ((1.0 + jnp.abs(asymmetry)) * (side + more_mm))
    breast = BREAST_DEPTH_MM + BREAST_BASE_Y
    breast = BREAST_SEMI[1][0] - breast + BREAST_SEMI[1][1] * breast_mm
    front = jnp.maximum(-min(SKIN_FRONT), breast) + more_mm
    back = max(SKIN_BACK) + more_mm
    return lateral, jnp.minimum((half_y - MOST_AP_MM) / front, half_y / back)
