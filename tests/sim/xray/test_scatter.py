import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import elekta, square_panel, varian
from fluoro_jax.sim.xray.blur import blur
from fluoro_jax.sim.xray.exposure import elekta_fluoro, varian_fluoro
from fluoro_jax.sim.xray.scatter import (
    Scatter,
    air_gap_mm,
    dense_region,
    gap_factor,
    scatter_signal,
)

VIEW = square_panel(48)  # 10 mm pixels
blurred = jax.jit(blur, static_argnames="closed")
scattered = jax.jit(scatter_signal)


def run_blur(frames, sigma, *, closed):
    return np.asarray(blurred(frames, sigma, closed=closed))


def run_scatter(*args):
    return np.asarray(scattered(*args))


@pytest.fixture(scope="module")
def chest():
    """Primary `[2, 48, 48]` of two lungs about a mediastinum; frame 1 a little on."""
    column = np.abs(np.arange(48) - 23.5)
    line = np.where(column < 5, 5.0, np.where(column < 18, 2.2, 0.0))
    line = np.broadcast_to(line, (2, 48, 48)) * np.array([1.0, 1.04]).reshape(2, 1, 1)
    return np.exp(-line).astype(np.float32)


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (0.12, 0.4), (1.5, 3.0), (9.0, 2.0)])
def test_closed_blur_keeps_the_sum_and_an_even_field(sigma):
    frames = np.random.default_rng(0).uniform(size=(2, 24, 40)).astype(np.float32)
    out = run_blur(frames, sigma, closed=True)
    np.testing.assert_allclose(out.sum((1, 2)), frames.sum((1, 2)), rtol=2e-6)
    even = run_blur(np.ones((2, 24, 40), np.float32), sigma, closed=True)
    np.testing.assert_allclose(even, 1.0, atol=2e-5)
    assert out.min() >= 0.0
    if sigma == (0.0, 0.0):
        np.testing.assert_array_equal(out, frames)


def test_blur_of_a_point_has_the_width_asked_for():
    point = np.zeros((1, 61, 61), np.float32)
    point[0, 30, 30] = 1.0
    out = run_blur(point, (2.0, 4.0), closed=True)[0]
    offset_sq = np.square(np.arange(61) - 30.0)
    # a pixel's own width adds 1/12
    assert (out.sum(1) * offset_sq).sum() == pytest.approx(4.0 + 1 / 12, rel=1e-3)
    assert (out.sum(0) * offset_sq).sum() == pytest.approx(16.0 + 1 / 12, rel=1e-3)


def test_open_blur_lets_content_leave():
    edge = np.zeros((1, 21, 21), np.float32)
    edge[0, 10, 0] = 1.0
    total = float(run_blur(edge, (1.0, 1.0), closed=False).sum())
    assert total == pytest.approx(0.69, abs=0.01)  # the Gaussian right of -0.5 px


@pytest.mark.parametrize("spr", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("sigma_mm", [40.0, 70.0])
def test_ratio_asked_is_ratio_got(chest, spr, sigma_mm):
    veil = run_scatter(chest, chest, VIEW, Scatter(spr=spr, sigma_mm=sigma_mm))
    dense = np.asarray(chest[0]) < np.exp(-4.9)
    got = np.asarray(veil[0])[dense].mean() / np.asarray(chest[0])[dense].mean()
    assert got == pytest.approx(spr, rel=1e-4)
    # one strength for the clip: what moves changes the scatter, not its scale
    assert not np.allclose(veil[1], veil[0], rtol=1e-3)


def test_ratio_holds_in_a_region_of_ones_own(chest):
    region = np.zeros((48, 48), np.float32)
    region[20:30, 8:14] = 1.0
    veil = run_scatter(chest, chest, VIEW, Scatter(spr=0.7, region=region))
    inside = (0, slice(20, 30), slice(8, 14))
    assert float(veil[inside].sum() / chest[inside].sum()) == pytest.approx(0.7, 1e-4)


def test_scatter_is_smooth_in_proportion_and_needs_a_patient(chest):
    veil = run_scatter(chest, chest, VIEW, Scatter(spr=2.0))
    steps = np.abs(np.diff(np.asarray(veil[0]), axis=1)).max() / float(veil.max())
    assert steps < 0.12  # a Gaussian of 5.5 px
    double = run_scatter(chest, chest, VIEW, Scatter(spr=4.0))
    np.testing.assert_allclose(double, 2.0 * veil, rtol=1e-5)
    air = np.ones((2, 48, 48), np.float32)
    np.testing.assert_array_equal(run_scatter(air, air, VIEW, Scatter()), 0.0)


def test_closing_the_jaws_lowers_scatter_and_not_its_strength(chest):
    field = np.zeros((1, 1, 48), np.float32)
    field[..., 18:30] = 1.0
    wide = run_scatter(chest, chest, VIEW, Scatter())
    narrow = run_scatter(chest * field, chest, VIEW, Scatter())
    assert (narrow[0, 10:38, 18:30] < wide[0, 10:38, 18:30]).all()
    everywhere = run_scatter(chest * np.ones_like(field), chest, VIEW, Scatter())
    np.testing.assert_allclose(everywhere, wide, rtol=1e-5)


def test_a_wider_air_gap_takes_scatter_away():
    assert gap_factor(380.0) == pytest.approx(1.0)
    assert gap_factor(200.0) == pytest.approx((555.0 / 375.0) ** 2)
    assert gap_factor(600.0) < gap_factor(500.0) < 1.0


def test_dense_region_is_the_darkest_tenth():
    primary = np.linspace(0.0, 1.0, 400, dtype=np.float32).reshape(20, 20)
    region = np.asarray(jax.jit(dense_region)(primary))
    assert float(region.sum()) == 40.0 and float(region[:2].sum()) == 40.0


def test_gradient_through_scatter_is_finite_where_the_beam_is_open(chest):
    with_air = np.array(chest)
    with_air[:, :5] = 1.0
    with_air = jnp.asarray(with_air)

    @jax.jit
    def total(strength):
        parts = Scatter(spr=strength, power=0.8)
        return scatter_signal(with_air, with_air, VIEW, parts).sum()

    assert float(jax.jit(jax.grad(total))(2.0)) == pytest.approx(
        float(total(2.0)) / 2.0, rel=1e-3
    )
    slope = jax.jit(
        jax.grad(lambda p: scatter_signal(p, p, VIEW, Scatter(power=0.8)).sum())
    )
    assert np.isfinite(slope(with_air)).all()


def test_presets_have_the_air_gap_of_their_own_geometry():
    assert air_gap_mm(varian()) == varian_fluoro().scatter.gap_mm == 380.0
    assert air_gap_mm(elekta()) == elekta_fluoro().scatter.gap_mm == 416.0
