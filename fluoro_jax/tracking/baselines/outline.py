"""A tumour's outline, finer than the voxels that hold the share of it.

Voxels of a planning phase may be as large as the tumour: a sphere of 8 mm between
voxels of 5 mm fills none of them by half. Cut at one half it would vanish; here it is
cut where its volume is that of the shares, on finer voxels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from fluoro_jax.geometry import Geometry, Grid
from fluoro_jax.sim.xray import projector

# Ours, all three. Spheres of 8 to 30 mm on voxels of 5 mm then have shadows of 0.88 to
# 1.13 times their true area.
FINE_MM = 0.7  # side of the voxels of an outline, at most
ROUND = 0.5  # standard deviation of a Gaussian that rounds it, in voxels of the shares
EDGE_MM = 1.0  # a ray's length in it from which a pixel is tumour


def fine_outlines(share: np.ndarray, grid: Grid) -> tuple[np.ndarray, list[Grid]]:
    """Returns the outline of a tumour in every phase, on fine voxels around it.

    The share is interpolated, smoothed, and cut where the volume inside is its sum; the
    fine voxels lie so that the centroid is the share's, exactly.

    Args:
        share: `[P, Z, Y, X]` of each voxel inside the tumour, 0 to 1; none empty.
        grid: of the voxels.

    Returns:
        `[P, z, y, x]` bool, and the grid of each phase's voxels; one shape for all, so
        that one program projects them.
    """
    boxes = [ndimage.find_objects((one > 0.0).astype(int))[0] for one in share]
    # One voxel more on every side: the interpolant falls to 0 there.
    size = [2 + max(b[axis].stop - b[axis].start for b in boxes) for axis in range(3)]
    parts = [max(1, math.ceil(float(s) / FINE_MM)) for s in grid.spacing_mm[::-1]]
    outlines, grids = [], []
    for one, box in zip(share, boxes, strict=True):
        first = [edge.start - 1 for edge in box]
        axes = [
            low + (np.arange(count * part) + 0.5) / part - 0.5
            for low, count, part in zip(first, size, parts, strict=True)
        ]
        places = np.meshgrid(*axes, indexing="ij")
        values = ndimage.map_coordinates(one.astype(float), places, order=1)
        # Without it the interpolant of a few voxels has corners that stick out.
        values = ndimage.gaussian_filter(values, ROUND * np.array(parts))
        inside = _largest(values, max(1, round(float(one.sum()) * math.prod(parts))))
        outlines.append(inside)
        start = [axis[0] for axis in axes]
        off = np.array(ndimage.center_of_mass(one)) - start
        off -= np.array(ndimage.center_of_mass(inside)) / parts
        grids.append(_fine_grid(grid, np.array(start) + off, parts))
    return np.stack(outlines), grids


def shadows(share: np.ndarray, grid: Grid, view: Geometry) -> np.ndarray:
    """Returns the tumour's mask in a radiograph of every phase, `[P, rows, cols]`.

    Args:
        share: `[P, Z, Y, X]` of each voxel inside the tumour, 0 to 1; none empty.
        grid: of the voxels.
        view: of the radiographs.
    """
    outlines, grids = fine_outlines(share, grid)
    run = lambda v, fine: np.asarray(projector.project(v, fine, view))
    lengths_mm = [
        run(inside.astype(np.float32), fine)
        for inside, fine in zip(outlines, grids, strict=True)
    ]
    return (np.stack(lengths_mm) >= EDGE_MM).astype(np.float32)


def inside_voxels(share: np.ndarray) -> np.ndarray:
    """Returns the voxels that are most inside, as many as the tumour's volume, bool.

    Args:
        share: `[Z, Y, X]` of each voxel inside the tumour, 0 to 1; not empty.
    """
    return _largest(share, max(1, round(float(share.sum()))))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    chosen = np.zeros(values.size, bool)
    chosen[np.argsort(values, axis=None, kind="stable")[::-1][:count]] = True
    return chosen.reshape(values.shape)


def _fine_grid(grid: Grid, first: np.ndarray, parts: list[int]) -> Grid:
    """Returns a grid whose first voxel is at `first` (z, y, x) voxels of `grid`."""
    spacing = [float(s) for s in grid.spacing_mm]
    origin = [
        float(grid.origin_mm[i]) + float(first[2 - i]) * spacing[i] for i in range(3)
    ]
    fine = [spacing[i] / parts[2 - i] for i in range(3)]
    return Grid((origin[0], origin[1], origin[2]), (fine[0], fine[1], fine[2]))
