"""Photon noise by inversion: one normal deviate per pixel.

`jax.random.poisson` goes on drawing for every pixel until the last is accepted, so one
rounding error may change a whole frame; and its test loses its digits in float32 above
some 1e5 quanta. Here a pixel depends on its own number alone, whatever is compiled.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

Array = jax.Array

FEW = 32.0  # expected quanta below which probabilities are added up
MOST_OF_FEW = 90  # no pixel of fewer than 32 expected quanta gets more


def draw_quanta(
    expected: Float[Array, "*shape"], key: Array | None, noise: str
) -> Float[Array, "*shape"]:
    """Returns quanta drawn about their expectation, any shape.

    Args:
        expected: mean number of quanta.
        key: a typed JAX key; unused without noise.
        noise: "poisson"; "gaussian" of the same mean and variance, which has a
            gradient; or "none".
    """
    if noise == "none":
        return expected
    assert key is not None, "noise needs a key"
    z = jax.random.normal(key, expected.shape)
    if noise == "gaussian":
        return expected + jnp.sqrt(jnp.maximum(expected, 1e-6)) * z
    return poisson_quantile(expected, z)


def poisson_quantile(
    expected: Float[Array, "*shape"], z: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns the Poisson quantile at the level of a normal number.

    From 32 expected quanta on, by Cornish and Fisher's expansion, rounded:
    m + sqrt(m) z + (z^2 - 1) / 6 + (z - z^3) / (72 sqrt(m)); below, by adding up
    probabilities.

    Args:
        expected: m, mean number of quanta, any shape.
        z: standard normal, same shape.

    Returns:
        Whole numbers as float32, same shape; they grow with `expected` and with `z`.
    """
    many = jnp.maximum(expected, FEW)
    root = jnp.sqrt(many)
    cubic = (z - z * z * z) / (72.0 * root)
    large = jnp.round(many + root * z + (z * z - 1.0) / 6.0 + cubic)
    few = expected < FEW
    mean = jnp.where(few, jnp.maximum(expected, 0.0), 0.0)
    level = jnp.minimum(jax.scipy.special.ndtr(z), 1.0 - 2e-6)

    def more(carry: tuple[Array, Array, Array, Array]) -> Array:
        step, _, total, _ = carry
        return jnp.any(few & (level > total)) & (step < MOST_OF_FEW)

    def add(
        carry: tuple[Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array]:
        step, term, total, count = carry
        count = count + (level > total)
        term = term * mean / (step + 1.0)
        return step + 1.0, term, total + term, count

    zero = jnp.exp(-mean)
    start = (jnp.float32(0.0), zero, zero, jnp.zeros_like(mean))
    small = jax.lax.while_loop(more, add, start)[3]
    return jnp.where(few, small, large)
