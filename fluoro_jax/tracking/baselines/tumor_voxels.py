"""A tumour on the voxels of a volume: the share of each inside it.

Not in `sim`, whose every file counts for the fingerprint of stored studies: clips are
rendered without voxels of the tumour.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.tumor.tumor import Tumor

SUBVOXELS = 5  # points along each axis of a voxel that the tumour is sampled at


def tumor_share(
    tumor: Tumor, centre_mm: np.ndarray, grid: Grid, shape: tuple[int, int, int]
) -> np.ndarray:
    """Returns the share of each voxel inside a tumour, `[Z, Y, X]` float32.

    Args:
        tumor: size and shape.
        centre_mm: `[3]` where it is.
        grid: of the voxels.
        shape: of the volume.
    """
    radius = 0.5 * float(tumor.diameter_mm)
    parts, axes = [], []
    for axis in range(3):
        first, step = float(grid.origin_mm[axis]), float(grid.spacing_mm[axis])
        count = shape[2 - axis]
        low = int(np.floor((centre_mm[axis] - radius - first) / step))
        high = int(np.ceil((centre_mm[axis] + radius - first) / step)) + 1
        low, high = max(low, 0), min(high, count)
        sub = (np.arange(SUBVOXELS) + 0.5) / SUBVOXELS - 0.5
        places = first + step * (np.arange(low, high)[:, None] + sub).ravel()
        parts.append(slice(low, high))
        axes.append(places - centre_mm[axis])
    x, y, z = axes
    depth = tumor_depth(tumor, x[None, None, :], y[None, :, None], z[:, None, None])
    counts = [n for part in parts[::-1] for n in (part.stop - part.start, SUBVOXELS)]
    share = np.zeros(shape, np.float32)
    means = (depth >= 0.0).reshape(counts).mean(axis=(1, 3, 5), dtype=np.float32)
    share[parts[2], parts[1], parts[0]] = means
    return share


def tumor_depth(tumor: Tumor, x: Any, y: Any, z: Any) -> np.ndarray:
    """Returns a smooth number that is positive inside of a tumour about (0, 0, 0).

    Args:
        tumor: size and shape.
        x: mm from its centre, of a shape that broadcasts with `y` and `z`.
        y: likewise.
        z: likewise.
    """
    size = float(tumor.diameter_mm)
    if tumor.shape is None:
        return 0.25 - (x**2 + y**2 + z**2) / size**2
    parts = []
    for offset, semi, turn in zip(
        np.asarray(tumor.shape.offset),
        np.asarray(tumor.shape.semi),
        np.asarray(tumor.shape.turn),
        strict=True,
    ):
        dx, dy, dz = x - size * offset[0], y - size * offset[1], z - size * offset[2]
        along = lambda row, d=(dx, dy, dz): (
            row[0] * d[0] + row[1] * d[1] + row[2] * d[2]
        )
        far = [
            (along(row) / (size * r)) ** 2 for row, r in zip(turn, semi, strict=True)
        ]
        parts.append(1.0 - (far[0] + far[1] + far[2]))
    return np.max(parts, axis=0)
