"""A CT volume as simulator input: HU to attenuation, and breathing motion.

Attenuation. A voxel is a mixture of soft tissue and cortical bone. Two conditions give
the two densities: together they attenuate at the CT's own energy as its HU says, and
together they weigh what the HU-density line says. Where a share would be negative there
is none: below about 55 HU all is soft tissue.

Motion. The field of `ct_field`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Grid
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct_field import (
    Landmarks,
    check_field,
    displacement_mm,
    tissue_origin_mm,
)
from fluoro_jax.sim.xray.attenuation import BONE_MU_PER_DENSITY, SOFT_MU_PER_DENSITY

Array = jax.Array
Scalar = Any

# Attenuation over density, 1/mm per g/cm^3: ICRU 44 compositions, Elam et al. 2002.
CT_SOFT_MU_PER_DENSITY = 0.02031 / 1.06  # at 70 keV, the effective energy of 120 kVp
CT_BONE_MU_PER_DENSITY = 0.04935 / 1.92
CT_WATER = 0.01929  # 1/mm
# Density of tissue denser than water, g/cc: 1.03 + 0.5886 HU/1000 (as in DeepDRR,
# Unberath et al. 2018, doi:10.1007/978-3-030-00937-3_12).
DENSITY_AT_0 = 1.03
DENSITY_PER_HU = 0.5886e-3
HU_RANGE = (-1000.0, 3071.0)  # padding lies below, metal above

LUNG_DENSITY_G_CC = 0.6  # lung is lighter than this
LEAST_LUNG_ML = 200.0
VESSEL_MM = 3.0  # half the gap that a vessel may leave in the lung
APEX_SHARE = 0.05  # of the lungs' largest cross-section; a trachea has about 0.02


@struct.dataclass
class CtVolume:
    """A volume as two densities.

    Attributes:
        soft: `[Z, Y, X]` g/cc of soft tissue, lung and air included.
        bone: `[Z, Y, X]` g/cc of cortical bone.
        grid: where the voxels are.
    """

    soft: Array
    bone: Array
    grid: Grid

    def mu(self) -> Array:
        """Returns attenuation at 60 keV, `[Z, Y, X]` 1/mm, for `projector.project`."""
        return SOFT_MU_PER_DENSITY * self.soft + BONE_MU_PER_DENSITY * self.bone


def densities(hu: AnyArray) -> tuple[Array, Array]:
    """Returns soft tissue and bone of each voxel, g/cc.

    With a = 1 + HU/1000 in units of water, attenuation over density s, b at the CT's
    70 keV and the density line rho(HU): soft + bone = rho and
    s soft + b bone = a mu_water.

    Args:
        hu: any shape; clipped to -1000 ... 3071.

    Returns:
        (soft, bone), same shape, never negative; exact in attenuation at 70 keV.
    """
    hu = jnp.clip(jnp.asarray(hu, jnp.float32), *HU_RANGE)
    mu = CT_WATER * (1.0 + hu / 1000.0)
    rho = DENSITY_AT_0 + DENSITY_PER_HU * hu
    soft_mu, bone_mu = CT_SOFT_MU_PER_DENSITY, CT_BONE_MU_PER_DENSITY
    bone = jnp.clip((mu - soft_mu * rho) / (bone_mu - soft_mu), 0.0, mu / bone_mu)
    soft = (mu - bone_mu * bone) / soft_mu
    return jnp.maximum(soft, 0.0), bone


def ct_volume(hu: Any, grid: Grid, *, isocentre_mm: Any = None) -> CtVolume:
    """Returns a CT as two density volumes about the isocentre.

    Args:
        hu: `[Z, Y, X]`, LPS axes.
        grid: of the file.
        isocentre_mm: (x, y, z) of the isocentre in the file's coordinates; None takes
            the middle of the volume.

    Returns:
        The volume, its grid about the isocentre.

    Raises:
        UserError: for values that are no numbers, HU that no CT has, or voxels without
            a size.
    """
    numbers = np.array([*grid.spacing_mm, *grid.origin_mm], float)
    if not np.isfinite(numbers).all() or numbers[:3].min() <= 0.0:
        raise UserError(
            f"a CT of voxels {grid.spacing_mm} mm at {grid.origin_mm} mm",
            needed="(x, y, z) sizes of more than 0 mm and a finite origin",
            why="rays are measured in millimetres",
            fix="correct the file's spacing and origin",
        )
    hu = np.asarray(hu, np.float32)
    wrong = np.count_nonzero(~np.isfinite(hu))
    if wrong:
        raise UserError(
            f"{wrong} of {hu.size} voxels of the CT are not numbers",
            needed="finite HU everywhere",
            why="one such voxel spoils every ray through it",
            fix="write air outside of the scan: numpy.nan_to_num(hu, nan=-1000)",
        )
    if hu.min() >= 0.0:
        raise UserError(
            f"CT values from {hu.min():g} to {hu.max():g}",
            needed="Hounsfield units: air -1000, water 0",
            why="without air there is no lung; these look like stored values",
            fix="apply RescaleSlope and RescaleIntercept (often subtract 1024)",
        )
    if isocentre_mm is None:
        shape = hu.shape[::-1]
        isocentre_mm = [
            o + 0.5 * (n - 1) * d
            for o, n, d in zip(grid.origin_mm, shape, grid.spacing_mm, strict=True)
        ]
    x, y, z = (float(o - c) for o, c in zip(grid.origin_mm, isocentre_mm, strict=True))
    dx, dy, dz = map(float, grid.spacing_mm)
    return CtVolume(*densities(hu), Grid((x, y, z), (dx, dy, dz)))


def find_lung(volume: CtVolume) -> np.ndarray:
    """Returns the lungs: light tissue inside the body, small vessels filled in.

    Returns:
        `[Z, Y, X]` bool. Air that touches the volume's sides is not lung, nor are parts
        smaller than `LEAST_LUNG_ML` beside one that is not: bowel gas. The trachea,
        which joins the lungs, is.

    Raises:
        UserError: if that leaves no lung, as in a scan cropped through it.
    """
    density = np.asarray(volume.soft + volume.bone)
    light = density < LUNG_DENSITY_G_CC
    parts = np.zeros(light.shape, np.int32)
    ndimage.label(light, output=parts)
    faces = [parts[:, :1], parts[:, -1:], parts[:, :, :1], parts[:, :, -1:]]
    outside = np.unique(np.concatenate([face.ravel() for face in faces]))
    inside = light & ~np.isin(parts, outside)
    lung = _lungs_alone(_closed(inside, volume.grid), volume.grid)
    _check_lung(lung, volume.grid)
    return lung


def _closed(light: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns light tissue with gaps of up to twice `VESSEL_MM` filled."""
    spacing = np.array([float(s) for s in grid.spacing_mm[::-1]])
    # Half a voxel more: the distance is rounded to whole ones.
    reach = VESSEL_MM + 0.5 * spacing.min()
    steps = (reach / spacing).astype(int)
    offsets = np.indices(2 * steps + 1) - steps.reshape(3, 1, 1, 1)
    # Millimetres along the axes, so that thick slices are not reached across.
    ball = np.tensordot(spacing, np.abs(offsets), axes=1) <= reach
    # As if the faces went on: closing takes away what lies at them otherwise.
    padded = np.pad(light, [(n, n) for n in steps], mode="edge")
    inner = tuple(
        slice(n, n + size) for n, size in zip(steps, light.shape, strict=True)
    )
    return ndimage.binary_closing(padded, ball)[inner]


