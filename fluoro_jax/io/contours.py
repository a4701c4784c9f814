"""Planar contours as volumes: share of each voxel, volume, centroid, consensus.

A contour stands for a slab: from half-way to the next plane below to half-way to the
next above, half a slice beyond the first and the last. Contours in one plane are
combined by XOR, so that a contour inside another is a hole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.straighten import MOST_VOXELS
from fluoro_jax.io.volumes import Roi

# Ours, all of them.
SUBROWS = 8  # scan lines a voxel; along a line lengths are exact
SUBPOINTS = (-1 / 3, 0.0, 1 / 3)  # along each side of a voxel, for oblique planes
AREA_LINES = 1024  # scan lines through a plane for its area
SAME_PLANE_MM = 0.05
MOST_GAP = 2.5  # slices: a wider gap between contours is not filled
MOST_CROSSINGS = 10**7  # of contours and scan lines in one plane: 0.5 GB
AXIAL = 1e-4  # of the normal's direction cosine


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
    basis = _basis(roi)
    if basis[2, 2] > 1.0 - AXIAL:
        share = _fill(roi, basis, grid, shape)
    else:
        share = _fill_oblique(roi, basis, grid, shape)
    if not share.any():
        middle = ", ".join(f"{v:.1f}" for v in np.concatenate(roi.contours_mm).mean(0))
        first = ", ".join(f"{float(v):.1f}" for v in grid.origin_mm)
        refuse(
            f"ROI '{roi.name}' is empty on this volume: its middle is at ({middle}) "
            f"mm, voxel 0 at ({first}) mm",
            "a ROI that lies inside of the volume and fills part of a voxel",
            why="without it there is no target to track",
            fix="check that contours and CT are of one scan and not cropped",
        )
    return share


def volume_ml(roi: Roi) -> float:
    """Returns the volume of a ROI: area times slab thickness, ml.

    Raises:
        UserError: a ROI without contours.
    """
    return float(_moments(roi)[0]) / 1000.0


def centroid_mm(roi: Roi) -> np.ndarray:
    """Returns the centre of mass of a ROI, `[3]` LPS mm.

    Raises:
        UserError: a ROI without contours, or whose contours enclose nothing.
    """
    volume, moment = _moments(roi)
    if volume <= 0.0:
        refuse(
            f"ROI '{roi.name}' encloses no volume",
            "contours with an area",
            why="a point or a line has no centre of mass",
            fix="draw the contours again",
        )
    return moment / volume


def consensus(
    rois: Sequence[Roi],
    grid: Grid,
    shape: tuple[int, int, int],
    *,
    agreement: float = 0.5,
) -> np.ndarray:
    """Returns where at least this share of the readers agree.

    Args:
        rois: of one structure, one each reader.
        grid: of the voxels.
        shape: `[Z, Y, X]`.
        agreement: in (0, 1].

    Returns:
        `[Z, Y, X]` float32 in [0, 1].

    Raises:
        UserError: if nowhere so many agree.
    """
    shares = np.sort([rasterise(roi, grid, shape) for roi in rois], axis=0)
    # 1e-6: three thirds are not exactly one.
    needed = max(1, math.ceil(agreement * len(rois) - 1e-6))
    # The share that so many have at least; exact where one reader's lies in another's.
    agreed = shares[-needed]
    if not agreed.any():
        refuse(
            f"no voxel on which {100.0 * agreement:.0f} % of {len(rois)} readers agree",
            "contours that overlap",
            why="without a common part there is no target to track",
            fix="choose one reader, or a lower agreement",
        )
    return agreed


def _basis(roi: Roi) -> np.ndarray:
    """Returns the planes' axes `[3, 3]`: two in the plane, then the normal."""
    if not roi.contours_mm:
        refuse(
            f"ROI '{roi.name}' has no closed contours",
            "at least one contour of three points or more",
            why="it has no volume",
            fix="draw the contours, or choose another ROI",
        )
    normal = np.zeros(3)
    for points in roi.contours_mm:
        middle = points - points[0]
        # Newell: twice the area vector; contours may run either way round.
        area = np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0)
        normal += area if area @ normal >= 0.0 else -area
    size = float(np.linalg.norm(normal))
    normal = normal / size if size > 0.0 else np.array([0.0, 0.0, 1.0])
    normal = normal if normal[np.argmax(np.abs(normal))] > 0.0 else -normal
    if normal[2] > 1.0 - AXIAL:
        return np.eye(3)
    first = np.eye(3)[np.argmin(np.abs(normal))]
    first = first - normal * (first @ normal)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first), normal])


