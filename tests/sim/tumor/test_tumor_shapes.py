import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, source_mm, view_axes
from fluoro_jax.sim.tumor import shapes
from fluoro_jax.sim.tumor.tumor import (
    Tumor,
    check_tumor,
    sphere_centroid_px,
    sphere_chord_mm,
    tumor_centroid_px,
    tumor_chord_mm,
    tumor_coverage,
    tumor_mask,
)

CENTRE = np.array([90.0, -40.0, 75.0], np.float32)
VIEW = Geometry(1000.0, 1500.0, 217.0, 48, 40, (3.0, 4.0), (-112.0, -95.0))
tumor_chord_mm = jax.jit(tumor_chord_mm)
tumor_mask = jax.jit(tumor_mask)
tumor_centroid_px = jax.jit(tumor_centroid_px)
tumor_coverage = jax.jit(tumor_coverage)
axes_of = jax.jit(view_axes)
UNEVEN = dict(axes_mm=(40.0, 25.0, 12.0), turn_deg=(20.0, 35.0, -50.0))


def view_of(centre, pixels, side_mm, gantry_deg=217.0):
    """A square panel about the shadow of a point."""
    g = Geometry(1000.0, 1500.0, gantry_deg, pixels, pixels, (1.0, 1.0))
    right, down, beam = (np.asarray(a) for a in axes_of(g))
    scale = 1500.0 / (1000.0 + centre @ beam)
    pitch = side_mm / pixels
    return g.replace(
        pixel_mm=(pitch, pitch),
        offset_mm=(centre @ down * scale, centre @ right * scale),
    )


def make(kind, seed=0, diameter=40.0):
    shape = shapes.sample_shape(np.random.default_rng(seed), kind)
    return Tumor(CENTRE, diameter, 0.0, 0.0, shape=shape)


def inside(tumor, points):
    """Whether points `[N, 3]` about the centre lie in the tumour: plain float64."""
    s, d = tumor.shape, tumor.diameter_mm
    found = np.zeros(len(points), bool)
    for offset, semi, turn in zip(s.offset, s.semi, s.turn, strict=True):
        local = (points - offset * d) @ turn.T.astype(float) / (semi * d)
        found |= (local**2).sum(-1) < 1.0
    return found


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("ellipsoid", 0), ("lobulated", 0), ("lobulated", 1), ("spiculated", 1)],
)
def test_chord_is_the_length_of_the_ray_inside(kind, seed):
    tumor = make(kind, seed)
    chord = np.asarray(tumor_chord_mm(VIEW, tumor, CENTRE))
    right, down, beam = (np.asarray(a, float) for a in axes_of(VIEW))
    source = np.asarray(source_mm(VIEW), float)
    v = (np.arange(48) - 23.5) * 3.0 - 112.0
    u = (np.arange(40) - 19.5) * 4.0 - 95.0
    hits = np.argwhere(chord > 0)
    assert len(hits) > 30
    for r, c in hits[:: len(hits) // 12]:
        ray = 1500.0 * beam + u[c] * right + v[r] * down
        ray /= np.linalg.norm(ray)
        start = source - CENTRE
        near = -start @ ray
        t = near + (np.arange(40000) + 0.5) * 1e-3 - 20.0
        want = inside(tumor, start + t[:, None] * ray).sum() * 1e-3
        assert chord[r, c] == pytest.approx(want, abs=0.01)


def test_shape_of_one_ball_is_the_sphere():
    ball, diameter = shapes.ellipsoid((30.0, 30.0, 30.0))
    tumor = Tumor(CENTRE, diameter, 0.0, 0.0, shape=ball)
    got = np.asarray(tumor_chord_mm(VIEW, tumor, CENTRE))
    want = np.asarray(jax.jit(sphere_chord_mm)(VIEW, CENTRE, 30.0))
    firm = want > 1.0
    np.testing.assert_allclose(got[firm], want[firm], atol=0.01)
    np.testing.assert_allclose(
        tumor_centroid_px(VIEW, tumor, CENTRE),
        jax.jit(sphere_centroid_px)(VIEW, CENTRE, 30.0),
        atol=1e-3,
    )


def test_intervals_that_overlap_touch_or_are_empty_count_once():
    start = np.array([[0.0, 2.0], [1.0, 9.0], [5.0, 2.0], [0.5, 4.0]], np.float32)
    end = np.array([[3.0, 4.0], [2.0, 9.0], [6.0, 4.0], [4.0, 5.0]], np.float32)
    length = jax.jit(shapes.union_length)
    np.testing.assert_allclose(length(start, end), [5.0, 3.0])


@pytest.mark.parametrize("count", range(1, 14))
def test_network_sorts_everything_that_is_0_or_1(count):
    """By the 0-1 principle, and then it sorts any numbers."""
    columns = ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).T
    rows = list(columns)
    for i, j in shapes.sorting_network(count):
        rows[i], rows[j] = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
    assert (np.diff(rows, axis=0) >= 0).all()


@pytest.mark.parametrize("diameter", [8.0, 60.0])
@pytest.mark.parametrize("kind", ["sphere", "ellipsoid", "lobulated", "spiculated"])
def test_centroid_within_a_fiftieth_of_a_mm(kind, diameter):
    tumor = make(kind, 3, diameter)
    view = view_of(CENTRE, 800, 1.7 * diameter)
    rows, cols = np.nonzero(np.asarray(tumor_mask(view, tumor, CENTRE)))
    want = np.array([rows.mean(), cols.mean()])
    got = np.asarray(tumor_centroid_px(view, tumor, CENTRE))
    assert np.abs(got - want).max() * view.pixel_mm[0] < 0.02


