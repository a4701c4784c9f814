"""A patient's motion as a mean displacement and a few principal components.

D(w) = mean + sum_k w_k u_k, the displacement from the moment to the reference phase:
the volume then is f(x + D(w)(x)), and so the tumour moves by the inverse of D.
Components are scaled so that the phases' weights have variance 1.

Source:
    The motion model of Li et al. 2010 and 2011 (`projection_fit.py`); 3 components.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.outline import shadows
from fluoro_jax.tracking.baselines.phases import PatientPhases

Array = jax.Array


@struct.dataclass
class ReferencePhase:
    """The reference phase and its contours, on one grid.

    Attributes:
        mu: `[Z, Y, X]` attenuation, 1/mm.
        share: `[Z, Y, X]` share of each voxel inside the tumour.
        grid: where the voxels are, LPS mm.
        edge_mm: a ray's length in `share` from which a pixel is tumour, [] mm.
    """

    mu: Array
    share: Array
    grid: Grid
    edge_mm: Array


@struct.dataclass
class MotionModel(ReferencePhase):
    """The reference phase and its principal motions, on one grid.

    Attributes:
        mean_mm: `[3, Z, Y, X]` (x, y, z) mean displacement.
        modes_mm: `[K, 3, Z, Y, X]` displacement per unit of weight.
        scores: `[P, K]` weights of the planning phases.
    """

    mean_mm: Array
    modes_mm: Array
    scores: Array


def reference_phase(phases: PatientPhases) -> ReferencePhase:
    """Returns the reference phase of planning phases."""
    return ReferencePhase(
        mu=jnp.asarray(phases.mu[phases.reference]),
        share=jnp.asarray(phases.share[phases.reference]),
        grid=phases.grid,
        edge_mm=jnp.asarray(_edge_mm(phases), jnp.float32),
    )


def make_model(phases: PatientPhases, *, modes: int = 3) -> MotionModel:
    """Returns the motion model of planning phases.

    Args:
        phases: at least `modes` + 1 of them.
        modes: number of principal components.

    Raises:
        UserError: for more components than the phases have.
    """
    count = len(phases.mu)
    if not 1 <= modes < count:
        raise UserError(
            f"{modes} principal components of {count} phases",
            needed=f"from 1 to {count - 1}",
            why="the mean takes one of the phases",
            fix="choose 3",
        )
    fields = phases.fields_mm.reshape(count, -1)
    mean = fields.mean(axis=0)
    # The small matrix of products, not the fields themselves: [P, P].
    away = fields - mean
    values, vectors = np.linalg.eigh(away @ away.T / count)
    chosen = np.argsort(values)[::-1][:modes]
    scores = np.sqrt(count) * vectors[:, chosen]
    parts = scores.T @ away / count
    shape = phases.fields_mm.shape[1:]
    phase = reference_phase(phases)
    return MotionModel(
        mu=phase.mu,
        share=phase.share,
        grid=phase.grid,
        edge_mm=phase.edge_mm,
        mean_mm=jnp.asarray(mean.reshape(shape)),
        modes_mm=jnp.asarray(parts.reshape(modes, *shape)),
        scores=jnp.asarray(scores, jnp.float32),
    )


def _edge_mm(phases: PatientPhases) -> float:
    """Returns the length at which the reference phase's shares have its shadow's area.

    Shares of a small tumour are lower and wider than the tumour, those of a large one
    are not: no length is right for both.
    """
    share = phases.share[phases.reference]
    length_mm = np.asarray(projector.project(share, phases.grid, phases.view))
    area_px = int(shadows(share[None], phases.grid, phases.view).sum())
    # A tumour outside of the view has no area there, and any length will do.
    ordered = np.sort(length_mm, axis=None)[::-1]
    return max(float(ordered[max(area_px - 1, 0)]), 1e-3)


def displacement_mm(model: MotionModel, weights: Array) -> Array:
    """Returns D(w) `[3, Z, Y, X]` mm of weights `[K]`."""
    return model.mean_mm + jnp.tensordot(weights, model.modes_mm, axes=1)


def deformed(volume: Array, field_mm: Array, grid: Grid) -> Array:
    """Returns a volume read at x + field(x), `[Z, Y, X]`; outside, its nearest voxel.

    Args:
        volume: `[Z, Y, X]`.
        field_mm: `[3, Z, Y, X]` (x, y, z).
        grid: of both.
    """
    steps = [field_mm[2 - axis] / grid.spacing_mm[2 - axis] for axis in range(3)]
    index = jnp.meshgrid(
        *(jnp.arange(n, dtype=jnp.float32) for n in volume.shape), indexing="ij"
    )
    return _read(volume, *(at + step for at, step in zip(index, steps, strict=True)))


@jax.custom_jvp
def _read(volume: Array, z: Array, y: Array, x: Array) -> Array:
    """Returns a volume at places in voxels, trilinear, held at its faces."""
    return _corners(volume, (z, y, x))[0]


@_read.defjvp
def _read_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # The slope is read once for all tangents: the general rule reads it for each. The
    # volume itself is data: its tangent is zero.
    value, slopes = _corners(primals[0], primals[1:])
    moves = zip(slopes, tangents[1:], strict=True)
    return value, sum((slope * move for slope, move in moves), jnp.zeros_like(value))


def _corners(
    volume: Array, places: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """Returns values and slopes along (z, y, x) at places in voxels."""
    _, ny, nx = volume.shape
    low, share, inside = [], [], []
    for place, count in zip(places, volume.shape, strict=True):
        at = jnp.clip(place, 0.0, count - 1.0)
        inside.append(at == place)
        first = jnp.minimum(jnp.floor(at), count - 2.0)
        low.append(first.astype(jnp.int32))
        share.append(at - first)
    base = (low[0] * ny + low[1]) * nx + low[2]
    flat = volume.ravel()
    read = lambda k, j, i: flat.at[base + ((k * ny + j) * nx + i)].get(
        mode="promise_in_bounds"
    )
    cube = [[[read(k, j, i) for i in (0, 1)] for j in (0, 1)] for k in (0, 1)]
    mix = lambda pair, part: pair[0] + part * (pair[1] - pair[0])
    along_x = [[mix(cube[k][j], share[2]) for j in (0, 1)] for k in (0, 1)]
    along_y = [mix(along_x[k], share[1]) for k in (0, 1)]
    step_x = [[cube[k][j][1] - cube[k][j][0] for j in (0, 1)] for k in (0, 1)]
    step_y = [along_x[k][1] - along_x[k][0] for k in (0, 1)]
    slope_x = mix([mix(step_x[k], share[1]) for k in (0, 1)], share[0])
    slopes = (along_y[1] - along_y[0], mix(step_y, share[0]), slope_x)
    held = zip(slopes, inside, strict=True)
    return mix(along_y, share[0]), tuple(jnp.where(i, s, 0.0) for s, i in held)


def share_centroid_mm(share: Array, grid: Grid) -> Array:
    """Returns the centroid of a share of voxels `[Z, Y, X]`, `[3]` (x, y, z) mm."""
    total = jnp.maximum(share.sum(), 1e-6)
    places = []
    for axis in (2, 1, 0):
        others = tuple({0, 1, 2} - {axis})
        index = jnp.arange(share.shape[axis]) @ share.sum(axis=others) / total
        places.append(grid.origin_mm[2 - axis] + index * grid.spacing_mm[2 - axis])
    return jnp.stack(places)
