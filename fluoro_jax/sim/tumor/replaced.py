"""Vessels and bronchi that a tumour takes the place of, along every ray.

A tumour is added to a clip of its patient as (mu_tumor - mu_lung) times its chord,
which holds where it replaces parenchyma. Where a vessel or a bronchus runs through the
tumour the clip holds that tube's attenuation instead of the parenchyma's, and
integral (mu_there - mu_lung) ds over the tumour has to be taken away again.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fluoro_jax.geometry import AnyArray, Geometry, pixel_positions_mm, view_axes
from fluoro_jax.sim.body import shapes
from fluoro_jax.sim.body.shapes import Axes
from fluoro_jax.sim.body.tubes import Tubes
from fluoro_jax.sim.tumor.tumor import Tumor, shadow_window, tumor_chord_mm

Array = jax.Array
Scalar = Any

RAYS = 24  # rows and columns of rays through the tumour's shadow
POINTS = 16  # points on each ray, evenly within the enclosing sphere
NEAREST = 24  # tubes looked at: those that reach deepest into the tumour
SOFT_EDGE_MM = 2.0  # least width of a tube's edge; at least the distance of two points


def replaced_path_mm(
    geometry: Geometry,
    tumor: Tumor,
    centre_mm: Float[AnyArray, " 3"],
    chord_mm: Float[Array, "rows cols"],
    *,
    vessel: Tubes,
    airway: Tubes,
) -> tuple[Float[Array, "rows cols"], Float[Array, "rows cols"]]:
    """Returns the path lengths of vessel and of airway within a tumour, on every ray.

    Sampled on 24 x 24 rays and 16 points a ray, as shares of the chord; a tube
    has a soft edge about as wide as the points are apart, as it has in the body's
    voxels. Where both are, there is airway, as the volume is painted.

    Args:
        geometry: the view.
        tumor: gives size and shape.
        centre_mm: `[3]` world mm, where its centre is now.
        chord_mm: `tumor_chord_mm` of the same view and place.
        vessel: `[N]` tubes, world mm, now.
        airway: `[M]` tubes, world mm, now.

    Returns:
        (vessel, airway), each `[rows, cols]` mm; 0 where the ray misses the tumour.
    """
    window = shadow_window(geometry, tumor, centre_mm, RAYS)
    points, step_mm = _points(window, tumor, centre_mm)
    axes = jnp.stack(view_axes(geometry))
    inside = _inside(tumor, points, axes)
    edge = jnp.maximum(tumor.diameter_mm / POINTS, SOFT_EDGE_MM)

    def share(found: Tubes) -> Array:
        return shapes.occupancy(
            _distance(_near(found, axes, centre_mm), points, edge), edge
        )

    air = share(airway)
    path = lambda part: jnp.sum(part * inside, axis=-1) * step_mm
    paths = [
        path(part) for part in (jnp.ones_like(air), share(vessel) * (1.0 - air), air)
    ]
    whole, *parts = [_to_panel(values, window, geometry) for values in paths]
    # shares of the chord vary slowly, the chord itself ends steeply at the silhouette
    scale = jnp.where(whole > 0.0, chord_mm / jnp.where(whole > 0.0, whole, 1.0), 0.0)
    return parts[0] * scale, parts[1] * scale


def _points(window: Geometry, tumor: Tumor, centre_mm: AnyArray) -> tuple[Axes, Array]:
    """Returns points on the window's rays and their distance, mm.

    Returns:
        (right, down, beam) `[R, R, P]` mm about the tumour's centre; `[R, R]` mm, 0 on
        a ray that misses the enclosing sphere.
    """
    centre = jnp.stack(view_axes(window)) @ jnp.asarray(centre_mm, jnp.float32)
    ahead = window.sad_mm + centre[2]
    rows, cols = pixel_positions_mm(window)
    slope_down = (rows / window.sdd_mm).reshape(-1, 1)
    slope_right = (cols / window.sdd_mm).reshape(1, -1)
    right = ahead * slope_right - centre[0] + 0.0 * slope_down
    down = ahead * slope_down - centre[1] + 0.0 * slope_right
    long_sq = 1.0 + jnp.square(slope_right) + jnp.square(slope_down)
    middle = -(right * slope_right + down * slope_down) / long_sq
    sphere = dataclasses.replace(tumor, shape=None)
    step = tumor_chord_mm(window, sphere, centre_mm) / POINTS
    along = jnp.arange(POINTS, dtype=jnp.float32) - 0.5 * (POINTS - 1)
    ahead_mm = (
        middle[..., None]
        + along.reshape(1, 1, -1) * (step / jnp.sqrt(long_sq))[..., None]
    )
    place = lambda start, slope: start[..., None] + slope[..., None] * ahead_mm
    return (place(right, slope_right), place(down, slope_down), ahead_mm), step


def _inside(tumor: Tumor, points: Axes, axes: Array) -> Array:
    """Returns which points `[R, R, P]` lie in the tumour, 0 or 1."""
    shape = tumor.shape
    if shape is None:
        return jnp.ones_like(points[0] + points[2])

    def part_of(part: Any) -> Array:
        turn = part.turn @ axes.T / (part.semi * tumor.diameter_mm).reshape(3, 1)
        shift = turn @ (axes @ part.offset * tumor.diameter_mm)
        norm_sq = jnp.zeros((1, 1, 1), jnp.float32)
        for i in range(3):
            along = sum(turn[i, k] * points[k] for k in range(3))
            norm_sq = norm_sq + jnp.square(along - shift[i])
        return norm_sq <= 1.0

    found = jax.lax.map(part_of, shape)
    return jnp.any(found, axis=0).astype(jnp.float32)


def _near(found: Tubes, axes: Array, centre_mm: AnyArray) -> Tubes:
    """Returns the tubes nearest to the tumour, in view axes about its centre, mm."""
    seen = lambda p: (p - jnp.asarray(centre_mm, jnp.float32).reshape(1, 3)) @ axes.T
    start, end = seen(found.start), seen(found.end)
    origin = jnp.zeros((1,), jnp.float32)
    first, last = (tuple(p[:, i] for i in range(3)) for p in (start, end))
    thick = (found.radius[:, 0], found.radius[:, 1])
    gap = shapes.capsule((origin, origin, origin), first, last, thick)
    count = min(NEAREST, gap.shape[0])
    _, index = jax.lax.top_k(-gap, count)
    return Tubes(start[index], end[index], found.radius[index])


def _distance(near: Tubes, points: Axes, edge: Scalar) -> Array:
    """Returns the signed distance to the nearest tube, `[R, R, P]` mm."""
    thick = shapes.soft_radius(near.radius, edge)

    def draw(field: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, None]:
        start, end, radius = piece
        here = shapes.capsule(points, start, end, (radius[0], radius[1]))
        return jnp.minimum(field, here), None

    shape = jnp.broadcast_shapes(*(p.shape for p in points))
    outside = jnp.full(shape, 1e3, jnp.float32)  # mm; further than any tube
    return jax.lax.scan(draw, outside, (near.start, near.end, thick))[0]


def _to_panel(values: Array, window: Geometry, geometry: Geometry) -> Array:
    """Resamples the window's rays to the panel's, linearly, 0 beyond its edge."""
    matrices = []
    for mine, panel, pitch in zip(
        pixel_positions_mm(window),
        pixel_positions_mm(geometry),
        window.pixel_mm,
        strict=True,
    ):
        away = jnp.abs(panel.reshape(-1, 1) - mine.reshape(1, -1)) / pitch
        matrices.append(jnp.maximum(1.0 - away, 0.0))
    down, right = matrices
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("ri,ij,cj->rc", down, values, right, precision=exact)
