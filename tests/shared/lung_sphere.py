"""A sphere in bare lung: HU and contours."""

from __future__ import annotations

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.io.volumes import Roi

SPACING = (2.0, 2.0, 2.0)
SHAPE = (60, 50, 70)
GRID = Grid((-70.0, -50.0, -60.0), SPACING)
RADIUS_MM, LUNG = 10.0, -800.0


def sphere(centre):
    """Returns HU of lung with a sphere, and the sphere's contours."""
    z, y, x = (
        o + d * np.arange(n) - c
        for o, d, n, c in zip(
            GRID.origin_mm[::-1], SPACING, SHAPE, centre[::-1], strict=True
        )
    )
    away = np.sqrt(
        x.reshape(1, 1, -1) ** 2 + y.reshape(1, -1, 1) ** 2 + z.reshape(-1, 1, 1) ** 2
    )
    share = np.clip(0.5 - (away - RADIUS_MM) / SPACING[0], 0.0, 1.0)
    turn = np.linspace(0.0, 2 * np.pi, 73)[:-1]
    contours = [
        np.stack(
            [
                centre[0] + r * np.cos(turn),
                centre[1] + r * np.sin(turn),
                np.full(72, centre[2] + height),
            ],
            axis=1,
        )
        for height in z
        if (r := np.sqrt(max(RADIUS_MM**2 - height**2, 0.0))) > 0.5
    ]
    hu = (LUNG + share * (40.0 - LUNG)).astype(np.float32)
    return hu, Roi("GTV", tuple(contours), spacing_mm=SPACING[2])


CENTRES = [(4.0, -6.0, 10.0), (4.0, -5.0, 2.0), (4.0, -4.0, -6.0)]
