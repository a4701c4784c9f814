"""Gaussian blur of frames as two small matrix products: any width, traced or not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

Array = jax.Array
Scalar = Any


def blur(
    frames: Float[Array, "*lead h w"], sigma_px: tuple[Scalar, Scalar], *, closed: bool
) -> Float[Array, "*lead h w"]:
    """Returns frames convolved with a Gaussian that is integrated over pixels.

    Args:
        frames: `[..., H, W]`.
        sigma_px: (row, column) standard deviation, px; 0 changes nothing.
        closed: static; True reflects at the edges, so that the sum is kept and an
            even frame stays even; False lets content leave the frame.

    Returns:
        `[..., H, W]`.
    """
    down = _spread(frames.shape[-2], sigma_px[0], closed)
    right = _spread(frames.shape[-1], sigma_px[1], closed)
    exact = jax.lax.Precision.HIGHEST
    frames = jnp.einsum("...ij,kj->...ik", frames, right, precision=exact)
    return jnp.einsum("ki,...ij->...kj", down, frames, precision=exact)


def _spread(count: int, sigma_px: Scalar, closed: bool) -> Array:
    """Returns `[to, from]` shares: the Gaussian's integral over the receiving pixel."""
    sigma = jnp.maximum(jnp.asarray(sigma_px, jnp.float32), 1e-3)
    index = jnp.arange(count, dtype=jnp.float32)
    to, source = index.reshape(-1, 1), index.reshape(1, -1)

    def share(distance: Array) -> Array:
        high = jax.scipy.special.ndtr((distance + 0.5) / sigma)
        return high - jax.scipy.special.ndtr((distance - 0.5) / sigma)

    matrix = share(to - source)
    if not closed:
        return matrix
    # mirror images of the source behind both edges, and theirs
    for shift in (1.0, -(2.0 * count - 1.0)):
        matrix = matrix + share(to + source + shift)
    for shift in (2.0 * count, -2.0 * count):
        matrix = matrix + share(to - source + shift)
    return matrix / jnp.sum(matrix, axis=0, keepdims=True)
