"""How well a tumour can be seen: its contrast against the noise of quanta."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Scalar = Any


@jax.jit
def contrast(film: Array, clip_frames: Array, mask: Array) -> Array:
    """Line integral that the tumour adds, mean over its mask.

    Args:
        film: `[T, H, W]` noiseless, without the tumour.
        clip_frames: `[T, H, W]` noiseless, with it.
        mask: `[T, H, W]` in {0, 1}.

    Returns:
        `[T]` [1]; 0 where the mask is empty.
    """
    return _over(clip_frames - film, mask)


@jax.jit
def contrast_to_noise(
    film: Array, clip_frames: Array, mask: Array, photons: Scalar
) -> Array:
    """Contrast over the standard deviation of one pixel of the mask.

    A pixel of N exp(-L) quanta has a line integral of variance exp(L) / N; the noise is
    the root of its mean over the mask.

    Args:
        film: `[T, H, W]` noiseless, without the tumour.
        clip_frames: `[T, H, W]` noiseless, with it.
        mask: `[T, H, W]` in {0, 1}.
        photons: N, unattenuated quanta a pixel.

    Returns:
        `[T]` [1]; 0 where the mask is empty.
    """
    noise = jnp.sqrt(_over(jnp.exp(clip_frames), mask) / photons)
    return contrast(film, clip_frames, mask) / jnp.where(noise > 0.0, noise, 1.0)


def _over(values: Array, mask: Array) -> Array:
    count = jnp.sum(mask, axis=(-2, -1))
    return jnp.sum(values * mask, axis=(-2, -1)) / jnp.maximum(count, 1.0)
