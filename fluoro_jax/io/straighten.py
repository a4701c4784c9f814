"""Volumes of any orientation along LPS axes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.mha import MetaImage, to_lps

AIR_HU = -1000.0
STRAIGHT = 1e-3  # of a direction cosine; to_lps takes such axes as straight
MOST_VOXELS = 2**28  # of a volume: 512 x 512 x 1024, 1 GiB of float32


def straighten(hu: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, Grid, str]:
    """Returns a volume with axes along +z, +y, +x (LPS).

    Axes along the patient's are reordered and flipped, without any change of values.
    Others are resampled linearly on voxels of the same sizes over the box that holds
    the volume; the box's corners outside of it become air.

    Args:
        hu: `[slice, row, column]`.
        affine: `[4, 4]` from (column, row, slice, 1) to LPS mm, axes at right angles.

    Returns:
        (HU `[Z, Y, X]` float32, grid, what was done).

    Raises:
        UserError: if the box of an oblique volume is too large.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    if np.abs(direction - np.round(direction)).max() >= STRAIGHT:
        return _resample(hu, affine, spacing)
    image = MetaImage(hu, tuple(spacing), tuple(affine[:3, 3]), direction)
    image = to_lps(image)
    (x, y, z), (dx, dy, dz) = image.offset, image.spacing
    same = np.allclose(direction, np.eye(3), atol=STRAIGHT)
    done = "as stored" if same else "axes reordered or flipped to LPS"
    grid = Grid((float(x), float(y), float(z)), (float(dx), float(dy), float(dz)))
    return image.array.astype(np.float32, copy=False), grid, done


def _resample(
    hu: np.ndarray, affine: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, Grid, str]:
    shape = np.array(hu.shape[::-1])  # as (column, row, slice)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    placed = affine[:3, :3] @ corners + affine[:3, 3:]
    low, high = placed.min(axis=1), placed.max(axis=1)
    # The voxel size of each patient axis is that of the stored axis nearest to it.
    step = spacing[np.argmax(np.abs(affine[:3, :3] / spacing), axis=1)]
    size = np.ceil((high - low) / step - 1e-6).astype(int) + 1
    if np.prod(size.astype(float)) > MOST_VOXELS:
        refuse(
            f"an oblique volume that fills a box of {' x '.join(map(str, size))}",
            f"at most {MOST_VOXELS} voxels",
            why="it is resampled along the patient's axes",
            fix="resample it to larger voxels, for example in 3D Slicer",
        )
    # From an index of the new volume to one of the old, both as (x, y, z).
    inverse = np.linalg.inv(affine[:3, :3])
    matrix, start = inverse * step, inverse @ (low - affine[:3, 3])
    values = ndimage.affine_transform(
        np.asarray(hu, np.float32),
        matrix[::-1, ::-1],
        start[::-1],
        output_shape=tuple(int(n) for n in size[::-1]),
        order=1,
        cval=AIR_HU,
    )
    (x, y, z), (dx, dy, dz) = map(float, low), map(float, step)
    note = "oblique: resampled linearly along LPS axes, air outside"
    return values, Grid((x, y, z), (dx, dy, dz)), note


def check_same_grid(
    name: str, shape: tuple[int, ...], grid: Grid, like: tuple[tuple[int, ...], Grid]
) -> None:
    """Refuses a volume of another size, spacing or origin than the first.

    Raises:
        UserError: naming both.
    """
    mine = np.array([*grid.spacing_mm, *grid.origin_mm], float)
    other = np.array([*like[1].spacing_mm, *like[1].origin_mm], float)
    # 0.01 mm: decimal strings of few digits.
    if shape == like[0] and np.abs(mine - other).max() < 0.01:
        return
    words = lambda s, g: (
        f"{' x '.join(map(str, s[::-1]))} voxels of "
        f"{' x '.join(f'{v:.4g}' for v in g.spacing_mm)} mm at "
        f"({', '.join(f'{v:.5g}' for v in g.origin_mm)}) mm"
    )
    raise UserError(
        f"{name}: {words(shape, grid)}",
        needed=f"{words(*like)}, as the first phase",
        why="phases are compared voxel by voxel",
        fix="reconstruct all phases on one grid, or name the others alone "
        "(--phase SERIES=PERCENT)",
    )
