"""Motion between the phases of a 4DCT, and volumes at any breathing position.

Every phase is registered to a reference phase. Between phases the displacement is a
periodic cubic spline in the phase; a factor on it gives deeper and shallower breaths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.registration import register
from fluoro_jax.io.straighten import AIR_HU
from fluoro_jax.io.volumes import FourDCt

LUNG_HU = (-950.0, -300.0)
MOST_AMPLITUDE = 1.5  # beyond, the field may fold
INVERSE_STEPS = 15  # of a fixed point; converges where the field does not fold


@dataclass(frozen=True)
class PhaseMotion:
    """Displacements from a reference phase to every phase.

    Attributes:
        percents: `[P]` of the breathing cycle, rising.
        reference: index of the phase that displacements start from.
        fields_mm: `[P, 3, Z, Y, X]` float32 (x, y, z) LPS mm on `grid`; tissue at a
            place of the reference phase is at place + field; zero at `reference`.
        grid: of the fields, coarser than the CT's.
        before_hu: `[P]` root mean square difference from the reference, unregistered.
        after_hu: `[P]` the same after registration.
        inverse_mm: 95th percentile in lung of |forward + backward| displacement, each
            found on its own, of the phase that differs most from the reference.
    """

    percents: np.ndarray
    reference: int
    fields_mm: np.ndarray
    grid: Grid
    before_hu: np.ndarray
    after_hu: np.ndarray
    inverse_mm: float


def register_phases(
    four_d: FourDCt,
    *,
    reference: int = 0,
    spacing_mm: float = 4.0,
    iterations: int = 50,
) -> PhaseMotion:
    """Registers every phase to the reference phase, and one back as a check.

    Args:
        four_d: the phases.
        reference: index of a phase; end of exhale is the most reproducible.
        spacing_mm: side of the voxels that fields are found on.
        iterations: at most, on each of three levels; half of them on the finest.

    Returns:
        The fields with their residuals.

    Raises:
        UserError: if SimpleITK is not installed.
    """
    fixed = four_d.phases[reference].hu
    run = lambda a, b: register(
        a, b, four_d.grid, spacing_mm=spacing_mm, iterations=iterations
    )
    found = {
        index: run(fixed, phase.hu)
        for index, phase in enumerate(four_d.phases)
        if index != reference
    }
    worst = max(found, key=lambda index: found[index].before_hu)
    grid, there = found[worst].grid, found[worst].field_mm
    back = run(four_d.phases[worst].hu, fixed).field_mm
    places = _places(grid, there.shape[1:])
    left = np.linalg.norm(there + _read_field(back, grid, places + there), axis=0)
    # In air and in even soft tissue nothing says where a voxel went.
    here = _read_field(fixed[None], four_d.grid, places)[0]
    lung = (here > LUNG_HU[0]) & (here < LUNG_HU[1])
    inverse_mm = float(np.percentile(left[lung] if lung.any() else left, 95.0))
    fields = np.zeros((len(four_d.phases), *there.shape), np.float32)
    before, after = np.zeros((2, len(fields)))
    for index, one in found.items():
        fields[index] = one.field_mm
        before[index], after[index] = one.before_hu, one.after_hu
    return PhaseMotion(
        four_d.percents, reference, fields, grid, before, after, inverse_mm
    )


def field_at(
    motion: PhaseMotion, percent: float, *, amplitude: float = 1.0
) -> np.ndarray:
    """Returns the displacement at any moment of the cycle.

    Args:
        motion: of `register_phases`.
        percent: of the cycle, any real number (periodic).
        amplitude: factor on the displacement from the reference phase, 0 to 1.5; 1 is
            as scanned.

    Returns:
        `[3, Z, Y, X]` float32 (x, y, z) LPS mm on `motion.grid`.

    Raises:
        UserError: for another amplitude.
    """
    if not 0.0 <= amplitude <= MOST_AMPLITUDE:
        refuse(
            f"amplitude {amplitude:g}",
            f"from 0 to {MOST_AMPLITUDE:g}",
            why="far beyond the scanned breath the field is a guess and may fold",
            fix="choose a smaller factor",
        )
    return np.tensordot(
        amplitude * phase_weights(motion.percents, percent), motion.fields_mm, axes=1
    ).astype(np.float32)


def phase_weights(percents: np.ndarray, percent: float) -> np.ndarray:
    """Returns the weight of every phase at a moment of the cycle, `[P]`, sum 1.

    A periodic cubic spline through the phases; at a phase its weight is 1.
    """
    knots = np.append(percents, percents[0] + 100.0)
    values = np.eye(len(percents))
    spline = CubicSpline(knots, np.vstack([values, values[:1]]), bc_type="periodic")
    at = percents[0] + (percent - percents[0]) % 100.0
    return np.asarray(spline(at))


def move_points(
    motion: PhaseMotion, points_mm: np.ndarray, field_mm: np.ndarray
) -> np.ndarray:
    """Returns where points of the reference phase are.

    Args:
        motion: gives the grid.
        points_mm: `[N, 3]` LPS mm in the reference phase.
        field_mm: of `field_at`.

    Returns:
        `[N, 3]` LPS mm; outside of the field the nearest displacement is taken.
    """
    points = np.asarray(points_mm, float)
    return points + _read_field(field_mm, motion.grid, points.T).T


def volume_at(
    hu: np.ndarray, grid: Grid, motion: PhaseMotion, field_mm: np.ndarray
) -> np.ndarray:
    """Returns the reference volume deformed by a displacement.

    Args:
        hu: `[Z, Y, X]` of the reference phase.
        grid: of the volume.
        motion: gives the field's grid.
        field_mm: of `field_at`.

    Returns:
        HU `[Z, Y, X]` float32 on the same grid; densities are carried, not thinned.
    """
    back = inverse_field(field_mm, motion.grid)
    moved = np.empty(hu.shape, np.float32)
    spacing = np.array([float(s) for s in grid.spacing_mm])
    origin = np.array([float(o) for o in grid.origin_mm])
    slab = (1, *hu.shape[1:])
    for k in range(hu.shape[0]):  # slice by slice: places take eight times the memory
        at = Grid((origin[0], origin[1], origin[2] + k * spacing[2]), grid.spacing_mm)
        places = _places(at, slab)
        places = places + _read_field(back, motion.grid, places)
        index = (places - origin[:, None, None, None]) / spacing[:, None, None, None]
        moved[k] = ndimage.map_coordinates(
            hu, index[::-1], order=1, mode="constant", cval=AIR_HU
        )[0]
    return moved


def inverse_field(field_mm: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the displacement v with v(y) = -u(y + v(y)), `[3, Z, Y, X]` mm.

    By a fixed point, which converges where the field does not fold.
    """
    places = _places(grid, field_mm.shape[1:])
    back = -np.asarray(field_mm)
    for _ in range(INVERSE_STEPS):
        back = -_read_field(field_mm, grid, places + back)
    return back


