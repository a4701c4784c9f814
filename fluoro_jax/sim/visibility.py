"""Visibility of a tumour: contrast, quantum noise, and overlapping anatomy."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fluoro_jax.geometry import Geometry, depth_mm
from fluoro_jax.sim.body import bones, solids
from fluoro_jax.sim.body.motion import pose_at
from fluoro_jax.sim.fluoroscope import Case, breathing_displacement_mm, heart_phase
from fluoro_jax.sim.tumor.tumor import sphere_centroid_px, tumor_mask, tumor_path_mm
from fluoro_jax.sim.xray import projector

Array = jax.Array
Scalar = Any
WINDOW_STEP_PX = 16
SHADOW_MM = 2.0  # a ray this far inside a solid passes "over" it


@jax.jit
def contrast(background: Array, clip_frames: Array, mask: Array) -> Array:
    """Returns the line integral that the tumour adds, averaged over its mask.

    Args:
        background: `[T, H, W]` noiseless, without the tumour.
        clip_frames: `[T, H, W]` noiseless, with it.
        mask: `[T, H, W]` in {0, 1}.

    Returns:
        `[T]` [1]; 0 where the mask is empty.
    """
    return _over(clip_frames - background, mask)


@jax.jit
def contrast_to_noise(
    background: Array, clip_frames: Array, mask: Array, photons: Scalar
) -> Array:
    """Returns contrast over the standard deviation of one pixel of the mask.

    A pixel of N exp(-L) quanta has a line integral of variance exp(L) / N; the noise is
    the root of its mean over the mask.

    Args:
        background: `[T, H, W]` noiseless, without the tumour.
        clip_frames: `[T, H, W]` noiseless, with it.
        mask: `[T, H, W]` in {0, 1}.
        photons: N, unattenuated quanta a pixel.

    Returns:
        `[T]` [1]; 0 where the mask is empty.
    """
    noise = jnp.sqrt(_over(jnp.exp(clip_frames), mask) / photons)
    return contrast(background, clip_frames, mask) / jnp.where(noise > 0.0, noise, 1.0)


def _over(values: Array, mask: Array) -> Array:
    count = jnp.sum(mask, axis=(-2, -1))
    return jnp.sum(values * mask, axis=(-2, -1)) / jnp.maximum(count, 1.0)


def overlap(case: Case, geometry: Geometry, *, voxel_mm: float) -> dict[str, Array]:
    """Returns the share of the tumour's mask over ribs, heart, spine and diaphragm.

    Args:
        case: the case.
        geometry: the view.
        voxel_mm: of the volumes that are projected (static).

    Returns:
        "rib", "heart", "spine" and "diaphragm" (what lies under its domes): `[T]` share
        of the mask's pixels whose ray runs more than 2 mm through it; 0 where the mask
        is empty.
    """
    quarter = projector.quarter_turn(geometry)
    side = window_px(case, geometry)
    return _overlap(case, geometry, float(voxel_mm), quarter, side)


def window_px(case: Case, geometry: Geometry) -> int | None:
    """Returns the side, px, of a square that holds the tumour's shadow at all times.

    In steps, so that a few compilations serve all tumours; None, the whole panel, for
    traced values.
    """
    leaves = jax.tree.leaves((case.tumor, case.breathing, case.time_s, geometry))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return None
    with jax.ensure_compile_time_eval():
        path = tumor_path_mm(case.tumor, case.breathing, case.time_s, case.anatomy)
        depth = np.asarray(jax.vmap(lambda p: depth_mm(geometry, p))(path))
    radius = 0.5 * float(case.tumor.diameter_mm)
    # from any point within the sphere, not nearer than its front, to the axis
    away = np.linalg.norm(np.asarray(path), axis=1) + radius
    front = depth - radius
    slant = np.sqrt(1.0 + np.square(away / front))
    shadow_mm = float(np.max(2.0 * radius * geometry.sdd_mm / front * slant**2))
    pixels = math.ceil(shadow_mm / float(min(geometry.pixel_mm))) + 2
    return -(-pixels // WINDOW_STEP_PX) * WINDOW_STEP_PX


def _window(geometry: Geometry, middle_px: Array, side: int | None) -> Geometry:
    """Returns the panel's pixels about one place, `side` rows and columns of them."""
    if side is None:
        return geometry
    counts = (min(geometry.rows, side), min(geometry.cols, side))
    offsets = []
    for axis, whole in enumerate((geometry.rows, geometry.cols)):
        first = jnp.round(middle_px[axis] - 0.5 * (counts[axis] - 1))
        first = jnp.clip(first, 0.0, whole - counts[axis])
        moved = first + 0.5 * (counts[axis] - whole)
        offsets.append(geometry.offset_mm[axis] + moved * geometry.pixel_mm[axis])
    rows, cols = counts
    offset_mm = (offsets[0], offsets[1])
    return dataclasses.replace(geometry, rows=rows, cols=cols, offset_mm=offset_mm)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _overlap(
    case: Case,
    geometry: Geometry,
    voxel_mm: float,
    quarter: int | None,
    side: int | None,
) -> dict[str, Array]:
    grid, shape = solids.body_grid(voxel_mm)
    place = solids.to_reference(case.anatomy, solids.grid_axes(grid, shape))
    geometry = projector.turned(geometry, quarter)

    def shadow(distance: Array, view: Geometry) -> Array:
        share = solids.occupancy(distance, voxel_mm)
        return projector.project(share, grid, view) > SHADOW_MM

    spine = bones.spine_distance(case.anatomy, place)

    def frame(now: tuple[Array, Array, Array, Array | None]) -> dict[str, Array]:
        centre, si_mm, ap_mm, beat = now
        pose = pose_at(case.anatomy, si_mm, ap_mm, 0.0 if beat is None else beat)
        # of the sphere, which holds every other shape
        middle = sphere_centroid_px(geometry, centre, case.tumor.diameter_mm)
        view = _window(geometry, middle, side)
        below = jnp.maximum(
            solids.dome_distance(pose, place), solids.skin_distance(pose, place)
        )
        shadows = {
            "rib": shadow(bones.rib_distance(bones.rib_tubes(pose), grid, shape), view),
            "heart": shadow(solids.heart_distance(pose, place), view),
            "spine": shadow(spine, view),
            "diaphragm": shadow(below, view),
        }
        mask = tumor_mask(view, case.tumor, centre)
        area = jnp.maximum(jnp.sum(mask), 1.0)
        return {name: jnp.sum(mask * over) / area for name, over in shadows.items()}

    path = tumor_path_mm(case.tumor, case.breathing, case.time_s, case.anatomy)
    si, ap = breathing_displacement_mm(case.breathing, case.time_s)
    return jax.lax.map(frame, (path, si, ap, heart_phase(case)))
