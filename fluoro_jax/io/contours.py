"""Planar contours as volumes: share of each voxel, volume, centroid, consensus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.io.volumes import Roi


def rasterise(roi: Roi, grid: Grid, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns the share of each voxel inside a ROI.

    Args:
        roi: at least one contour.
        grid: voxels along LPS axes, in the ROI's frame of reference.
        shape: `[Z, Y, X]`.

    Returns:
        `[Z, Y, X]` float32 in [0, 1].

    Raises:
        UserError: a ROI without contours, or that lies outside of the grid.
    """
    raise NotImplementedError


def volume_ml(roi: Roi) -> float:
    """Returns the volume of a ROI: area times slab thickness, ml."""
    raise NotImplementedError


def centroid_mm(roi: Roi) -> np.ndarray:
    """Returns the centre of mass of a ROI, `[3]` LPS mm."""
    raise NotImplementedError


def consensus(
    rois: Sequence[Roi],
    grid: Grid,
    shape: tuple[int, int, int],
    *,
    agreement: float = 0.5,
) -> np.ndarray:
    """Returns where at least this share of the readers agree, `[Z, Y, X]` in [0, 1]."""
    raise NotImplementedError
