"""Subtracts a Gaussian-smoothed background from each frame."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def remove_background(frames: Array, sigma_px: float) -> Array:
    """Subtracts a Gaussian mean over rows and columns; past an edge the edge repeats.

    A chest spans line integrals from 0 to 7 and a tumour adds 0.3 to 0.7, so most of
    what a network sees is the chest. The filter is linear, fixed and of one frame
    alone: nothing of other frames or of the clip's statistics leaks in.

    Args:
        frames: `[..., H, W, C]` line integrals [1].
        sigma_px: of the Gaussian, more than 0 (static).

    Returns:
        Same shape; 0 wherever a frame is flat.
    """
    rows, cols = frames.shape[-3:-1]
    # Made by NumPy at trace time: constants of the program, not inputs.
    down, right = (jnp.asarray(mean_matrix(n, sigma_px)) for n in (rows, cols))
    exact = jax.lax.Precision.HIGHEST
    # Full float32: on a GPU the default rounds to TensorFloat-32, and the chest that is
    # taken off is ten times the tumour.
    smooth = jnp.einsum("vh,...hwc->...vwc", down, frames, precision=exact)
    smooth = jnp.einsum("uw,...vwc->...vuc", right, smooth, precision=exact)
    return frames - smooth


def mean_matrix(size: int, sigma_px: float) -> np.ndarray:
    """`[size, size]`: row i weighs the pixels around i up to 3 sigma; its sum is 1."""
    radius = max(1, int(3.0 * sigma_px))
    offsets = np.arange(-radius, radius + 1)
    window = np.exp(-0.5 * np.square(offsets / sigma_px))
    window = window / window.sum()
    matrix = np.zeros((size, size), np.float32)
    for offset, weight in zip(offsets, window, strict=True):
        source = np.clip(np.arange(size) + offset, 0, size - 1)
        # Row i may name an edge pixel several times: `np.add.at` adds each, where `+=`
        # would keep one.
        np.add.at(matrix, (np.arange(size), source), weight)
    return matrix
