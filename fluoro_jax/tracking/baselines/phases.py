"""A patient's planning phases: what a 4DCT and its contours give a tracker.

Every phase is registered to the reference phase, and the contours of the tumour correct
the fields around it. The phantom's own motion is not used: a tracker built of this
knows what a clinic would know.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, Grid
from fluoro_jax.io.registration import register
from fluoro_jax.sim.background import Case
from fluoro_jax.sim.body import solids, volume
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.lung import breathing_displacement_mm, lung_density
from fluoro_jax.sim.tumor.tumor import tumor_path_mm
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.outline import inside_voxels, shadows
from fluoro_jax.tracking.baselines.tumor_voxels import tumor_share
from fluoro_jax.tracking.checks import Reference

FEWEST_PHASES = 4  # three modes and the mean
CONTOUR_MM = 12.0  # standard deviation of the correction beyond the tumour's outline
WATER_MU = att.SOFT_MU_PER_DENSITY  # 1/mm at 60 keV, 1 g/cc
AIR_HU, MOST_HU = -1000.0, 3000.0


@dataclass(frozen=True)
class PatientPhases:
    """Volumes, contours and displacements of P planning phases.

    Attributes:
        mu: `[P, Z, Y, X]` float32 attenuation at 60 keV, 1/mm, tumour included.
        share: `[P, Z, Y, X]` float32 share of each voxel inside the tumour, 0 to 1.
        grid: where the voxels are, LPS mm about the isocentre.
        fields_mm: `[P, 3, Z, Y, X]` float32 (x, y, z) LPS mm on the same voxels;
            tissue at a place of phase p lies at place + field in the reference phase.
        reference: index of the reference phase.
        view: of the clips that are to be tracked.

    Raises:
        UserError: too few phases, arrays that do not belong together, or a phase
            without a tumour.
    """

    mu: np.ndarray
    share: np.ndarray
    grid: Grid
    fields_mm: np.ndarray
    reference: int
    view: Geometry

    def __post_init__(self) -> None:
        count, size = len(self.mu), self.mu.shape[1:]
        if count < FEWEST_PHASES or not 0 <= self.reference < count:
            _refuse(
                f"{count} phases with reference {self.reference}",
                f"at least {FEWEST_PHASES}, the reference among them",
            )
        same = self.share.shape == self.mu.shape
        if not same or self.fields_mm.shape != (count, 3, *size):
            _refuse(
                f"mu {self.mu.shape}, share {self.share.shape}, fields_mm "
                f"{self.fields_mm.shape}",
                "[P, Z, Y, X] twice and [P, 3, Z, Y, X]",
            )
        if not (self.share.max(axis=(1, 2, 3)) > 0.0).all():
            _refuse("a phase without a tumour", "the tumour's contours in every phase")

    def moved(self, shift_mm: np.ndarray) -> PatientPhases:
        """Returns the same patient `shift_mm` (`[3]`, LPS mm) further in the room."""
        origin = np.asarray(self.grid.origin_mm, float) + shift_mm
        x, y, z = (float(value) for value in origin)
        return dataclasses.replace(self, grid=Grid((x, y, z), self.grid.spacing_mm))

    def films(self) -> tuple[Reference, ...]:
        """Returns a radiograph of every phase and the tumour's mask in it.

        Each `[rows, cols]`: line integrals [1], and 1 where a ray runs through the
        tumour's outline (`outline.fine_outlines`) for `EDGE_MM` or more.
        """
        run = lambda v: np.asarray(projector.project(v, self.grid, self.view))
        masks = shadows(self.share, self.grid, self.view)
        return tuple((run(mu), mask) for mu, mask in zip(self.mu, masks, strict=True))


def phases_of_case(
    case: Case,
    geometry: Geometry,
    *,
    phases: int = 10,
    voxel_mm: float = 5.0,
    iterations: int = 50,
) -> PatientPhases:
    """Returns the planning 4DCT of a phantom case, registered.

    On the planning day the patient breathes evenly, with the amplitudes of the case.
    Phase 0, full exhale, is the reference.

    Args:
        case: patient, breath and tumour; its times are not used.
        geometry: the view of the clips that are to be tracked.
        phases: at even distances of one breath.
        voxel_mm: side of the cubic voxels, of volumes and fields.
        iterations: of the registration, at most, on each of three levels.

    Raises:
        UserError: too few phases, or SimpleITK is not installed.
    """
    even = dataclasses.replace(case.breathing, trace=None, breaths=None)
    cycles = np.arange(phases) / phases - float(even.start)
    time_s = (cycles * float(even.period_s)).astype(np.float32)
    grid, shape = solids.body_grid(voxel_mm)
    path_mm = np.asarray(tumor_path_mm(case.tumor, even, time_s, case.anatomy), float)
    share = np.stack([tumor_share(case.tumor, at, grid, shape) for at in path_mm])
    body = _bodies(case.anatomy, even, time_s, voxel_mm)
    mu = body + share * (att.mu_tumor(float(case.tumor.density_g_cc)) - body)
    mu = mu.astype(np.float32)
    fields = register_to_first(mu, share, grid, iterations=iterations)
    return PatientPhases(mu, share, grid, fields, 0, geometry)


def register_to_first(
    mu: np.ndarray, share: np.ndarray, grid: Grid, *, iterations: int
) -> np.ndarray:
    """Returns the displacement from every phase to phase 0, `[P, 3, Z, Y, X]` LPS mm.

    By demons (`io.registration`). What the contours say is then added: around the
    tumour, and less further away, a shift that brings its centroid to that of phase 0.

    Args:
        mu: `[P, Z, Y, X]` 1/mm at 60 keV.
        share: `[P, Z, Y, X]` of each voxel inside the tumour.
        grid: of both, cubic voxels.
        iterations: at most, on each of three levels.

    Raises:
        UserError: if SimpleITK is not installed.
    """
    hu = np.clip(1000.0 * (mu / WATER_MU - 1.0), AIR_HU, MOST_HU)
    side_mm = float(grid.spacing_mm[0])
    fields = np.zeros((len(mu), 3, *mu.shape[1:]), np.float32)
    target = centroid_mm(share[0], grid)
    for index in range(1, len(mu)):
        found = register(
            hu[index], hu[0], grid, spacing_mm=side_mm, iterations=iterations
        )
        field = found.field_mm
        weight = share[index] / share[index].sum()
        moved = centroid_mm(share[index], grid) + (field * weight).sum(axis=(1, 2, 3))
        away_mm: Any = ndimage.distance_transform_edt(
            ~inside_voxels(share[index]), sampling=side_mm
        )
        near = np.exp(-0.5 * np.square(away_mm / CONTOUR_MM))
        fields[index] = field + near * (target - moved).reshape(3, 1, 1, 1)
    return fields


def centroid_mm(share: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the centroid of a share of voxels `[Z, Y, X]`, `[3]` (x, y, z) mm."""
    index = np.array(ndimage.center_of_mass(share))[::-1]
    return np.array(grid.origin_mm, float) + index * np.array(grid.spacing_mm, float)


