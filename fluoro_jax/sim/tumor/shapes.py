"""Tumours that are no spheres: unions of ellipsoids, still in closed form.

One primitive serves all: an ellipsoid is one, a lobulated mass a cluster of spheres, a
spiculated one a sphere with long thin needles, ellipsoids that taper to a point. The
length of a ray inside a union is the length of the union of its intervals, so the chord
is exact for all of them. Everything is measured in diameters of the sphere, about the
tumour's centre, that just holds the whole shape: what is known of that sphere (it lies
in the lung, it is so large) then holds for the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, pixel_positions_mm, view_axes

Array = jax.Array
Scalar = Any
Leaf = Any  # an array, or what `jax.tree.map` puts in its place

KINDS = ("sphere", "ellipsoid", "lobulated", "spiculated")
LOBES = (3, 6)  # spheres of a lobulated mass
SPOKES = (6, 12)  # needles of a spiculated one
CORE_SHARE = (0.5, 0.7)  # of its diameter that is core
SPOKE_WIDTH = (0.03, 0.06)  # of its diameter, thickest place of a needle
AXIS_RATIO = (0.5, 1.0)  # shorter axes of an ellipsoid over the longest


@struct.dataclass
class Shape:
    """A union of K ellipsoids, in diameters of the enclosing sphere.

    K is the same for all random shapes of a kind (the first part is repeated, which
    changes no union), so that one compilation serves them all.

    Attributes:
        offset: `[K, 3]` centres, world axes (LPS) about the tumour's centre.
        semi: `[K, 3]` semi-axes.
        turn: `[K, 3, 3]`; row i is the direction of semi-axis i in world axes.
    """

    offset: Leaf
    semi: Leaf
    turn: Leaf


def ellipsoid(
    axes_mm: Sequence[float], *, turn_deg: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[Shape, float]:
    """Returns one ellipsoid.

    Args:
        axes_mm: three full axis lengths; along x, y, z before turning.
        turn_deg: angles about the world's x, then y, then z axis.

    Returns:
        (shape, diameter_mm), the latter the longest axis.

    Raises:
        UserError: for an axis that is no positive length.
    """
    axes = np.asarray(axes_mm, float)
    if axes.shape != (3,) or not (np.isfinite(axes).all() and (axes > 0.0).all()):
        raise UserError(
            f"ellipsoid with axes {list(map(float, axes.ravel()))} mm",
            needed="three lengths of more than 0 mm",
            why="an ellipsoid has three axes",
            fix="give three full axis lengths, for example (30, 22, 18)",
        )
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix().T
    longest = float(axes.max())
    return _shape([np.zeros(3)], [0.5 * axes / longest], [turn]), longest


def sample_shape(rng: np.random.Generator, kind: str) -> Shape | None:
    """Returns a random shape of one of `KINDS`; None for the sphere.

    Args:
        rng: where the random numbers come from.
        kind: one of `KINDS`; ranges are this module's constants (ours).

    Raises:
        UserError: for another kind.
    """
    if kind == "sphere":
        return None
    makers = {
        "ellipsoid": _sample_ellipsoid,
        "lobulated": _sample_lobulated,
        "spiculated": _sample_spiculated,
    }
    if kind not in makers:
        raise UserError(
            f"tumour shape {kind!r}",
            needed="one of " + ", ".join(KINDS),
            why="only these have a closed form here",
            fix="choose one of them",
        )
    return makers[kind](rng)


def _sample_ellipsoid(rng: np.random.Generator) -> Shape:
    axes = np.array([1.0, *rng.uniform(*AXIS_RATIO, 2)])
    return _shape([np.zeros(3)], [0.5 * axes], [_any_turn(rng)])


def _sample_lobulated(rng: np.random.Generator) -> Shape:
    """Returns a middle sphere and others that overlap it, in the enclosing sphere."""
    count = int(rng.integers(LOBES[0], LOBES[1] + 1))
    radius = np.concatenate([[1.0], rng.uniform(0.5, 0.8, count - 1)])
    away = _spread(rng, count - 1) * rng.uniform(0.6, 0.9, (count - 1, 1))
    offset = np.concatenate([np.zeros((1, 3)), away])
    reach = np.max(np.linalg.norm(offset, axis=1) + radius)
    scale = 0.5 / reach
    semi = np.repeat(radius[:, None], 3, axis=1)
    turns = [np.eye(3)] * count
    return _shape(offset * scale, semi * scale, turns, LOBES[1])


def _sample_spiculated(rng: np.random.Generator) -> Shape:
    """Returns a core with needles that end on the enclosing sphere."""
    count = int(rng.integers(SPOKES[0], SPOKES[1] + 1))
    core = 0.5 * rng.uniform(*CORE_SHARE)
    toward = _spread(rng, count)
    tip = np.concatenate(
        [[0.5], rng.uniform(core + 0.3 * (0.5 - core), 0.5, count - 1)]
    )
    width = 0.5 * rng.uniform(*SPOKE_WIDTH, count)
    # A needle's middle lies on the core's surface, its inner half within the core.
    semi = np.stack([tip - core, width, width], axis=1)
    offset = toward * core
    turns = [_first_axis_along(direction) for direction in toward]
    offset, semi = [np.zeros(3), *offset], [np.full(3, core), *semi]
    return _shape(offset, semi, [np.eye(3), *turns], SPOKES[1] + 1)


def even_directions(count: int) -> np.ndarray:
    """Returns points spread evenly over the unit sphere, `[count, 3]` (Fibonacci)."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    flat = np.sqrt(1.0 - z**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=-1)


