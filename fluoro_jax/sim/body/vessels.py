"""Lung vessels: two trees that branch from the hila and ride on the lung.

Sixty-four tips in each lung, spread evenly about the hilum; tips that look alike share
a branch, down to two at the root (a balanced binary tree over their directions). Radii
fall from 7.4 mm at the hilum (`ROOT_RADIUS_MM` / `SHRINK`^0.5) to 1.3 mm at the tips,
about as Murray's law has it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import solids, tubes
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.motion import lung_displacement_mm, pose_at
from fluoro_jax.sim.body.shapes import occupancy
from fluoro_jax.sim.body.tubes import Shape, Tubes

Array = jax.Array
Scalar = Any

LEVELS = 6  # branchings; 2^6 tips a lung
TIPS = 2**LEVELS
HILUM = ((30.0, 8.0, 20.0), (-28.0, 4.0, 14.0))  # left, right; reference mm
ROOT_RADIUS_MM = 6.4  # in the middle of a first branch
SHRINK = 0.75  # a little more than Murray's 2^(-1/3): side branches not drawn
SWAY = 0.16  # how far a node strays, share of its distance from the hilum
MARGIN_MM = 4.0  # tips end this far from the lung's edge
SAMPLES = 24  # points along the way
LONGEST_MM = 190.0
COARSE = 3  # branchings drawn in large windows
REACH_MM = (60.0, 40.0)  # large and small windows


def _directions() -> np.ndarray:
    """Returns directions `[64, 3]` of the left lung's tips, sorted into a tree."""
    index = np.arange(TIPS) + 0.5
    turn = np.pi * (1.0 + 5.0**0.5) * index
    out = 1.0 - index / TIPS * 1.25  # cosine with the lateral axis, to -0.25
    flat = np.sqrt(1.0 - out**2)
    ways = np.stack([out, flat * np.cos(turn), flat * np.sin(turn)], axis=-1)
    return ways[_halve(ways, np.arange(TIPS))]


def _halve(ways: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns the order in which neighbours in the tree are adjacent."""
    if len(order) == 1:
        return order
    spread = ways[order] - ways[order].mean(0)
    axis = np.linalg.svd(spread, full_matrices=False)[2][0]
    order = order[np.argsort(spread @ axis, kind="stable")]
    half = len(order) // 2
    return np.concatenate([_halve(ways, order[:half]), _halve(ways, order[half:])])


def _tree() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns level and parent (0: the hilum) of the 126 nodes of a lung, and weights.

    A node is the mean of its tips, drawn in towards the hilum: weights `[126, 64]`.
    """
    level, parent, mean = [], [], []
    for depth in range(1, LEVELS + 1):
        count = 2**depth
        share = (depth / LEVELS) ** 0.85
        for place in range(count):
            level.append(depth)
            parent.append(0 if depth == 1 else count // 2 - 1 + place // 2)
            mean.append(np.repeat(np.eye(count)[place], TIPS // count))
            mean[-1] *= share * count / TIPS
    return np.array(level), np.array(parent), np.array(mean, np.float32)


DIRECTIONS = _directions().astype(np.float32)
NODE_LEVEL, NODE_PARENT, NODE_MEAN = _tree()
COARSE_NODES = 2 ** (COARSE + 1) - 2  # of one lung, drawn in large windows


def grow(anatomy: Anatomy) -> Tubes:
    """Returns the vessels of both lungs at exhale, world mm.

    Returns:
        Tubes of 252 pieces: the 28 of the first `COARSE` branchings, then the others.
    """
    seed = jnp.asarray(anatomy.vessel_seed * 2.0**20, jnp.int32)
    key = jax.random.key(seed)
    side = jnp.asarray([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]).reshape(2, 1, 3)
    hilum = jnp.asarray(HILUM).reshape(2, 1, 3)
    # one draw for all: each costs seconds to compile
    chance = jax.random.normal(key, (2, 3 * TIPS, 3))
    ways = (jnp.asarray(DIRECTIONS)[None] + 0.06 * chance[:, :TIPS]) * side
    ways = ways / jnp.linalg.norm(ways, axis=-1, keepdims=True)
    tips = ways * _reach_mm(anatomy, hilum, ways)[..., None]
    # all branchings in one product: level by level they took thrice as long to compile
    exact = jax.lax.Precision.HIGHEST
    mean = jnp.einsum("nt,stc->snc", jnp.asarray(NODE_MEAN), tips, precision=exact)
    shake = chance[:, TIPS : TIPS + len(NODE_LEVEL)]
    hilum_distance = jnp.linalg.norm(mean, axis=-1, keepdims=True)
    loose = 0.5 * SWAY * (1.0 - (NODE_LEVEL / LEVELS) ** 2)
    nodes = hilum + mean + shake * hilum_distance * loose.reshape(1, -1, 1)
    before = jnp.concatenate([jnp.broadcast_to(hilum, (2, 1, 3)), nodes], axis=1)
    radius = ROOT_RADIUS_MM * SHRINK ** (NODE_LEVEL - 1.0)
    ends = np.stack([radius / SHRINK**0.5, radius * SHRINK**0.5], axis=-1)
    thick = jnp.broadcast_to(ends[None] * anatomy.vessel_scale, (2, *ends.shape))
    start = solids.to_world(anatomy, before[:, NODE_PARENT])
    found = Tubes(start, solids.to_world(anatomy, nodes), thick)
    split = lambda x: (x[:, :COARSE_NODES], x[:, COARSE_NODES:])
    flat = lambda x: jnp.concatenate([p.reshape(-1, p.shape[-1]) for p in split(x)])
    return jax.tree.map(flat, found)


def _reach_mm(anatomy: Anatomy, hilum: Array, ways: Array) -> Array:
    """Returns the depth of the lung from the hilum along each way, `[2, 64]` mm."""
    distance = jnp.linspace(0.0, LONGEST_MM, SAMPLES + 1)[1:].reshape(1, 1, -1)
    points = hilum[..., None, :] + ways[..., None, :] * distance[..., None]
    place = (points[..., 0], points[..., 1], points[..., 2])
    depth = -solids.lung_distance(pose_at(anatomy, 0.0, 0.0), place)
    # the furthest point well inside
    reach = jnp.max(jnp.where(depth > MARGIN_MM, distance, 0.0), axis=-1)
    return jnp.maximum(reach, 20.0)


def carried(anatomy: Anatomy, vessel: Tubes, si_mm: Scalar, ap_mm: Scalar) -> Tubes:
    """Returns vessels of exhale where the lung has carried them, world mm."""
    move = lambda p: p + lung_displacement_mm(anatomy, si_mm, ap_mm, p)
    return Tubes(move(vessel.start), move(vessel.end), vessel.radius)


def vessel_share(vessel: Tubes, grid: Grid, shape: Shape) -> Array:
    """Returns the share of each voxel filled by vessels, `[Z, Y, X]`.

    Args:
        vessel: `grow`'s pieces, in its order, where they are now.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
    """
    coarse = 2 * COARSE_NODES
    parts = (
        jax.tree.map(lambda leaf: leaf[:coarse], vessel),
        jax.tree.map(lambda leaf: leaf[coarse:], vessel),
    )
    distance = [
        tubes.tube_distance(part, grid, shape, reach_mm=reach)
        for part, reach in zip(parts, REACH_MM, strict=True)
    ]
    return occupancy(jnp.minimum(*distance), grid.spacing_mm[0])