def _bodies(
    anatomy: Anatomy, breathing: Any, time_s: np.ndarray, voxel_mm: float
) -> np.ndarray:
    """Returns the patient without the tumour at each time, `[T, Z, Y, X]` 1/mm."""
    still = _draw_still(anatomy, voxel_mm)
    si_mm, ap_mm = breathing_displacement_mm(breathing, time_s)
    density = lung_density(anatomy, breathing, time_s)
    moments = zip(si_mm, ap_mm, density, strict=True)
    return np.stack([_body(anatomy, voxel_mm, still, now) for now in moments])


@functools.partial(jax.jit, static_argnums=1)
def _draw_still(anatomy: Anatomy, voxel_mm: float) -> volume.Still:
    return volume.draw_still(anatomy, *solids.body_grid(voxel_mm))


@functools.partial(jax.jit, static_argnums=1)
def _body(anatomy: Anatomy, voxel_mm: float, still: volume.Still, now: Any) -> Any:
    si_mm, ap_mm, lung_g_cc = now
    return volume.body_volume(
        solids.body_grid(voxel_mm)[0],
        still=still,
        moved=volume.move(anatomy, still.vessel, (si_mm, ap_mm)),
        mu_lung=jnp.asarray(att.mu_lung(lung_g_cc)),
    )


def _refuse(found: str, needed: str) -> None:
    raise UserError(
        found,
        needed=needed,
        why="the motion model is made of the displacements between phases",
        fix="pass every phase of the 4DCT, with contours and fields on one grid",
    )
