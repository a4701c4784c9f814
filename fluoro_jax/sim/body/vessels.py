"""Lung vessels: two trees that branch from the hila and ride on the lung.

Sixty-four tips in each lung, spread evenly about the hilum; tips that look alike share
a branch, down to two at the root (a balanced binary tree over their directions). Radii
fall from 6 mm at the hilum to 1 mm at the tips, about as Murray's law has it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import solids, tubes
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.motion import displacement_mm, pose_at
from fluoro_jax.sim.body.shapes import occupancy
from fluoro_jax.sim.body.tubes import Shape

Array = jax.Array
Scalar = Any

LEVELS = 6  # branchings; 2^6 tips a lung
TIPS = 2**LEVELS
HILUM = ((30.0, 8.0, 20.0), (-28.0, 4.0, 14.0))  # left, right; reference mm
ROOT_RADIUS_MM = 6.4
SHRINK = 0.75  # a little more than Murray's 2^(-1/3): side branches not drawn
SWAY = 0.16  # how far a node strays, share of its distance from the hilum
MARGIN_MM = 4.0  # tips end this far from the lung's edge
SAMPLES = 24  # looks along the way
LONGEST_MM = 190.0
COARSE = 3  # branchings drawn in large windows
REACH_MM = (60.0, 40.0)  # large and small windows


def _directions() -> np.ndarray:
    """Unit vectors of the tips of the left lung, sorted into a tree, `[64, 3]`."""
    index = np.arange(TIPS) + 0.5
    turn = np.pi * (1.0 + 5.0**0.5) * index
    out = 1.0 - index / TIPS * 1.25  # cosine with the lateral axis, to -0.25
    flat = np.sqrt(1.0 - out**2)
    ways = np.stack([out, flat * np.cos(turn), flat * np.sin(turn)], axis=-1)
    return ways[_halve(ways, np.arange(TIPS))]


def _halve(ways: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Order in which neighbours in the tree stand side by side."""
    if len(order) == 1:
        return order
    spread = ways[order] - ways[order].mean(0)
    axis = np.linalg.svd(spread, full_matrices=False)[2][0]
    order = order[np.argsort(spread @ axis, kind="stable")]
    half = len(order) // 2
    return np.concatenate([_halve(ways, order[:half]), _halve(ways, order[half:])])


DIRECTIONS = _directions().astype(np.float32)


def grow(anatomy: Anatomy) -> list[tuple[Array, Array, Array]]:
    """The trees at exhale, level by level.

    Returns:
        for each of the 6 branchings: starts and ends of its pieces `[2 2^k, 3]` world
        mm, and their radii `[2 2^k, 2]` mm.
    """
    seed = jnp.asarray(anatomy.vessel_seed * 2.0**20, jnp.int32)
    key = jax.random.key(seed)
    side = jnp.asarray([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]).reshape(2, 1, 3)
    hilum = jnp.asarray(HILUM).reshape(2, 1, 3)
    # one draw for all: each costs seconds to compile
    chance = jax.random.normal(key, (2, 3 * TIPS, 3))
    ways = (jnp.asarray(DIRECTIONS)[None] + 0.06 * chance[:, :TIPS]) * side
    ways = ways / jnp.linalg.norm(ways, axis=-1, keepdims=True)
    tips = ways * _room_mm(anatomy, hilum, ways)[..., None]
    before = jnp.broadcast_to(hilum, (2, 1, 3))
    radius = ROOT_RADIUS_MM * anatomy.vessel_scale
    levels = []
    for level in range(1, LEVELS + 1):
        count = 2**level
        share = (level / LEVELS) ** 0.85
        mean = tips.reshape(2, count, -1, 3).mean(2) * share
        shake = chance[:, TIPS + count - 2 : TIPS + 2 * count - 2]
        far = jnp.linalg.norm(mean, axis=-1, keepdims=True)
        loose = SWAY * (1.0 - (level / LEVELS) ** 2)
        nodes = hilum + mean + shake * far * loose * 0.5
        start = jnp.repeat(before, count // before.shape[1], axis=1)
        thick = jnp.stack([radius / SHRINK**0.5, radius * SHRINK**0.5])
        world = lambda p: solids.to_world(anatomy, p).reshape(-1, 3)
        wide = jnp.broadcast_to(thick, (2 * count, 2))
        levels.append((world(start), world(nodes), wide))
        before, radius = nodes, radius * SHRINK
    return levels


def _room_mm(anatomy: Anatomy, hilum: Array, ways: Array) -> Array:
    """How far the lung goes from the hilum along each way, `[2, 64]` mm."""
    far = jnp.linspace(0.0, LONGEST_MM, SAMPLES + 1)[1:].reshape(1, 1, -1)
    points = hilum[..., None, :] + ways[..., None, :] * far[..., None]
    place = (points[..., 0], points[..., 1], points[..., 2])
    depth = -solids.lung_distance(pose_at(anatomy, 0.0, 0.0), place)
    # the last look that was well inside
    reach = jnp.max(jnp.where(depth > MARGIN_MM, far, 0.0), axis=-1)
    return jnp.maximum(reach, 20.0)


def vessel_share(
    anatomy: Anatomy,
    grid: Grid,
    shape: Shape,
    *,
    levels: list[tuple[Array, Array, Array]],
    displacement: tuple[Scalar, Scalar],
) -> Array:
    """Share of each voxel filled by vessels now, `[Z, Y, X]`.

    Args:
        anatomy: the person.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
        levels: `grow` of the same person.
        displacement: (diaphragm inferior, chest wall anterior) now, mm.
    """
    move = lambda p: p + displacement_mm(anatomy, *displacement, p)
    out = None
    for part, reach in ((levels[:COARSE], 0), (levels[COARSE:], 1)):
        start, end, radius = (jnp.concatenate(leaf) for leaf in zip(*part, strict=True))
        found = tubes.Tubes(move(start), move(end), radius)
        far = tubes.tube_distance(found, grid, shape, reach_mm=REACH_MM[reach])
        out = far if out is None else jnp.minimum(out, far)
    return occupancy(out, grid.spacing_mm[0])
