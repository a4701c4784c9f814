import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.sim.fluoroscope import add_quantum_noise
from fluoro_jax.sim.visibility import contrast, contrast_to_noise


def test_contrast_to_noise_is_what_poisson_noise_shows():
    background = jnp.full((1, 300, 300), 2.0)
    mask = jnp.zeros_like(background).at[:, 100:200].set(1.0)
    frames = background + 0.1 * mask
    got = float(contrast_to_noise(background, frames, mask, 5000.0)[0])
    noisy = np.asarray(add_quantum_noise(frames, jax.random.key(0), 5000.0))
    inside = noisy[0, 100:200]
    assert got == pytest.approx(0.1 / inside.std(), rel=0.03)
    assert float(contrast(background, frames, mask)[0]) == pytest.approx(0.1, rel=1e-4)


def test_an_empty_mask_has_no_contrast():
    background = jnp.ones((2, 4, 4))
    for values in (
        contrast(background, background + 1.0, 0.0 * background),
        contrast_to_noise(background, background + 1.0, 0.0 * background, 100.0),
    ):
        np.testing.assert_array_equal(values, 0.0)