def folding(field_mm: np.ndarray, grid: Grid) -> float:
    """Returns the least Jacobian determinant of place + field; below 0 it folds."""
    spacing = [float(s) for s in grid.spacing_mm]
    jacobian = np.empty((*field_mm.shape[1:], 3, 3), np.float32)
    for i in range(3):
        # Array axes run z, y, x.
        slopes: Any = np.gradient(field_mm[i], *spacing[::-1])
        for j in range(3):
            jacobian[..., i, j] = slopes[2 - j] + (i == j)
    return float(np.linalg.det(jacobian).min())


def _places(grid: Grid, shape: Any) -> np.ndarray:
    """Returns the places of voxels, `[3, Z, Y, X]` (x, y, z) mm."""
    axes = [
        float(o) + float(d) * np.arange(n)
        for o, d, n in zip(grid.origin_mm, grid.spacing_mm, shape[::-1], strict=True)
    ]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return np.stack([x, y, z])


def _read_field(field_mm: np.ndarray, grid: Grid, places_mm: np.ndarray) -> np.ndarray:
    """Returns a field at places `[3, ...]` mm, linear between voxels, held outside."""
    ends = (3,) + (1,) * (places_mm.ndim - 1)
    origin = np.array([float(o) for o in grid.origin_mm]).reshape(ends)
    spacing = np.array([float(s) for s in grid.spacing_mm]).reshape(ends)
    index = ((places_mm - origin) / spacing)[::-1]
    return np.stack(
        [
            ndimage.map_coordinates(part, index, order=1, mode="nearest")
            for part in field_mm
        ]
    )