def _spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns directions `[count, 3]`, even over the sphere but for random shifts."""
    points = even_directions(count) @ _any_turn(rng) + rng.normal(0.0, 0.2, (count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _any_turn(rng: np.random.Generator) -> np.ndarray:
    four = rng.normal(size=4)
    return Rotation.from_quat(four / np.linalg.norm(four)).as_matrix()


def _first_axis_along(direction: np.ndarray) -> np.ndarray:
    """Returns rows of an orthonormal basis whose first is `direction`."""
    other = np.eye(3)[np.argmin(np.abs(direction))]
    second = np.cross(direction, other)
    second /= np.linalg.norm(second)
    return np.stack([direction, second, np.cross(direction, second)])


def _shape(offset: Any, semi: Any, turn: Any, count: int = 1) -> Shape:
    """Returns a shape of `count` parts, the first repeated until there are so many."""
    parts = []
    for values in (offset, semi, turn):
        stacked = np.stack([*values]).astype(np.float32)
        more = np.repeat(stacked[:1], count - len(stacked), axis=0)
        parts.append(np.concatenate([stacked, more]))
    return Shape(*parts)


def shape_chord_mm(
    geometry: Geometry,
    shape: Shape,
    centre_mm: Float[AnyArray, " 3"],
    diameter_mm: Scalar,
) -> Float[Array, "rows cols"]:
    """Returns the path length of every pixel's ray through a union of ellipsoids.

    A ray p + t d meets ellipsoid k where |q + t e| <= 1 with q, e = p, d turned into
    its axes and divided by its semi-axes: t = -q.e/e.e +- sqrt((1 - |m|^2) / e.e),
    m = q - (q.e/e.e) e. Intervals are sorted by their start, and each adds what the
    ones before have not covered. p is the ray's point at the tumour's depth, found
    from differences: float32 then keeps micrometres.

    Args:
        geometry: the view.
        shape: of the tumour.
        centre_mm: `[3]` world mm.
        diameter_mm: of the enclosing sphere.

    Returns:
        `[rows, cols]` mm; exactly 0 where the ray misses. Gradients are finite.
    """
    right, down, beam = view_axes(geometry)
    axes = jnp.stack([right, down, beam])
    centre = axes @ jnp.asarray(centre_mm, jnp.float32)
    ahead = geometry.sad_mm + centre[2]
    rows, cols = pixel_positions_mm(geometry)
    slope_down = (rows / geometry.sdd_mm).reshape(-1, 1)
    slope_right = (cols / geometry.sdd_mm).reshape(1, -1)
    along_right = ahead * slope_right - centre[0]
    along_down = ahead * slope_down - centre[1]

    def interval(part: Shape) -> tuple[Array, Array]:
        turn = part.turn @ axes.T / (part.semi * diameter_mm).reshape(3, 1)
        shift = turn @ (axes @ part.offset * diameter_mm)
        ee, qe, q, e = 0.0, 0.0, [], []
        for i in range(3):  # written out, so that XLA fuses it into one pass
            q.append(turn[i, 0] * along_right + turn[i, 1] * along_down - shift[i])
            e.append(turn[i, 0] * slope_right + turn[i, 1] * slope_down + turn[i, 2])
            ee, qe = ee + e[i] * e[i], qe + q[i] * e[i]
        middle = -qe / ee
        miss = sum(jnp.square(q[i] + middle * e[i]) for i in range(3))
        inside = (1.0 - miss) / ee
        hit = inside > 0.0
        half = jnp.where(hit, jnp.sqrt(jnp.where(hit, inside, 1.0)), 0.0)
        return middle - half, middle + half

    start, end = jax.vmap(interval)(shape)
    length = jnp.sqrt(1.0 + jnp.square(slope_right) + jnp.square(slope_down))
    return union_length(start, end) * length


def union_length(start: Array, end: Array) -> Array:
    """Returns the length of the union of K intervals `[K, ...]` on each ray."""
    starts, ends = list(start), list(end)
    # compare and swap: XLA's own sort takes ten times as long on a CPU
    for i, j in sorting_network(len(starts)):
        swap = starts[i] > starts[j]
        pick = lambda x, i=i, j=j, swap=swap: (
            jnp.where(swap, x[j], x[i]),
            jnp.where(swap, x[i], x[j]),
        )
        (starts[i], starts[j]), (ends[i], ends[j]) = pick(starts), pick(ends)
    total, covered = ends[0] - starts[0], ends[0]
    for begin, stop in zip(starts[1:], ends[1:], strict=True):
        total = total + jnp.maximum(stop - jnp.maximum(begin, covered), 0.0)
        covered = jnp.maximum(covered, stop)
    return total


def sorting_network(count: int) -> list[tuple[int, int]]:
    """Returns pairs to compare in turn that sort any `count` values.

    Source:
        Batcher's odd-even merge sort: Knuth, TAOCP 3, 5.2.2, algorithm M.
    """
    pairs = []
    top = 1 << max((count - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs
