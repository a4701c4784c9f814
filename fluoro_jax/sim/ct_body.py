"""A chest CT made ready for training: cubic voxels, the part that a panel sees.

The isocentre is put where the phantom has it, in the middle of the lungs. Above and
below the scan its last slices are repeated as far as the panel sees, so that a frame
has no empty rows; aside of it is air.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, Grid, project_point
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import (
    HU_RANGE,
    CtVolume,
    animate,
    ct_volume,
    find_landmarks,
    find_lung,
)
from fluoro_jax.sim.ct_field import Landmarks
from fluoro_jax.sim.ct_tumor import clearance_mm
from fluoro_jax.sim.xray.projector import project

Array = jax.Array

TAKEN_AT = 0.5  # of the breath, if nothing is known of the scan: ours, as all here
FACE_MM = 8.0  # slices so near the scan's ends tell whether it cuts the lungs
CUT_SHARE = 0.25  # of the lungs' largest cross-section; a trachea has about 0.02
DEPTH_MM = 200.0  # from the isocentre to the skin behind: there the panel sees most
BREATH_MM = 20.0  # and so far above and below what moves comes from
INWARD_MM = 20.0  # from the panel's sides to a tumour's centre, in the isocentre plane
SOLID_G_CC = 0.1  # what is lighter beside the body is left out
BLOCK_MM = 32.0  # sides are a multiple of this: few shapes, so few programs


@dataclass(frozen=True)
class CtBody:
    """A CT as patients are made from it.

    Attributes:
        volume: about the isocentre, cubic voxels; leaves on the host.
        lung: `[Z, Y, X]` bool, likewise.
        landmarks: of its chest.
        mu: `[Z, Y, X]` 1/mm, on the device.
        centres_mm: `[N, 3]` places for a tumour's centre that the panel sees.
        clear_mm: `[N]` from each to the lung's border, rising.
    """

    volume: CtVolume
    lung: np.ndarray
    landmarks: Landmarks
    mu: Array
    centres_mm: np.ndarray
    clear_mm: np.ndarray

    @property
    def room_mm(self) -> float:
        """Diameter of the largest sphere that has room in the lung."""
        return 2.0 * float(self.clear_mm[-1])

    def draw_site(self, rng: np.random.Generator, diameter_mm: float) -> np.ndarray:
        """Returns the centre of a sphere wholly in the lung, `[3]` mm; any as likely.

        Args:
            rng: where the random number comes from.
            diameter_mm: at most `room_mm`.
        """
        first = np.searchsorted(self.clear_mm, 0.5 * diameter_mm)
        # The largest always fits: rounding may not leave an empty range.
        first = min(int(first), len(self.clear_mm) - 1)
        return self.centres_mm[rng.integers(first, len(self.clear_mm))]


def ct_body(
    hu: AnyArray,
    grid: Grid,
    view: Geometry,
    *,
    voxel_mm: float,
    isocentre_mm: Sequence[float] | None = None,
    taken_at: float = TAKEN_AT,
) -> CtBody:
    """Returns a CT ready for training.

    Args:
        hu: `[Z, Y, X]`, LPS axes.
        grid: of the file.
        view: what the panel sees.
        voxel_mm: side of the voxels.
        isocentre_mm: (x, y, z) in the file's coordinates; None takes the middle of the
            lungs.
        taken_at: fraction of the breath at which the CT was taken (0: exhale).

    Raises:
        UserError: no CT, no lungs, lungs that the scan cuts, or none that the panel
            sees.
    """
    # About the file's own origin, so that the isocentre keeps its coordinates.
    volume = ct_volume(*resampled(hu, grid, voxel_mm), isocentre_mm=(0.0, 0.0, 0.0))
    lung = find_lung(volume)
    _check_whole(lung, volume.grid)
    if isocentre_mm is None:
        isocentre_mm = _middle(lung, volume.grid)
    volume = dataclasses.replace(volume, grid=_about(isocentre_mm, volume))
    marks = find_landmarks(lung, volume.grid, taken_at=taken_at)
    centres, clear_mm = _sites(lung, volume.grid, view)
    volume, lung = _seen(volume, lung, view)
    mu = jnp.asarray(volume.mu())
    volume = jax.tree.map(np.asarray, volume)
    return CtBody(volume, lung, marks, mu, centres, clear_mm)


def breathing_frames(
    body: CtBody, breathing: Breathing, time_s: AnyArray, view: Geometry
) -> Array:
    """Returns the line integrals of a breathing CT, `[T, rows, cols]`.

    Args:
        body: the CT.
        breathing: curve and amplitudes.
        time_s: `[T]` s.
        view: of the frames.

    Raises:
        UserError: for more motion than the chest can take (`ct.animate`).
    """
    # One transfer for all frames; the copy goes when they are projected.
    volume, lung = jax.device_put((body.volume, body.lung))
    moments = animate(volume, body.landmarks, breathing, time_s, lung=lung)
    return jnp.stack([project(now.mu(), now.grid, view) for now in moments])


def resampled(hu: AnyArray, grid: Grid, voxel_mm: float) -> tuple[np.ndarray, Grid]:
    """Returns HU at cubic voxels over the same extent, and their grid.

    Finer voxels are averaged in whole numbers of them, then read linearly.
    """
    # Before averaging: padding lies far below air, metal far above bone.
    return cubic(np.clip(np.asarray(hu, np.float32), *HU_RANGE), grid, voxel_mm)


def cubic(values: np.ndarray, grid: Grid, voxel_mm: float) -> tuple[np.ndarray, Grid]:
    """Returns values `[Z, Y, X]` of any kind at cubic voxels, as `resampled` does."""
    spacing = np.array([float(s) for s in grid.spacing_mm[::-1]])
    origin = np.array([float(o) for o in grid.origin_mm[::-1]])
    for axis, step in enumerate(spacing):
        many = min(max(1, int(voxel_mm / step + 1e-6)), values.shape[axis])
        count = values.shape[axis] // many
        values = np.moveaxis(values, axis, 0)[: count * many]
        values = values.reshape(count, many, *values.shape[1:]).mean(axis=1)
        values = np.moveaxis(values, 0, axis)
        origin[axis] += 0.5 * (many - 1) * step
        spacing[axis] *= many
    length = (np.array(values.shape) - 1) * spacing
    count = np.maximum(1, np.floor(length / voxel_mm + 1e-6).astype(int) + 1)
    values = ndimage.affine_transform(
        values, voxel_mm / spacing, output_shape=tuple(count), order=1, mode="nearest"
    )
    z, y, x = map(float, origin)
    return values, Grid((x, y, z), (voxel_mm, voxel_mm, voxel_mm))


def _check_whole(lung: np.ndarray, grid: Grid) -> None:
    """Refuses a scan whose first or last slices hold much lung."""
    area = lung.sum(axis=(1, 2))
    near = 1 + int(np.ceil(FACE_MM / float(grid.spacing_mm[2])))
    for name, slices in (("lowest", area[:near]), ("highest", area[-near:])):
        share = slices.max() / area.max()
        if share > CUT_SHARE:
            raise UserError(
                f"a CT whose {name} slices cut the lungs ({100.0 * share:.0f} % of "
                "their largest cross-section)",
                needed=f"whole lungs: at most {100.0 * CUT_SHARE:.0f} %",
                why="apex and diaphragm say how the chest breathes",
                fix="take a scan of the whole chest",
            )


def _middle(lung: np.ndarray, grid: Grid) -> list[float]:
    """Returns the middle (x, y, z) of the lungs' box, mm."""
    ends = []
    for axis in (2, 1, 0):
        profile = lung.sum(axis=tuple({0, 1, 2} - {axis}))
        share = np.cumsum(profile) / profile.sum()
        # Without the outermost hundredth: a trachea goes on above the lungs.
        ends.append(0.5 * (np.argmax(share > 0.01) + np.argmax(share > 0.99)))
    return [
        float(o) + float(end) * float(d)
        for o, end, d in zip(grid.origin_mm, ends, grid.spacing_mm, strict=True)
    ]


