"""The X-ray machine: a case and a view in, a film with its truth out.

A film is the body's line integrals plus the tumour's: what costs (the body) is
projected once, and any tumour is put on top by its closed form.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, lps_to_iec
from fluoro_jax.sim.body import solids, volume
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal
from fluoro_jax.sim.body.motion import pose_at
from fluoro_jax.sim.tumor.shapes import even_directions
from fluoro_jax.sim.tumor.tumor import (
    Tumor,
    tumor_centroid_px,
    tumor_chord_mm,
    tumor_path_mm,
)
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import detector, projector
from fluoro_jax.sim.xray.exposure import Exposure

Array = jax.Array
Scalar = Any
CM_PER_MM = 0.1
VOLUME_VOXEL_MM = 10.0  # grid on which lung volumes are measured


@struct.dataclass
class Case:
    """One person, one breathing record, one tumour.

    Attributes:
        anatomy: the person.
        breathing: how the body moves.
        tumor: the target.
        time_s: `[T]` when frames are taken.
        periodic: static; the frames are exactly one breathing period.
        heartbeat: static; the heart beats at `anatomy.heart_rate_hz`, at the end of
            diastole at 0 s. Off in the studies: their clips are exactly periodic, and
            the paper's phantom films are sorted by the phase of the breath alone.
    """

    anatomy: Anatomy
    breathing: Breathing
    tumor: Tumor
    time_s: AnyArray
    periodic: bool = struct.field(pytree_node=False, default=True)
    heartbeat: bool = struct.field(pytree_node=False, default=False)


def film_body(case: Case, geometry: Geometry, *, voxel_mm: float) -> Array:
    """The film without its tumour.

    Args:
        case: its tumour is ignored.
        geometry: the view; compiled once for all cases and views of one panel size.
        voxel_mm: side of the cubic voxels (static).

    Returns:
        `[T, rows, cols]` line integrals at 60 keV [1].
    """
    return _film(case, geometry, voxel_mm)


def film_paths(case: Case, geometry: Geometry, *, voxel_mm: float) -> Array:
    """Soft tissue and bone on every ray, without the tumour; see `film_body`.

    Returns:
        `[2, T, rows, cols]` g/cm^2, for `detector.acquire`.
    """
    paths = _film(case, geometry, voxel_mm, by_material=True)
    return CM_PER_MM * jnp.moveaxis(paths, 1, 0)


def _film(
    case: Case, geometry: Geometry, voxel_mm: float, *, by_material: bool = False
) -> Array:
    time_s = jnp.asarray(case.time_s, jnp.float32)
    body = (case.anatomy, case.breathing, time_s, heart_phase(case))
    quarter = projector.quarter_turn(geometry)
    return _film_body(body, geometry, float(voxel_mm), quarter, by_material)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _film_body(
    body: tuple[Anatomy, Breathing, Array, Array | None],
    geometry: Geometry,
    voxel_mm: float,
    quarter: int | None,
    by_material: bool,
) -> Array:
    anatomy, breathing, time_s, phase = body
    grid, shape = solids.body_grid(voxel_mm)
    still = volume.draw_still(anatomy, grid, shape)
    si, ap = displacement_mm(breathing, time_s)
    density = lung_density(anatomy, breathing, time_s)
    geometry = projector.turned(geometry, quarter)

    def frame(now: tuple[Array, Array, Array, Array | None]) -> Array:
        si_mm, ap_mm, lung_g_cc, beat = now
        beat = 0.0 if beat is None else beat
        if by_material:
            parts = volume.body_densities(
                anatomy,
                grid,
                still=still,
                displacement_mm=(si_mm, ap_mm),
                lung_g_cc=lung_g_cc,
                heart_phase=beat,
            )
            return jnp.stack([projector.project(p, grid, geometry) for p in parts])
        mu = volume.body_volume(
            anatomy,
            grid,
            still=still,
            displacement_mm=(si_mm, ap_mm),
            mu_lung=att.mu_lung(lung_g_cc),
            heart_phase=beat,
        )
        return projector.project(mu, grid, geometry)

    return jax.lax.map(frame, (si, ap, density, phase))


def heart_phase(case: Case) -> Array | None:
    """Heart beats since 0 s, `[T]` cycles; None if it does not beat."""
    if not case.heartbeat:
        return None
    return jnp.asarray(case.time_s, jnp.float32) * case.anatomy.heart_rate_hz


def displacement_mm(breathing: Breathing, time_s: AnyArray) -> tuple[Array, Array]:
    """Diaphragm (inferior) and chest wall (anterior) displacement, each `[T]` mm."""
    si, ap = breathing_signal(breathing, time_s)
    return si * breathing.si_mm, ap * breathing.ap_mm


def lung_volume_mm3(anatomy: Anatomy, si_mm: Scalar, ap_mm: Scalar) -> Array:
    """Volume of both lungs, mm^3, at one displacement of diaphragm and chest."""
    grid, shape = solids.body_grid(VOLUME_VOXEL_MM)
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    inside = solids.lung_distance(pose_at(anatomy, si_mm, ap_mm), place)
    return jnp.sum(solids.occupancy(inside, VOLUME_VOXEL_MM)) * VOLUME_VOXEL_MM**3


@jax.jit
def lung_density(anatomy: Anatomy, breathing: Breathing, time_s: AnyArray) -> Array:
    """Mean lung density at each time, `[T]` g/cc: no mass is gained or lost."""
    si, ap = displacement_mm(breathing, time_s)
    rest = lung_volume_mm3(anatomy, 0.0, 0.0)
    now = jax.lax.map(lambda d: lung_volume_mm3(anatomy, d[0], d[1]), (si, ap))
    return anatomy.lung_density_g_cc * rest / now


def add_tumor(
    film: Array,
    case: Case,
    geometry: Geometry,
    *,
    photons: Scalar = 0.0,
    key: Array | None = None,
) -> Clip:
    """Puts the case's tumour on a film of its body.

    The tumour replaces lung, so (mu_tumor - mu_lung(t)) times its chord is added; this
    holds only while it lies wholly in the lung (`lung_clearance_mm` >= 0).

    Args:
        film: `[T, rows, cols]` from `film_body` of the same body, times and view.
        case: the case.
        geometry: the view.
        photons: unattenuated quanta a pixel; 0 leaves the film without noise.
        key: a typed JAX key; needed for noise only.

    Returns:
        The clip with its exact truth.
    """
    noisy = key is not None and not _is_zero(photons)
    clip = _add_tumor(film, case, geometry, photons, key if noisy else None)
    return dataclasses.replace(
        clip, geometry=geometry
    )  # its numbers as given, not as arrays


@jax.jit
def _add_tumor(
    film: Array, case: Case, geometry: Geometry, photons: Scalar, key: Array | None
) -> Clip:
    path = tumor_path_mm(case.tumor, case.breathing, case.time_s, case.anatomy)
    tumor = case.tumor
    chord = _each(lambda c: tumor_chord_mm(geometry, tumor, c), path, tumor)
    density = lung_density(case.anatomy, case.breathing, case.time_s)
    extra = att.mu_tumor(tumor.density_g_cc) - att.mu_lung(density)
    frames = film + extra.reshape(-1, 1, 1) * chord
    if key is not None:
        frames = add_quantum_noise(frames, key, photons)
    return Clip(
        frames=frames,
        time_s=jnp.asarray(case.time_s, jnp.float32),
        geometry=geometry,
        mask=(chord > 0.0).astype(jnp.float32),
        centroid_px=_each(lambda c: tumor_centroid_px(geometry, tumor, c), path, tumor),
        centre_mm=lps_to_iec(path),
        periodic=case.periodic,
    )


def _each(fn: Callable[[Array], Array], path: Array, tumor: Tumor) -> Array:
    """`fn` at every place of the path; shapes one by one, which bounds the memory."""
    if tumor.shape is None:
        return jax.vmap(fn)(path)
    return jax.lax.map(fn, path)


def _is_zero(photons: Scalar) -> bool:
    return not isinstance(photons, Tracer) and not np.any(photons)


def add_quantum_noise(line: Array, key: Array, photons: Scalar) -> Array:
    """Counts Poisson(photons exp(-L)) and returns to line integrals.

    A pixel without a single count reads as half of one.
    """
    counts = jax.random.poisson(key, photons * jnp.exp(-line)).astype(jnp.float32)
    return -jnp.log(jnp.maximum(counts, 0.5) / photons)


def simulate(
    case: Case,
    geometry: Geometry,
    key: Array | None = None,
    *,
    voxel_mm: float = 4.0,
    photons: Scalar = 0.0,
    exposure: Exposure | None = None,
) -> Clip:
    """A film of the case with its truth.

    Args:
        case: the case.
        geometry: the view of the frames.
        key: a typed JAX key; needed for noise only.
        voxel_mm: side of the cubic voxels (static).
        photons: unattenuated quanta a pixel at 60 keV; 0 leaves out the noise.
        exposure: the X-ray machine's setting; None, or one with all stages off, gives
            ideal line integrals at 60 keV.

    Raises:
        UserError: if `photons` and `exposure` are both given, or the exposure is one
            that no machine has.
    """
    if exposure is None or exposure.is_ideal:
        film = film_body(case, geometry, voxel_mm=voxel_mm)
        return add_tumor(film, case, geometry, photons=photons, key=key)
    if not _is_zero(photons):
        raise UserError(
            "photons and exposure are both given",
            needed="one of them",
            why="each alone says how many quanta a pixel gets",
            fix="set exposure.quanta (or mas) and leave photons out",
        )
    moments = dataclasses.replace(case, time_s=_moments(case, exposure).reshape(-1))
    fine = detector.refine(geometry, exposure.panel.binning)
    paths = film_paths(moments, fine, voxel_mm=voxel_mm)
    return expose_tumor(paths, case, geometry, exposure=exposure, key=key)


def expose_tumor(
    paths: Array,
    case: Case,
    geometry: Geometry,
    *,
    exposure: Exposure,
    key: Array | None = None,
) -> Clip:
    """Puts the case's tumour on the tissue of its body and takes the film.

    Args:
        paths: `[2, S * T, rows, cols]` g/cm^2 from `film_paths` at the S moments of
            each exposure (S = 1 without `pulse_s`), with `detector.refine`d pixels.
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
    paths = _add_tumor_path(paths, moments, fine)
    if exposure.pulse_s is not None:
        paths = paths.reshape(2, *times.shape, fine.rows, fine.cols)
    frames = detector.acquire(paths, fine, exposure, key)
    blank = jnp.zeros((times.shape[-1], geometry.rows, geometry.cols), jnp.float32)
    truth = add_tumor(blank, case, geometry)
    return dataclasses.replace(truth, frames=frames, domain=exposure.output)