def _lungs_alone(light: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the parts of light tissue that are as large as a lung: no bowel gas."""
    parts = np.zeros(light.shape, np.int32)
    ndimage.label(light, output=parts)
    volume_ml = np.bincount(parts.ravel()) * np.prod(grid.spacing_mm) / 1000.0
    keep = volume_ml >= LEAST_LUNG_ML
    keep[0] = False
    # Two halves may each be too small where the whole was not; then all of it counts.
    return keep[parts] if keep.any() else light


def find_landmarks(lung: np.ndarray, grid: Grid, *, taken_at: float = 0.0) -> Landmarks:
    """Returns landmarks from the extent of the lungs.

    The apex is the highest slice with more than `APEX_SHARE` of the largest one's lung:
    the trachea goes on above. The dome is the median of the lungs' lower surface; spine
    and sternum are the back (a quarter in) and the front of their box.

    Raises:
        UserError: if there is no lung.
    """
    _check_lung(lung, grid)
    _, y, x = np.nonzero(lung)
    area = lung.sum(axis=(1, 2))
    apex = np.flatnonzero(area > APEX_SHARE * area.max())[-1]
    place = lambda index, axis: (
        grid.origin_mm[axis] + float(index) * grid.spacing_mm[axis]
    )
    columns = lung.any(axis=0)
    lowest = np.argmax(lung, axis=0)[columns]
    left, right = place(x.min(), 0), place(x.max(), 0)
    front, back = place(y.min(), 1), place(y.max(), 1)
    return Landmarks(
        apex_mm=place(apex, 2),
        dome_mm=place(np.median(lowest), 2),
        spine_mm=back - 0.25 * (back - front),
        sternum_mm=front,
        back_mm=back,
        middle_mm=0.5 * (left + right),
        half_width_mm=0.5 * (right - left),
        taken_at=taken_at,
    )


def _check_lung(lung: np.ndarray, grid: Grid) -> None:
    found_ml = float(np.count_nonzero(lung) * np.prod(grid.spacing_mm) / 1000.0)
    if found_ml < LEAST_LUNG_ML:
        raise UserError(
            f"{found_ml:.0f} ml of lung in the CT",
            needed=f"at least {LEAST_LUNG_ML:g} ml of light tissue (under "
            f"{LUNG_DENSITY_G_CC:g} g/cc) that does not touch the volume's sides",
            why="landmarks and mass are read off the lungs; outside air is not lung",
            fix="pass a lung mask (lung=...) of your own, or a CT that is not cropped",
        )


def animate(
    volume: CtVolume,
    landmarks: Landmarks,
    breathing: Breathing,
    time_s: Any,
    *,
    lung: np.ndarray | None = None,
) -> Iterator[CtVolume]:
    """Yields a static CT deformed by breathing, one volume a time.

    Tissue keeps its density and moves; lung is stretched, and thins so that its mass
    stays (density divided by the field's Jacobian determinant).

    Args:
        volume: the CT.
        landmarks: of the chest in it.
        breathing: curve and amplitudes.
        time_s: `[T]` s.
        lung: `[Z, Y, X]` bool; None finds it.

    Yields:
        T volumes on the same grid.

    Raises:
        UserError: at once, if the field's Jacobian would leave 0.2 to 1.8.
    """
    time_s = np.asarray(time_s, np.float32)
    moves = displacement_mm(landmarks, breathing, time_s)
    si, ap = (np.asarray(move) for move in moves)
    check_field(landmarks, si, ap)
    inside = find_lung(volume) if lung is None else lung
    share = jnp.asarray(inside, jnp.float32)
    return (
        _warp(volume, landmarks, share, jnp.float32(s), jnp.float32(a))
        for s, a in zip(si, ap, strict=True)
    )


@jax.jit
def _warp(
    volume: CtVolume, landmarks: Landmarks, lung: Array, si_mm: Array, ap_mm: Array
) -> CtVolume:
    """Returns the volume moved by a forward field, by its inverse at every voxel."""
    nz, ny, nx = volume.soft.shape
    (x0, y0, z0), (dx, dy, dz) = volume.grid.origin_mm, volume.grid.spacing_mm
    x = (x0 + dx * jnp.arange(nx, dtype=jnp.float32)).reshape(1, 1, nx)
    y = (y0 + dy * jnp.arange(ny, dtype=jnp.float32)).reshape(1, ny, 1)
    z = (z0 + dz * jnp.arange(nz, dtype=jnp.float32)).reshape(nz, 1, 1)
    (_, from_y, from_z), jacobian = tissue_origin_mm(landmarks, (x, y, z), si_mm, ap_mm)
    # Trilinear reading in two steps along one axis each: x does not move, and y moves
    # alike in all columns.
    rows, heights = _taps((from_y - y0) / dy, ny), _taps((from_z - z0) / dz, nz)

    def read(values: Array) -> Array:
        take = functools.partial(jnp.take, axis=1, mode="clip")
        low, high = (take(values, i.ravel()) * weight for i, weight in rows)
        take = functools.partial(jnp.take_along_axis, low + high, axis=0, mode="clip")
        low, high = (take(i) * weight for i, weight in heights)
        return low + high

    thin = read(volume.soft * lung) / jacobian
    soft = thin + read(volume.soft * (1.0 - lung))
    return dataclasses.replace(volume, soft=soft, bone=read(volume.bone))


def _taps(index: Array, count: int) -> tuple[tuple[Array, Array], ...]:
    """Returns two (voxel, weight) that read linearly at an index, held at the ends."""
    index = jnp.clip(index, 0.0, count - 1.0)
    low = jnp.clip(jnp.floor(index), 0.0, max(count - 2.0, 0.0))
    share, low = index - low, low.astype(jnp.int32)
    return (low, 1.0 - share), (jnp.minimum(low + 1, count - 1), share)