def _about(middle: Sequence[float], volume: CtVolume) -> Grid:
    """Returns the volume's grid with the isocentre at `middle`."""
    x, y, z = (o - m for o, m in zip(volume.grid.origin_mm, middle, strict=True))
    return Grid((x, y, z), volume.grid.spacing_mm)


def _sites(
    lung: np.ndarray, grid: Grid, view: Geometry
) -> tuple[np.ndarray, np.ndarray]:
    """Returns centres `[N, 3]` mm and their clearances `[N]`, rising."""
    clear = clearance_mm(lung, grid)
    index = np.argwhere(lung)
    centres = np.array(grid.origin_mm) + index[:, ::-1] * np.array(grid.spacing_mm)
    centres, clear = centres.astype(np.float32), clear[lung].astype(np.float32)
    place = np.asarray(project_point(view, centres))
    pitch = np.array([float(p) for p in view.pixel_mm])
    margin = INWARD_MM * float(view.sdd_mm) / float(view.sad_mm) / pitch
    inside = (place >= margin) & (
        place <= np.array([view.rows, view.cols]) - 1 - margin
    )
    seen = inside.all(axis=1)
    if not seen.any():
        raise UserError(
            "a CT whose lungs lie outside of the panel's view",
            needed="a place for a tumour that the panel sees",
            why="an example shows its tumour",
            fix="a larger --config.study.detector_mm",
        )
    order = np.argsort(clear[seen], kind="stable")
    return centres[seen][order], clear[seen][order]


def _seen(
    volume: CtVolume, lung: np.ndarray, view: Geometry
) -> tuple[CtVolume, np.ndarray]:
    """Returns what the panel sees, in a volume of one of few shapes."""
    voxel = float(volume.grid.spacing_mm[2])
    origin = [float(o) for o in volume.grid.origin_mm]
    half_panel = 0.5 * view.rows * float(view.pixel_mm[0]) / float(view.sdd_mm)
    reach = half_panel * (float(view.sad_mm) + DEPTH_MM) + BREATH_MM
    low = round((-reach - origin[2]) / voxel)
    slices = low + np.arange(round(2.0 * reach / voxel) + 1)
    slices = np.clip(slices, 0, lung.shape[0] - 1)
    solid = np.asarray(volume.soft + volume.bone)[slices] > SOLID_G_CC
    rows, cols = (_extent(np.any(solid, axis=axes), voxel) for axes in ((0, 2), (0, 1)))
    cut: Any = lambda values: np.pad(
        np.asarray(values)[slices][:, rows[0], cols[0]], ((0, 0), rows[1], cols[1])
    )
    starts = (cols[0].start, rows[0].start, low)
    x, y, z = (o + voxel * start for o, start in zip(origin, starts, strict=True))
    grid = Grid((x, y, z), volume.grid.spacing_mm)
    part = CtVolume(cut(volume.soft), cut(volume.bone), grid)
    return part, cut(lung)


def _extent(used: Any, voxel_mm: float) -> tuple[slice, tuple[int, int]]:
    """Returns the part of an axis `[N]` that is used, and voxels to add after it."""
    first, last = np.flatnonzero(used)[[0, -1]]
    # One voxel more: the volume falls to zero over its outermost.
    part = slice(max(0, int(first) - 1), min(len(used), int(last) + 2))
    block = max(1, round(BLOCK_MM / voxel_mm))
    return part, (0, -(part.stop - part.start) % block)