def _slabs(roi: Roi, basis: np.ndarray) -> list[tuple[float, float, list[np.ndarray]]]:
    """Returns (low, high, contours `[N, 2]`) of every plane, rising, mm."""
    turned = sorted(
        (points @ basis.T for points in roi.contours_mm), key=lambda p: p[:, 2].mean()
    )
    planes: list[tuple[float, list[np.ndarray]]] = []
    for points in turned:
        at = float(points[:, 2].mean())
        if planes and at - planes[-1][0] < SAME_PLANE_MM:
            planes[-1][1].append(points[:, :2])
        else:
            planes.append((at, [points[:, :2]]))
    places = np.array([at for at, _ in planes])
    gaps = np.diff(places)
    thick = roi.spacing_mm or (float(np.median(gaps)) if len(gaps) else 0.0)
    if thick <= 0.0:
        refuse(
            f"ROI '{roi.name}': contours in one plane, and no distance of slices",
            "contours in several planes, or the CT they were drawn on",
            why="a volume needs a thickness",
            fix="read the ROI together with its CT",
        )
    # Half-way to the next plane, or half a slice where there is none near.
    reach = np.where(gaps <= MOST_GAP * thick, 0.5 * gaps, 0.5 * thick)
    below, above = np.append(0.5 * thick, reach), np.append(reach, 0.5 * thick)
    return [
        (at - float(low), at + float(high), contours)
        for (at, contours), low, high in zip(planes, below, above, strict=True)
    ]


