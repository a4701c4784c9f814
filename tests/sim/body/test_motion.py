import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.sim.body import skeleton, solids
from fluoro_jax.sim.body.anatomy import Anatomy, sample_anatomy
from fluoro_jax.sim.body.motion import lung_displacement_mm, pose_at

BREATHS = [(0.0, 0.0), (16.0, 8.0), (24.0, 12.0), (40.0, 20.0), (-5.0, -3.0)]
patient = pytest.mark.parametrize("anatomy", range(4), indirect=True)
nodes_at = jax.jit(skeleton.rib_nodes)
moved_by = jax.jit(lung_displacement_mm)
sampled = jax.jit(sample_anatomy)


@pytest.fixture(scope="module")
def anatomy(request):
    """The mean patient, then three drawn; typed alike, so that a program serves all."""
    if request.param:
        return sampled(jax.random.key(request.param - 1))
    return jax.tree.map(jnp.float32, Anatomy())


def crossing(distance, low, high):
    """Where a function of one number changes sign, by bisection, mm; may be traced."""
    rising = distance(high) > 0

    def halve(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        above = (distance(middle) > 0) == rising
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, 40, halve, (jnp.float32(low), jnp.float32(high)))
    return 0.5 * (low + high)


@patient
def test_ribs_turn_and_never_stretch(anatomy):
    """All distances between nodes of a rib, so its form and its length, to 0.1 %."""
    gaps = lambda n: np.linalg.norm(n[:, :, None] - n[:, None], axis=-1)
    rest = np.asarray(nodes_at(anatomy, 0.0), np.float64)
    length = np.linalg.norm(np.diff(rest, axis=1), axis=-1).sum(1)
    assert rest.shape == (24, 13, 3)
    for _, ap in BREATHS:
        now = np.asarray(nodes_at(anatomy, ap), np.float64)
        np.testing.assert_allclose(gaps(now), gaps(rest), atol=2e-3)
        along = np.linalg.norm(np.diff(now, axis=1), axis=-1).sum(1)
        np.testing.assert_allclose(along, length, rtol=1e-3)
        np.testing.assert_allclose(now[:, 0], rest[:, 0], atol=1e-4)  # the joint


def test_rib_lengths_are_those_of_the_table():
    """LIDC-IDRI-0001: 100, 202, 250, 149 mm without neck and widening."""
    nodes = np.asarray(nodes_at(Anatomy(), 0.0))
    length = np.linalg.norm(np.diff(nodes, axis=1), axis=-1).sum(1)[:12]
    assert length.argmax() in (5, 6) and length[11] == length.min()
    for pair, bare in ((1, 100.0), (3, 202.0), (7, 250.0), (11, 149.0)):
        assert bare < length[pair - 1] < 1.22 * bare + 15.0


@patient
@pytest.mark.parametrize("ap_mm", [8.0, 20.0])
def test_front_ends_move_anteriorly_as_asked_and_rise(anatomy, ap_mm):
    rest, now = (np.asarray(nodes_at(anatomy, ap)) for ap in (0.0, ap_mm))
    moved = (now - rest)[:, -1]
    want = -ap_mm * np.tile(skeleton.RIB_SHARE, 2)
    np.testing.assert_allclose(moved[:, 1], want, atol=0.01)
    rise = (
        moved.reshape(2, 12, 3)[:, :10, 2] / (ap_mm * np.array(skeleton.RIB_SHARE))[:10]
    )
    assert (rise > 0.8).all() and (rise < 2.6).all()  # about 1.7 for a slope of 31 deg
    # both sides of the chest move out, not in
    assert (moved[:10, 0] > 0).all() and (moved[12:22, 0] < 0).all()


def test_ribs_slope_down_to_the_front():
    """24 to 42 degrees at inspiration, some steeper at exhale."""
    nodes = np.asarray(nodes_at(Anatomy(), 0.0))[:9]
    reach = nodes[:, -1] - nodes[:, 0]
    slope = np.degrees(np.arctan2(-reach[:, 2], -reach[:, 1]))
    assert (slope > 25).all() and (slope < 55).all()


@jax.jit
def cage_at_ribs(anatomy, si, ap):
    pose = pose_at(anatomy, si, ap)
    body = pose.ribs.reshape(2, 12, 13, 3)[:, :10, 4:]
    place = solids.to_reference(anatomy, tuple(jnp.moveaxis(body, -1, 0)))
    return solids.cage_distance(pose, place)


@patient
def test_ribs_lie_in_the_wall_all_through_the_breath(anatomy):
    """No rib in the lung, none farther from it than a few mm of muscle."""
    worst = []
    for si, ap in BREATHS:
        cage = np.asarray(cage_at_ribs(anatomy, si, ap))
        assert cage.min() > -solids.WALL_MM - 6.0
        worst.append(np.abs(cage).mean())
    assert max(worst) < 5.5


def distance_at(anatomy, solid, place, si_mm, ap_mm):
    one = lambda v: jnp.reshape(v, (1,))
    place = solids.to_reference(anatomy, tuple(one(v) for v in place))
    return solid(pose_at(anatomy, si_mm, ap_mm), place)[0]


@jax.jit
def dome_top_mm(anatomy, x0, y0, si, ap):
    """Height of a dome's top, which lies where the chest's stretch has brought it."""

    def follow(_, found):
        x, y, _ = found
        height = lambda z: distance_at(anatomy, solids.dome_distance, (x, y, z), si, ap)
        z = crossing(height, -120.0, 60.0)
        point = jnp.stack([x0, y0, z + si]).reshape(1, 3)
        point = point + lung_displacement_mm(anatomy, si, ap, point)
        return point[0, 0], point[0, 1], z

    start = (jnp.float32(x0), jnp.float32(y0), jnp.float32(0.0))
    return jax.lax.fori_loop(0, 6, follow, start)[2]


