"""The smooth background that is taken off each frame."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from fluoro_jax.models.background import mean_matrix, remove_background


def test_a_flat_frame_has_nothing_left():
    left = remove_background(np.full((2, 9, 12, 3), 4.5, np.float32), 2.0)
    np.testing.assert_allclose(left, 0.0, atol=1e-5)


@pytest.mark.parametrize("sigma_px", [1.0, 4.0])
def test_it_is_the_gaussian_of_scipy_with_repeated_edges(sigma_px):
    frame = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    radius = int(3 * sigma_px)
    smooth = frame
    for axis in (0, 1):
        smooth = gaussian_filter1d(
            smooth, sigma_px, axis=axis, mode="nearest", radius=radius
        )
    left = remove_background(frame[None, :, :, None], sigma_px)[0, :, :, 0]
    np.testing.assert_allclose(left, frame - smooth, atol=2e-6)


def test_frames_and_channels_stay_apart():
    frames = np.zeros((2, 8, 8, 2), np.float32)
    frames[1, 3, 4, 0] = 1.0
    left = np.asarray(remove_background(frames, 1.5))
    assert not left[0].any() and not left[..., 1].any()
    middle = mean_matrix(8, 1.5)
    np.testing.assert_allclose(
        left[1, 3, 4, 0], 1.0 - middle[3, 3] * middle[4, 4], rtol=1e-5
    )