def _crossings(
    contours: Sequence[np.ndarray], first: float, step: float, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the inside of closed polygons along scan lines, by XOR.

    Args:
        contours: each `[N, 2]` (u, v).
        first: v of scan line 0.
        step: from one line to the next.
        count: lines.

    Returns:
        (line, u where the inside begins, u where it ends), each `[M]`.
    """
    start = np.concatenate(contours)
    end = np.concatenate([np.roll(points, -1, axis=0) for points in contours])
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    # Lines with low <= v < high: a vertex between two edges is then counted once.
    from_line = np.clip(np.ceil((low - first) / step), 0, count).astype(int)
    to_line = np.clip(np.ceil((high - first) / step), 0, count).astype(int)
    many = to_line - from_line
    if many.sum() > MOST_CROSSINGS:
        refuse(
            f"contours of {len(start)} points that cross {many.sum()} scan lines",
            f"at most {MOST_CROSSINGS}",
            why="no structure drawn by a person or a program is so tangled",
            fix="export the structure set again",
        )
    edge = np.repeat(np.arange(len(many)), many)
    # Lines of each edge one after the other: its first, and on.
    line = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    line = line + from_line[edge]
    along = (first + step * line - start[edge, 1]) / (end - start)[edge, 1]
    u = start[edge, 0] + along * (end - start)[edge, 0]
    order = np.lexsort((u, line))
    # Closed polygons cross every line an even number of times: pairs are inside.
    line, u = line[order], u[order]
    return line[::2], u[::2], u[1::2]


def _coverage(
    contours: Sequence[np.ndarray], grid: tuple[float, float, int, float, float, int]
) -> np.ndarray:
    """Returns the share of each pixel `[rows, columns]` inside of polygons.

    Args:
        contours: each `[N, 2]` (u, v) mm.
        grid: (first v, step, rows, first u, step, columns); firsts are of centres.
    """
    v0, dv, rows, u0, du, cols = grid
    step = dv / SUBROWS
    line, left, right = _crossings(
        contours, v0 - 0.5 * dv + 0.5 * step, step, rows * SUBROWS
    )
    width = cols + 2
    changes = np.zeros(rows * width)
    for u, sign in ((right, 1.0), (left, -1.0)):
        place = np.clip((u - (u0 - 0.5 * du)) / du, 0.0, cols)
        whole = np.floor(place).astype(int)
        first = line // SUBROWS * width
        # Left of u: ones in whole pixels, then the rest of u; as steps to be summed.
        for at, step_up in (
            (first, np.ones_like(place)),
            (first + whole, place - whole - 1.0),
            (first + whole + 1, whole - place),
        ):
            changes += np.bincount(at, sign * step_up, len(changes))
    share = np.cumsum(changes.reshape(rows, width), axis=1)[:, :cols] / SUBROWS
    return np.clip(share, 0.0, 1.0).astype(np.float32)


def _fill(
    roi: Roi, basis: np.ndarray, grid: Grid, shape: tuple[int, int, int]
) -> np.ndarray:
    """Returns shares `[Z, Y, X]` on a grid along the basis' axes."""
    (x0, y0, z0), (dx, dy, dz) = (
        map(float, values) for values in (grid.origin_mm, grid.spacing_mm)
    )
    share = np.zeros(shape, np.float32)
    faces = z0 + dz * (np.arange(shape[0] + 1) - 0.5)
    for low, high, contours in _slabs(roi, basis):
        inside = np.minimum(faces[1:], high) - np.maximum(faces[:-1], low)
        # Rounding must not make a neighbour's sliver of a slab.
        used = np.flatnonzero(inside > 1e-6 * dz)
        if not len(used):
            continue
        plane = _coverage(contours, (y0, dy, shape[1], x0, dx, shape[2]))
        for z in used:
            share[z] += plane * np.float32(inside[z] / dz)
    return np.clip(share, 0.0, 1.0)


def _fill_oblique(
    roi: Roi, basis: np.ndarray, grid: Grid, shape: tuple[int, int, int]
) -> np.ndarray:
    """Returns shares on LPS axes of contours in oblique planes.

    Filled on axes of their own, with voxels of half the size, then read linearly.
    """
    fine = 0.5 * min(float(s) for s in grid.spacing_mm)
    every = np.concatenate(roi.contours_mm) @ basis.T
    slabs = _slabs(roi, basis)
    low = np.append(every.min(axis=0)[:2], slabs[0][0]) - 2.0 * fine
    high = np.append(every.max(axis=0)[:2], slabs[-1][1]) + 2.0 * fine
    count = np.ceil((high - low) / fine).astype(int) + 1
    if np.prod(count.astype(float)) > MOST_VOXELS:
        refuse(
            f"ROI '{roi.name}': oblique contours over {' x '.join(map(str, count))} "
            "voxels",
            f"at most {MOST_VOXELS}",
            why="they are filled on a grid of their own",
            fix="resample the CT to larger voxels first",
        )
    u, v, w = (float(value) for value in low)
    nu, nv, nw = (int(n) for n in count)
    own = _fill(roi, basis, Grid((u, v, w), (fine, fine, fine)), (nw, nv, nu))
    axes: Any = [
        float(o) + float(d) * np.arange(n)
        for o, d, n in zip(grid.origin_mm, grid.spacing_mm, shape[::-1], strict=True)
    ]
    x, y, z = axes
    share = np.zeros(shape, np.float32)
    heights = np.concatenate(roi.contours_mm)[:, 2]
    dx, dy, dz = (float(s) for s in grid.spacing_mm)
    reach = 0.5 * dz + float(slabs[0][1] - slabs[0][0])
    near = (z > heights.min() - reach) & (z < heights.max() + reach)
    for k in np.flatnonzero(near):  # slice by slice: places take memory
        for a, b, c in itertools.product(SUBPOINTS, repeat=3):
            at = x + a * dx, y[:, None] + b * dy, z[k] + c * dz
            places = np.stack(np.broadcast_arrays(*at), axis=-1)
            index = ((places @ basis.T - low) / fine).transpose(2, 0, 1)
            share[k] += ndimage.map_coordinates(own, index[::-1], order=1)
    return share / len(SUBPOINTS) ** 3


def _moments(roi: Roi) -> tuple[float, np.ndarray]:
    """Returns volume, mm^3, and its first moment `[3]`, mm^4."""
    basis = _basis(roi)
    volume, moment = 0.0, np.zeros(3)
    for low, high, contours in _slabs(roi, basis):
        v = np.concatenate(contours)[:, 1]
        step = float(v.max() - v.min()) / AREA_LINES
        if step <= 0.0:
            continue
        first = float(v.min()) + 0.5 * step
        line, left, right = _crossings(contours, first, step, AREA_LINES)
        length = (right - left) * step
        area = float(length.sum())
        at = np.array(
            [
                (0.5 * (left + right) * length).sum(),
                ((first + step * line) * length).sum(),
                0.5 * (low + high) * area,
            ]
        )
        volume += area * (high - low)
        moment += at * (high - low)
    return volume, moment @ basis
