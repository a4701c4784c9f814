"""Simulated fluoroscopy: a case and a view in, a clip with its ground truth out.

A clip is the line integrals of the patient plus those of the tumour: the patient is
rendered once (background.py), and any tumour is added in closed form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, lps_to_iec
from fluoro_jax.sim.background import (
    CM_PER_MM,
    Case,
    check_photons,
    heart_phase,
    in_chunks,
    lung_at,
    render_areal_density,
    render_body,
)
from fluoro_jax.sim.body import solids, tissues
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.motion import pose_at
from fluoro_jax.sim.lung import LungState, breathing_displacement_mm, lung_density
from fluoro_jax.sim.tumor.replaced import replaced_path_mm
from fluoro_jax.sim.tumor.shapes import even_directions
from fluoro_jax.sim.tumor.tumor import (
    Tumor,
    tumor_centroid_px,
    tumor_chord_mm,
    tumor_path_mm,
)
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import detector
from fluoro_jax.sim.xray.exposure import Exposure
from fluoro_jax.sim.xray.photon_noise import draw_quanta

__all__ = [  # beside what is defined here
    "Case",
    "breathing_displacement_mm",
    "heart_phase",
    "lung_at",
    "lung_density",
    "render_areal_density",
    "render_body",
]

Array = jax.Array
Scalar = Any
SURFACE = even_directions(200).astype(np.float32)


def add_tumor(
    background: Array,
    case: Case,
    geometry: Geometry,
    *,
    photons: Scalar = 0.0,
    key: Array | None = None,
    lung: LungState | None = None,
) -> Clip:
    """Returns a clip of the case: its tumour in place of the tissue that was there.

    Along every ray, with chord c and lengths v, a of vessel and of airway within it,
    L_new = L + (mu_tumor - mu_lung(t)) c - (mu_blood - mu_lung(t)) v + mu_lung(t) a.
    This holds only while the tumour lies wholly in the lung (`lung_clearance_mm` >= 0).

    Args:
        background: `[T, rows, cols]` from `render_body` of the same patient, times and
            view.
        case: the case.
        geometry: the view.
        photons: unattenuated quanta a pixel; 0 leaves the clip without noise.
        key: a typed JAX key; needed for noise only.
        lung: `lung_at` of the case, if it is at hand: where many tumours are put into
            one patient it need not be computed for each.

    Returns:
        The clip with its exact truth.
    """
    noisy = key is not None and not _is_zero(photons)
    lung = lung_at(case) if lung is None else lung
    tumor, body = case.tumor, (case.breathing, case.anatomy)
    run = lambda chunk: _tumor_frames(*chunk, tumor, body, geometry)
    parts = (background, case.time_s, lung)
    frames, mask, centroid, centre = in_chunks(run, parts, (case, geometry))
    if noisy:
        frames = jitted_quantum_noise(frames, key, photons)
    return Clip(
        frames=frames,
        time_s=jnp.asarray(case.time_s, jnp.float32),
        geometry=geometry,
        mask=mask,
        centroid_px=centroid,
        centre_mm=centre,
        periodic=case.periodic,
    )


Body = tuple[Breathing, Anatomy]


@jax.jit
def _tumor_frames(
    background: Array,
    time_s: AnyArray,
    lung: LungState,
    tumor: Tumor,
    body: Body,
    geometry: Geometry,
) -> tuple[Array, Array, Array, Array]:
    """Returns frames, mask, centroid px and centre mm (IEC) of some frames."""
    path = tumor_path_mm(tumor, body[0], time_s, body[1])
    chord, vessel, airway = _tumor_lengths(path, lung, tumor, geometry)
    mu_lung = att.mu_lung(lung.density_g_cc.reshape(-1, 1, 1))
    frames = background + (att.mu_tumor(tumor.density_g_cc) - mu_lung) * chord
    frames = frames - (att.BLOOD - mu_lung) * vessel + mu_lung * airway
    mask = (chord > 0.0).astype(jnp.float32)
    centroid = _each(lambda c: tumor_centroid_px(geometry, tumor, c), path, tumor)
    return frames, mask, centroid, lps_to_iec(path)


@jax.jit
def _tumor_areal_density(
    soft: Array,
    time_s: AnyArray,
    lung: LungState,
    tumor: Tumor,
    body: Body,
    geometry: Geometry,
) -> Array:
    """Returns areal densities of soft tissue with the tumour in its place.

    Returns:
        `[t, rows, cols]` g/cm^2.
    """
    path = tumor_path_mm(tumor, body[0], time_s, body[1])
    chord, vessel, airway = _tumor_lengths(path, lung, tumor, geometry)
    parenchyma = tissues.LUNG * lung.density_g_cc.reshape(-1, 1, 1)
    extra = (tumor.density_g_cc - parenchyma) * chord
    extra = extra - (tissues.BLOOD[0] - parenchyma) * vessel + parenchyma * airway
    return soft + CM_PER_MM * extra


def _tumor_lengths(
    path: Array, lung: LungState, tumor: Tumor, geometry: Geometry
) -> tuple[Array, Array, Array]:
    """Returns tumour chord, vessel and airway within it, `[t, rows, cols]` mm."""
    chord = _each(lambda c: tumor_chord_mm(geometry, tumor, c), path, tumor)
    replaced = lambda now: replaced_path_mm(
        geometry, tumor, now[0], now[1], vessel=now[2], airway=now[3]
    )
    parts = (path, chord, lung.vessel, lung.airway)
    vessel, airway = jax.lax.map(replaced, parts)
    return chord, vessel, airway


def _each(fn: Callable[[Array], Array], path: Array, tumor: Tumor) -> Array:
    """Returns `fn` at every place of the path; shapes one by one, to bound memory."""
    if tumor.shape is None:
        return jax.vmap(fn)(path)
    return jax.lax.map(fn, path)


def _is_zero(photons: Scalar) -> bool:
    return not isinstance(photons, Tracer) and not np.any(photons)


def add_quantum_noise(line: Array, key: Array, photons: Scalar) -> Array:
    """Returns line integrals read from Poisson counts of mean photons exp(-L).

    A pixel without a single count reads as half of one.

    Args:
        line: noiseless line integrals [1], any shape.
        key: a typed JAX key.
        photons: unattenuated quanta a pixel.
    """
    counts = draw_quanta(photons * jnp.exp(-line), key, "poisson")
    return -jnp.log(jnp.maximum(counts, 0.5) / photons)


jitted_quantum_noise = jax.jit(add_quantum_noise)


def simulate(
    case: Case,
    geometry: Geometry,
    key: Array | None = None,
    *,
    voxel_mm: float = 4.0,
    photons: Scalar = 0.0,
    exposure: Exposure | None = None,
) -> Clip:
    """Returns a clip of the case with its ground truth.

    Args:
        case: the case.
        geometry: the view of the frames.
        key: a typed JAX key; needed for noise only.
        voxel_mm: side of the cubic voxels (static).
        photons: unattenuated quanta a pixel at 60 keV; 0 leaves out the noise.
        exposure: the X-ray machine's setting; None, or one with all stages off, gives
            ideal line integrals at 60 keV.

    Raises:
        UserError: if `photons` and `exposure` are both given, or if a setting is out
            of range.

    Example:
        >>> import numpy as np
        >>> from fluoro_jax.geometry import square_panel
        >>> from fluoro_jax.sim.body.anatomy import Anatomy
        >>> from fluoro_jax.sim.body.breathing import Breathing
        >>> from fluoro_jax.sim.fluoroscope import Case, simulate
        >>> from fluoro_jax.sim.tumor.tumor import Tumor
        >>> centre_mm = np.array([-70.0, 15.0, 35.0], np.float32)  # right lung
        >>> tumor = Tumor(centre_mm, diameter_mm=30.0, si_mm=20.0, ap_mm=8.0)
        >>> time_s = np.array([0.0, 1.0, 2.0], np.float32)
        >>> case = Case(Anatomy(), Breathing(5.0, 24.0, 12.0), tumor, time_s)
        >>> clip = simulate(case, square_panel(32), voxel_mm=8.0)
        >>> clip.frames.shape
        (3, 32, 32)
        >>> bool(clip.centroid_px[2, 0] > clip.centroid_px[0, 0])  # inhaled: lower
        True
    """
    check_photons(photons)
    if exposure is None or exposure.is_ideal:
        background = render_body(case, geometry, voxel_mm=voxel_mm)
        return add_tumor(background, case, geometry, photons=photons, key=key)
    if not _is_zero(photons):
        raise UserError(
            "photons and exposure are both given",
            needed="one of them",
            why="each alone says how many quanta a pixel gets",
            fix="set exposure.quanta (or mas) and leave photons out",
        )
    moments = dataclasses.replace(case, time_s=_moments(case, exposure).reshape(-1))
    fine = detector.refine(geometry, exposure.panel.binning)
    areal_density = render_areal_density(moments, fine, voxel_mm=voxel_mm)
    return expose_tumor(areal_density, case, geometry, exposure=exposure, key=key)


def expose_tumor(
    areal_density: Array,
    case: Case,
    geometry: Geometry,
    *,
    exposure: Exposure,
    key: Array | None = None,
) -> Clip:
    """Returns the clip that a detector reads: the tumour added to the patient's tissue.

    Args:
        areal_density: `[2, S * T, rows, cols]` g/cm^2 from `render_areal_density` at
            the S moments of each exposure (S = 1 without `pulse_s`), with
            `detector.refine`d pixels.
        case: the case.
        geometry: the view of the frames.
        exposure: the X-ray machine's setting.
        key: a typed JAX key; needed for noise.

    Returns:
        The clip, its truth that of the middle of each exposure.
    """
    fine = detector.refine(geometry, exposure.panel.binning)
    times = _moments(case, exposure)
    moments = dataclasses.replace(case, time_s=times.reshape(-1))
    body = (case.breathing, case.anatomy)
    run = lambda chunk: _tumor_areal_density(*chunk, case.tumor, body, fine)
    parts = (areal_density[0], moments.time_s, lung_at(moments))
    soft = in_chunks(run, parts, (case, geometry))
    areal_density = jnp.stack([soft, *areal_density[1:]])
    if exposure.pulse_s is not None:
        areal_density = areal_density.reshape(2, *times.shape, fine.rows, fine.cols)
    frames = detector.acquire(areal_density, fine, exposure, key)
    blank = jnp.zeros((times.shape[-1], geometry.rows, geometry.cols), jnp.float32)
    truth = add_tumor(blank, case, geometry)
    return dataclasses.replace(truth, frames=frames, domain=exposure.output)


def _moments(case: Case, exposure: Exposure) -> Array:
    """Times within each exposure, `[S, T]` s, their mean that of the frame."""
    time_s = jnp.asarray(case.time_s, jnp.float32).reshape(1, -1)
    if exposure.pulse_s is None:
        return time_s
    count = exposure.sub_phases
    part = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count - 0.5
    return time_s + exposure.pulse_s * part.reshape(-1, 1)


@jax.jit
def lung_clearance_mm(
    anatomy: Anatomy, breathing: Breathing, tumor: Tumor, time_s: AnyArray
) -> Array:
    """Returns the least clearance of a tumour in the lung, over its surface and time.

    Args:
        anatomy: the patient.
        breathing: how the body moves.
        tumor: the tumour.
        time_s: `[T]` s.

    Returns:
        mm, scalar; >= 0 if the whole sphere is in lung at every time. Judged by the
        same solids as the volume, at 200 points of the sphere.
    """
    path = tumor_path_mm(tumor, breathing, time_s, anatomy)
    si, ap = breathing_displacement_mm(breathing, time_s)
    surface = jnp.asarray(SURFACE) * (0.5 * tumor.diameter_mm)

    def worst(now: tuple[Array, Array, Array]) -> Array:
        points = surface + now[0].reshape(1, 3)
        place = solids.to_reference(anatomy, (points[:, 0], points[:, 1], points[:, 2]))
        return jnp.max(solids.lung_distance(pose_at(anatomy, now[1], now[2]), place))

    return -jnp.max(jax.vmap(worst)((path, si, ap)))
