"""Neighbouring frames, and what moves, as the channels of a frame; on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Real

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray

Array = jax.Array
MODES = ("wrap", "edge", "causal", "single", "moving", "moving_past")
MOVING = "moving"
MOVING_PAST = "moving_past"
# Ours: frames that the running mean of "moving_past" remembers. The mean of so many
# frames counts like their plain mean; an older frame fades exponentially.
REMEMBERED = 32
# Ours: a change of 0.04, a few millimetres of soft tissue, then weighs like 0.1 of the
# chest itself; with input_scale 0.25 the network reads it in units of 0.1.
MOTION_GAIN = 2.5
NEIGHBOURS = (-1, 0, 1)
OFFSETS = {"causal": (-2, -1, 0), MOVING_PAST: (-2, -1, 0), "single": (0, 0, 0)}


def stack_frames(
    frames: Real[AnyArray, "B T H W"], mode: str
) -> Real[Array, "B T H W C"]:
    """Gives every frame its neighbours in time as channels.

    Channels of frame t: (t-1, t, t+1) for "wrap" and "edge", (t-2, t-1, t) for
    "causal", (t, t, t) for "single"; for "moving" (ours) those of "edge", then
    `MOTION_GAIN` times the frame's difference from the mean of all frames; for
    "moving_past" (ours) those of "causal", then the same with the running mean of the
    frames so far (`running_weight`). Past the ends, "wrap" takes the other end (only
    right for a clip of exactly one period), the others repeat the first or last frame.

    Args:
        frames: `[B, T, H, W]`.
        mode: one of `MODES` (static under jit).

    Returns:
        `[B, T, H, W, stack_channels(mode)]`.

    Raises:
        UserError: for any other mode.
    """
    # Indices by NumPy at trace time: gathers with constant indices.
    index = stack_indices(frames.shape[1], mode)
    channels = [frames[:, steps] for steps in index]
    if mode == MOVING:
        # Of the whole clip, so the mode reads ahead: `config.reads_ahead` knows it.
        still = jnp.mean(frames, axis=1, keepdims=True)
        channels.append(MOTION_GAIN * (frames - still))
    if mode == MOVING_PAST:
        # One small product over time: the weights are constants of the program.
        weights = _running_weights(frames.shape[1])
        still = jnp.einsum("ts,bshw->bthw", weights, frames, precision="highest")
        channels.append(MOTION_GAIN * (frames - still))
    return jnp.stack(channels, axis=-1)


def stack_channels(mode: str) -> int:
    """Returns how many channels `stack_frames` makes."""
    return len(OFFSETS.get(mode, NEIGHBOURS)) + (mode in (MOVING, MOVING_PAST))


def running_weight(frame: int) -> float:
    """Returns the weight of frame `frame` (from 0) in the running mean that ends there.

    mean_t = mean_{t-1} + weight_t (x_t - mean_{t-1}): the plain mean of the first
    `REMEMBERED` frames, exponential from then on.
    """
    return max(1.0 / (frame + 1), 1.0 / REMEMBERED)


def stack_indices(num_frames: int, mode: str) -> np.ndarray:
    """Returns which frame each neighbour channel shows, `[3, T]` integers in [0, T)."""
    if mode not in MODES:
        raise UserError(
            f'data.stack = "{mode}"',
            needed="one of " + ", ".join(MODES),
            why="it names the neighbours that the first and last frame are given",
            fix='data.stack = "edge", unless every clip is exactly one breath ("wrap")',
        )
    offsets = np.array(OFFSETS.get(mode, NEIGHBOURS))
    index = np.arange(num_frames)[None, :] + offsets[:, None]
    if mode == "wrap":
        return index % num_frames
    return np.clip(index, 0, num_frames - 1)


def _running_weights(num_frames: int) -> np.ndarray:
    """`[T, T]` weights of the frames s in the running mean that ends at frame t."""
    weights = np.zeros((num_frames, num_frames), np.float32)
    row = np.zeros(num_frames)
    for t in range(num_frames):
        row *= 1.0 - running_weight(t)
        row[t] = running_weight(t)
        weights[t] = row
    return weights