@functools.partial(jax.jit, static_argnums=1)
def front_mm(anatomy, solid, z, si, ap):
    at = lambda y: distance_at(anatomy, solid, (0.0, y, z), si, ap)
    return crossing(at, 0.0, -190.0)


@patient
@pytest.mark.parametrize(("si", "ap"), BREATHS)
def test_diaphragm_and_chest_move_as_far_as_asked(anatomy, si, ap):
    """Top of each dome, front of the lung and of the skin, to 0.1 mm."""
    for side, dome in ((1.0, solids.DOME_LEFT), (-1.0, solids.DOME_RIGHT)):
        x0 = np.float32(side * dome[0]) * np.asarray(anatomy.scale_lateral)
        y0 = np.float32(dome[1]) * np.asarray(anatomy.scale_ap)
        rest, now = (
            float(dome_top_mm(anatomy, x0, y0, *breath))
            for breath in ((0.0, 0.0), (si, ap))
        )
        assert rest - now == pytest.approx(si, abs=0.1)
    for solid in (solids.cage_distance, solids.skin_distance):
        z = np.float32(-20.0) * np.asarray(anatomy.scale_height)
        rest, now = (
            float(front_mm(anatomy, solid, z, *breath))
            for breath in ((0.0, 0.0), (si, ap))
        )
        assert rest - now == pytest.approx(ap, abs=0.1)


@jax.jit
def field(anatomy, si, ap, points):
    one = lambda p: p + lung_displacement_mm(anatomy, si, ap, p)
    return jax.vmap(one)(points), jax.vmap(jax.jacfwd(one))(points)


@functools.partial(jax.jit, static_argnums=0)
def solid_at(solid, anatomy, si, ap, points):
    place = solids.to_reference(anatomy, tuple(points.T))
    return solid(pose_at(anatomy, si, ap), place)


to_world = jax.jit(solids.to_world)


def lung_points(anatomy, count=1500):
    rng = np.random.default_rng(0)
    box = np.array([[-130.0, 130.0], [-90.0, 95.0], [-80.0, 126.0]])
    points = rng.uniform(box[:, 0], box[:, 1], (count, 3)).astype(np.float32)
    points = np.asarray(to_world(anatomy, points))
    depth = -np.asarray(solid_at(solids.lung_distance, anatomy, 0.0, 0.0, points))
    return points, depth


@patient
@pytest.mark.parametrize(("si", "ap"), BREATHS[1:])
def test_displacement_is_smooth_and_invertible(anatomy, si, ap):
    points, _ = lung_points(anatomy)
    moved, slope = jax.device_get(field(anatomy, si, ap, points))
    volume = np.linalg.det(np.asarray(slope, np.float64))
    assert volume.min() > 0.5 and volume.max() < 2.5
    assert np.isfinite(slope).all()
    # neighbours stay neighbours: no jump anywhere
    near = points + np.float32([0.3, 0.3, 0.3])
    beside, _ = field(anatomy, si, ap, near)
    step = np.linalg.norm(np.asarray(beside) - moved, axis=1)
    assert step.max() < 3.0 * 0.52


@patient
def test_displacement_carries_the_lung_onto_the_lung(anatomy):
    """The field and the re-evaluated solids agree: walls to 1.5 mm, domes to 3 mm."""
    points, depth = lung_points(anatomy, 6000)
    inside = depth > 6.0
    for si, ap in BREATHS[1:4]:
        moved, _ = field(anatomy, si, ap, points)
        at = lambda solid, s=si, a=ap, m=moved: np.asarray(
            solid_at(solid, anatomy, s, a, m)
        )
        wall = at(solids.cage_distance) + solids.WALL_MM
        assert wall[inside].max() < 1.5
        dome = at(solids.dome_distance)
        assert dome[inside].min() > -3.0


def test_no_breath_no_displacement():
    points = np.random.default_rng(0).normal(0, 60, (50, 3)).astype(np.float32)
    moved = moved_by(sampled(jax.random.key(0)), 0.0, 0.0, points)
    np.testing.assert_allclose(moved, 0.0, atol=2e-5)
    points[0] = 50.0, 0.0, -40.0
    down = moved_by(jax.tree.map(np.float32, Anatomy()), 20.0, 0.0, points)[0]
    np.testing.assert_allclose(down, [0.0, 0.0, -20.0], atol=1e-4)


def test_heart_follows_the_diaphragm_and_beats():
    pose_of = jax.jit(pose_at)
    rest, deep = (
        jax.device_get(pose_of(Anatomy(), si, 0.0, 0.0)) for si in (0.0, 20.0)
    )
    assert deep.heart_mm[1] - rest.heart_mm[1] == pytest.approx(12.0)
    size = [
        float(pose_of(Anatomy(), 0.0, 0.0, phase).systolic_contraction)
        for phase in (0.0, 0.25, 1.0)
    ]
    assert size[0] == size[2] == 0.0 < size[1]


def test_sternum_rises_with_the_ribs():
    rise_of = jax.jit(lambda ap: pose_at(Anatomy(), 0.0, ap).rise_mm)
    rise = [float(rise_of(ap)) for ap in (0.0, 10.0, 20.0)]
    assert rise[0] == 0.0
    assert 1.2 * 10 < rise[1] < 2.2 * 10 and rise[2] < 2.2 * 20
