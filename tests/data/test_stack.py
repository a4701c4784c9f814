"""Frame stacking against examples written out by hand."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from fluoro_jax.data import stack as stacks
from fluoro_jax.data.stack import MOTION_GAIN, stack_channels
from fluoro_jax.errors import UserError

stacked = jax.jit(stacks.stack_frames, static_argnums=1)


def stack_frames(frames, mode):
    """Of a compiled program: as single operations it takes several times as long."""
    return np.asarray(stacked(frames, mode))


def numbered(num_frames: int):
    """Frame t of clip b is filled with 10 b + t."""
    values = np.arange(2)[:, None] * 10 + np.arange(num_frames)[None, :]
    shown = np.broadcast_to(values[..., None, None], (2, num_frames, 3, 4))
    return shown.astype(np.float32)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("wrap", [[3, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 0]]),
        ("edge", [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]),
        ("causal", [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]),
        ("single", [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]]),
    ],
)
def test_channels_written_out(mode, expected):
    stack = stack_frames(numbered(4), mode)
    assert stack.shape == (2, 4, 3, 4, 3)
    np.testing.assert_array_equal(stack[0, :, 1, 2], np.array(expected, np.float32))
    np.testing.assert_array_equal(stack[1, :, 0, 0], np.array(expected) + 10.0)


def test_one_frame_is_its_own_neighbour():
    for mode in ("wrap", "edge", "causal", "single"):
        np.testing.assert_array_equal(stack_frames(numbered(1), mode)[0], 0.0)


def test_causal_never_sees_the_future():
    frames = np.random.default_rng(0).normal(size=(1, 6, 3, 4)).astype(np.float32)
    changed = frames.copy()
    changed[:, 4] = 9.0
    before, after = (stack_frames(f, "causal") for f in (frames, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.array_equal(before[:, 4], after[:, 4])


def test_unknown_mode_is_explained():
    with pytest.raises(UserError, match="wrap, edge, causal, single"):
        stack_frames(numbered(4), "mirror")


def test_moving_adds_what_differs_from_the_mean_of_the_clip():
    frames = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype(np.float32)
    stack = stack_frames(frames, "moving")
    assert stack.shape[-1] == stack_channels("moving") == 4
    np.testing.assert_array_equal(stack[..., :3], stack_frames(frames, "edge"))
    difference = MOTION_GAIN * (frames - frames.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(stack[..., 3], difference, atol=1e-6)
    still = np.ones((1, 4, 3, 3), np.float32)
    np.testing.assert_array_equal(stack_frames(still, "moving")[..., 3], 0.0)
