import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fluoro_jax.sim.xray.photon_noise import draw_quanta, poisson_quantile

KEY = jax.random.key(3)
draw = jax.jit(draw_quanta, static_argnames="noise")
quantile = jax.jit(poisson_quantile)


@pytest.mark.parametrize("mean", [0.0, 0.05, 1.3, 9.0, 31.9, 32.1, 60.0, 1e3, 1e5])
def test_quantiles_are_those_of_the_exact_distribution(mean):
    z = jnp.linspace(-4.2, 4.2, 4001)
    got = np.asarray(quantile(jnp.full(4001, mean), z))
    want = stats.poisson.ppf(stats.norm.cdf(np.asarray(z, np.float64)), mean)
    assert np.abs(got - want).max() <= 1.0
    assert np.mean(got != want) < 0.02  # at the edges between two numbers
    assert (np.diff(got) >= 0.0).all() and (got == np.round(got)).all()


@pytest.mark.parametrize("mean", [0.4, 15.0, 40.0, 3e6])
def test_draws_have_equal_mean_and_variance(mean):
    counts = np.asarray(draw(jnp.full(200_000, mean), KEY, noise="poisson"), np.float64)
    assert counts.mean() == pytest.approx(mean, abs=4.0 * (mean / 2e5) ** 0.5)
    assert counts.var() == pytest.approx(mean, rel=0.02)


def test_a_pixel_depends_on_itself_alone():
    mean = jnp.linspace(1.0, 5000.0, 500)
    base = draw(mean, KEY, noise="poisson")
    nudged = draw(mean * (1.0 + 1e-6), KEY, noise="poisson")
    assert np.abs(nudged - base).max() <= 1.0 and np.mean(nudged != base) < 0.03
    other = draw(mean.at[7].set(1e6), KEY, noise="poisson")
    assert np.flatnonzero(other != base).tolist() == [7]


def test_no_noise_is_the_expectation():
    mean = jnp.array([0.0, 3.5])
    assert draw_quanta(mean, None, "none") is mean
