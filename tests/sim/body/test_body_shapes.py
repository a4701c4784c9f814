import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import shapes, solids, tubes

GRID = Grid((-31.0, -31.0, -31.0), (2.0, 2.0, 2.0))
SHAPE = (32, 32, 32)
PLACE = solids.grid_axes(GRID, SHAPE)


def volume(distance):
    return float(jnp.sum(shapes.occupancy(distance, 2.0))) * 8.0


def random_places(count=400, spread=40.0):
    points = np.random.default_rng(0).uniform(-spread, spread, (count, 3))
    return points, tuple(jnp.asarray(points, jnp.float32).T)


def test_ellipsoid_has_its_volume_and_sign():
    turn = ((0.6, 0.8, 0.0), (-0.8, 0.6, 0.0), (0.0, 0.0, 1.0))
    centre, semi = (2.0, -3.0, 1.0), (24.0, 15.0, 18.0)
    distance = shapes.ellipsoid(PLACE, centre, semi, turn)
    assert volume(distance) == pytest.approx(4 / 3 * np.pi * np.prod(semi), rel=5e-3)
    points, place = random_places()
    along = (points - centre) @ np.array(turn).T / semi
    inside = (along**2).sum(1) < 1.0
    got = np.asarray(shapes.ellipsoid(place, centre, semi, turn)) < 0
    np.testing.assert_array_equal(got, inside)


def test_sphere_and_capsule_are_exact_distances():
    points, place = random_places()
    ball = shapes.ellipsoid(place, (1.0, 2.0, 3.0), (10.0,) * 3)
    want = np.linalg.norm(points - [1.0, 2.0, 3.0], axis=1) - 10.0
    np.testing.assert_allclose(ball, want, atol=1e-3)
    a, b = np.array([-10.0, 0.0, 5.0]), np.array([15.0, 8.0, -2.0])
    t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    gap = np.linalg.norm(points - a - t[:, None] * (b - a), axis=1)
    got = shapes.capsule(place, a, b, (6.0, 2.0))
    np.testing.assert_allclose(got, gap - (6.0 - 4.0 * t), atol=1e-3)
    round_ = shapes.flat_capsule(place, a, b, (0.0, 0.0, 1.0), (4.0, 4.0))
    np.testing.assert_allclose(round_, gap - 4.0, atol=1e-3)


def test_capsule_and_flat_capsule_have_their_volume():
    tube = shapes.capsule(PLACE, (0.0, 0.0, -12.0), (0.0, 0.0, 12.0), 8.0)
    want = np.pi * 64.0 * 24.0 + 4 / 3 * np.pi * 512.0
    assert volume(tube) == pytest.approx(want, rel=0.01)
    flat = shapes.flat_capsule(
        PLACE, (0.0, 0.0, -40.0), (0.0, 0.0, 40.0), (1.0, 0.0, 0.0), (5.0, 11.0)
    )
    assert volume(flat) == pytest.approx(np.pi * 55.0 * 64.0, rel=0.01)
    # thin along the normal
    edge = lambda x, y: float(
        shapes.flat_capsule(
            tuple(jnp.full((1,), v) for v in (x, y, 3.0)),
            (0.0, 0.0, -40.0),
            (0.0, 0.0, 40.0),
            (1.0, 0.0, 0.0),
            (5.0, 11.0),
        )[0]
    )
    assert edge(5.0, 0.0) == pytest.approx(0.0, abs=1e-3)
    assert edge(0.0, 11.0) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("square", [0.0, 0.254, 0.45, 0.9])
def test_squircle_meets_its_edge_and_axes(square):
    half = (jnp.float32(30.0), jnp.float32(20.0))
    x = jnp.linspace(-29.0, 29.0, 41)
    y = shapes.squircle_edge(x, half, square)
    np.testing.assert_allclose(
        shapes.squircle_distance(x, y, half, square), 0.0, atol=0.02
    )
    out = shapes.squircle_distance(jnp.full((1,), 33.0), jnp.zeros((1,)), half, square)
    np.testing.assert_allclose(out, 3.0, atol=0.01)
    if square == 0.0:
        np.testing.assert_allclose(y, 20.0 * np.sqrt(1 - (x / 30.0) ** 2), rtol=1e-4)


def test_table_is_linear_interpolation():
    knots, values = (-5.0, 0.0, 3.0, 10.0), (2.0, -1.0, 4.0, 4.5)
    at = np.random.default_rng(0).uniform(-9.0, 14.0, (7, 5)).astype(np.float32)
    got = shapes.table(jnp.asarray(at), knots, values)
    np.testing.assert_allclose(got, np.interp(at, knots, values), atol=1e-5)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0, 4.5, 12.0])
@pytest.mark.parametrize("voxel", [2.0, 4.0, 8.0])
def test_a_tube_weighs_the_same_on_every_grid(radius, voxel):
    """Mean over a cross-section of the soft-edged tube: its true area."""
    fine = np.linspace(-40.0, 40.0, 801)
    x, y = np.meshgrid(fine, fine)
    thin = float(shapes.soft_radius(jnp.float32(radius), voxel))
    share = np.clip(0.5 - (np.hypot(x, y) - thin) / voxel, 0.0, 1.0)
    area = share.sum() * (fine[1] - fine[0]) ** 2
    assert area == pytest.approx(np.pi * radius**2, rel=0.02)


def test_windows_draw_what_evaluating_everywhere_draws():
    rng = np.random.default_rng(1)
    start = rng.uniform(-24.0, 24.0, (30, 3)).astype(np.float32)
    end = start + rng.uniform(-9.0, 9.0, (30, 3)).astype(np.float32)
    radius = rng.uniform(2.0, 5.0, (30, 2)).astype(np.float32)
    normal = np.cross(end - start, rng.normal(size=(30, 3)))
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
    for flat in (None, jnp.asarray(normal)):
        found = tubes.Tubes(*(jnp.asarray(a) for a in (start, end, radius)), flat)
        got = tubes.tube_distance(found, GRID, SHAPE, reach_mm=30.0)
        want = jnp.full(SHAPE, 2.0)
        for i in range(30):
            r = shapes.soft_radius(found.radius[i], 2.0)
            if flat is None:
                one = shapes.capsule(PLACE, start[i], end[i], (r[0], r[1]))
            else:
                mean = jnp.sqrt(jnp.prod(found.radius[i]))
                r = found.radius[i] * shapes.soft_radius(mean, 2.0) / mean
                one = shapes.flat_capsule(PLACE, start[i], end[i], normal[i], (*r,))
            want = jnp.minimum(want, one)
        share = lambda d: np.asarray(shapes.occupancy(d, 2.0))
        np.testing.assert_allclose(share(got), share(want), atol=1e-4)
        assert share(got).sum() > 100.0


def test_pieces_follow_their_chain():
    nodes = jnp.arange(24.0).reshape(2, 4, 3)
    found = tubes.pieces(nodes, jnp.ones((2, 4)))
    assert found.start.shape == found.end.shape == (6, 3)
    np.testing.assert_array_equal(found.end[:2], found.start[1:3])
    both = tubes.join(found, found)
    assert both.radius.shape == (12, 2)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(both))
