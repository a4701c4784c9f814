"""A patient's motion as a mean displacement and a few principal components.

D(w) = mean + sum_k w_k u_k, the displacement from the moment to the reference phase:
the volume then is f(x + D(w)(x)), and so the tumour moves by the inverse of D.
Components are scaled so that the phases' weights have variance 1.

Source:
    The motion model of Li et al. 2010 and 2011 (`projection_fit.py`); 3 components.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.ndimage import map_coordinates

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.tracking.baselines.phases import PatientPhases

Array = jax.Array


@struct.dataclass
class MotionModel:
    """The reference phase and its principal motions, on one grid.

    Attributes:
        mu: `[Z, Y, X]` attenuation of the reference phase, 1/mm.
        share: `[Z, Y, X]` share of each voxel inside the tumour.
        mean_mm: `[3, Z, Y, X]` (x, y, z) mean displacement.
        modes_mm: `[K, 3, Z, Y, X]` displacement per unit of weight.
        scores: `[P, K]` weights of the planning phases.
        grid: where the voxels are, LPS mm.
    """

    mu: Array
    share: Array
    mean_mm: Array
    modes_mm: Array
    scores: Array
    grid: Grid


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
    return MotionModel(
        mu=jnp.asarray(phases.mu[phases.reference]),
        share=jnp.asarray(phases.share[phases.reference]),
        mean_mm=jnp.asarray(mean.reshape(shape)),
        modes_mm=jnp.asarray(parts.reshape(modes, *shape)),
        scores=jnp.asarray(scores, jnp.float32),
        grid=phases.grid,
    )


def displacement_mm(model: MotionModel, weights: Array) -> Array:
    """Returns D(w) `[3, Z, Y, X]` mm of weights `[K]`."""
    return model.mean_mm + jnp.tensordot(weights, model.modes_mm, axes=1)


def deformed(volume: Array, field_mm: Array, grid: Grid) -> Array:
    """Returns a volume read at x + field(x), `[Z, Y, X]`; 0 from outside.

    Args:
        volume: `[Z, Y, X]`.
        field_mm: `[3, Z, Y, X]` (x, y, z).
        grid: of both.
    """
    index = jnp.meshgrid(*(jnp.arange(n) for n in volume.shape), indexing="ij")
    places = [
        at + field_mm[2 - axis] / grid.spacing_mm[2 - axis]
        for axis, at in enumerate(index)
    ]
    return map_coordinates(volume, places, order=1)


def share_centroid_mm(share: Array, grid: Grid) -> Array:
    """Returns the centroid of a share of voxels `[Z, Y, X]`, `[3]` (x, y, z) mm."""
    total = jnp.maximum(share.sum(), 1e-6)
    places = []
    for axis in (2, 1, 0):
        others = tuple({0, 1, 2} - {axis})
        index = jnp.arange(share.shape[axis]) @ share.sum(axis=others) / total
        places.append(grid.origin_mm[2 - axis] + index * grid.spacing_mm[2 - axis])
    return jnp.stack(places)