def test_ellipsoids_centroid_is_not_its_projected_centre():
    shape, diameter = shapes.ellipsoid(**UNEVEN)
    tumor = Tumor(CENTRE, diameter, 0.0, 0.0, shape=shape)
    view = view_of(CENTRE, 1000, 80.0)
    place = np.asarray(tumor_centroid_px(view, tumor, CENTRE)) - 499.5
    assert np.abs(place * 0.08).max() > 0.05


@pytest.mark.parametrize("kind", ["sphere", "ellipsoid", "lobulated", "spiculated"])
def test_coverage_has_the_shadows_area(kind):
    """Within 0.5 % at 256 pixels over 480 mm, and far closer than the strict mask."""
    tumor = make(kind, 5, 30.0)
    panel = Geometry(1000.0, 1500.0, 0.0, 256, 256, (1.875, 1.875))
    fine = view_of(CENTRE, 800, 60.0, 0.0)
    want = np.asarray(tumor_mask(fine, tumor, CENTRE)).sum() * (60.0 / 800) ** 2
    soft = np.asarray(tumor_coverage(panel, tumor, CENTRE))
    assert soft.sum() * 1.875**2 == pytest.approx(want, rel=5e-3)
    assert soft.min() == 0.0 and soft.max() == 1.0
    strict = np.asarray(tumor_mask(panel, tumor, CENTRE))
    assert (soft[strict == 1] > 0).all() and ((soft % (1 / 16)) == 0).all()


@pytest.mark.parametrize("kind", ["ellipsoid", "lobulated", "spiculated"])
def test_shapes_fill_their_sphere_and_never_leave_it(kind):
    points = np.random.default_rng(0).normal(size=(4000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for seed in range(20):
        tumor = make(kind, seed, 1.0)
        assert not inside(tumor, points * 0.5001).any()
        s = tumor.shape
        reach = np.linalg.norm(s.offset, axis=1) + s.semi.max(axis=1)
        assert reach.max() == pytest.approx(0.5, abs=1e-5)
        different = len(np.unique(s.offset, axis=0))
        kinds = {"ellipsoid": (1, 1), "lobulated": (3, 6), "spiculated": (7, 13)}
        assert kinds[kind][0] <= different <= len(s.offset) == kinds[kind][1]


def test_lobes_and_needles_touch_the_rest():
    for seed in range(20):
        s = make("lobulated", seed).shape
        gap = np.linalg.norm(s.offset[1:] - s.offset[0], axis=1)
        assert (gap < s.semi[1:, 0] + s.semi[0, 0]).all()
        s = make("spiculated", seed).shape
        away = np.linalg.norm(s.offset[1:], axis=1)
        np.testing.assert_allclose(away[away > 0.0], s.semi[0, 0], rtol=1e-4)


def test_shapes_are_seeded_and_differ():
    first, again, other = (make("lobulated", seed).shape for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.offset, again.offset)
    assert np.abs(first.offset - other.offset).max() > 0.01
    assert shapes.sample_shape(np.random.default_rng(0), "sphere") is None


def test_gradients_of_a_union_are_finite():
    tumor = make("lobulated")
    view = VIEW.replace(rows=12, cols=10, pixel_mm=(12.0, 16.0))

    def total(centre, diameter):
        return jnp.sum(shapes.shape_chord_mm(view, tumor.shape, centre, diameter))

    by_centre, by_size = jax.jit(jax.grad(total, argnums=(0, 1)))(
        jnp.asarray(CENTRE), 40.0
    )
    assert np.isfinite(by_centre).all() and by_size > 0


def test_far_from_the_shadow_the_chord_is_exactly_zero():
    view = VIEW.replace(offset_mm=(600.0, 600.0))
    for kind in ("ellipsoid", "spiculated"):
        assert np.asarray(tumor_chord_mm(view, make(kind), CENTRE)).max() == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diameter_mm": 4.9}, "from 5 to 60 mm"),
        ({"diameter_mm": 61.0}, "from 5 to 60 mm"),
        ({"diameter_mm": np.nan}, "from 5 to 60 mm"),
        ({"density_g_cc": 0.2}, "from 0.3 to 1.2 g/cc"),
        ({"si_mm": -1.0}, "from 0 to 250 mm"),
        ({"lag": 1.5}, "from -1 to 1 cycles"),
    ],
)
def test_tumours_that_cannot_be_are_refused_with_their_limit(change, words):
    good = Tumor(CENTRE, 5.0, 250.0, 0.0, 0.3)
    check_tumor(good)
    with pytest.raises(UserError, match=next(iter(change))) as caught:
        check_tumor(good.replace(**change))
    assert words in str(caught.value)


def test_unknown_shapes_and_axes_are_refused():
    with pytest.raises(UserError, match="lobulated"):
        shapes.sample_shape(np.random.default_rng(0), "cube")
    for axes in ((1.0, 2.0), (1.0, 0.0, 2.0), (1.0, np.inf, 2.0)):
        with pytest.raises(UserError, match="three lengths"):
            shapes.ellipsoid(axes)