@jax.jit
def _add_tumor_path(paths: Array, case: Case, geometry: Geometry) -> Array:
    tumor = case.tumor
    path = tumor_path_mm(tumor, case.breathing, case.time_s, case.anatomy)
    chord = _each(lambda c: tumor_chord_mm(geometry, tumor, c), path, tumor)
    extra = tumor.density_g_cc - lung_density(case.anatomy, case.breathing, case.time_s)
    return paths.at[0].add(CM_PER_MM * extra.reshape(-1, 1, 1) * chord)


def _moments(case: Case, exposure: Exposure) -> Array:
    """Times within each exposure, `[S, T]` s, their mean that of the frame."""
    time_s = jnp.asarray(case.time_s, jnp.float32).reshape(1, -1)
    if exposure.pulse_s is None:
        return time_s
    count = exposure.sub_phases
    part = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count - 0.5
    return time_s + exposure.pulse_s * part.reshape(-1, 1)


SURFACE = even_directions(200).astype(np.float32)


@jax.jit
def lung_clearance_mm(
    anatomy: Anatomy, breathing: Breathing, tumor: Tumor, time_s: AnyArray
) -> Array:
    """How deep in the lung a tumour stays: the least over its surface and over time.

    Args:
        anatomy: the person.
        breathing: how the body moves.
        tumor: the tumour.
        time_s: `[T]` s.

    Returns:
        mm, scalar; >= 0 if the whole sphere is in lung at every time. Judged by the
        same solids as the volume, at 200 points of the sphere.
    """
    path = tumor_path_mm(tumor, breathing, time_s, anatomy)
    si, ap = displacement_mm(breathing, time_s)
    surface = jnp.asarray(SURFACE) * (0.5 * tumor.diameter_mm)

    def worst(now: tuple[Array, Array, Array]) -> Array:
        points = surface + now[0].reshape(1, 3)
        place = solids.to_reference(anatomy, (points[:, 0], points[:, 1], points[:, 2]))
        return jnp.max(solids.lung_distance(pose_at(anatomy, now[1], now[2]), place))

    return -jnp.max(jax.vmap(worst)((path, si, ap)))
