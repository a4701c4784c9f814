"""A chest as a CT shows it, from closed forms."""

import numpy as np

SHAPE, PITCH_MM = (44, 30, 42), 8.0


def chest_hu(*, spine: bool) -> np.ndarray:
    """A soft cylinder with two lungs, and a spine if asked, about the middle, 8 mm."""
    z, y, x = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * PITCH_MM for n in SHAPE), indexing="ij"
    )
    hu = np.where((x / 155) ** 2 + (y / 108) ** 2 < 1.0, 20.0, -1000.0)
    for side in (-1.0, 1.0):
        lung = ((x - side * 62) / 50) ** 2 + (y / 72) ** 2 + ((z - 20) / 90) ** 4 < 1.0
        hu[lung] = -750.0
    if spine:
        hu[(np.abs(x) < 18) & (np.abs(y - 58) < 18)] = 300.0
    return hu.astype(np.float32)
