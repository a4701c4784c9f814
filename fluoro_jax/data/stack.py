"""Three neighbouring frames as the channels of one, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.errors import UserError

Array = jax.Array
MODES = ("wrap", "edge", "causal", "single")
OFFSETS = {"causal": (-2, -1, 0), "single": (0, 0, 0)}


def stack_frames(frames: Array, mode: str) -> Array:
    """Gives every frame its neighbours in time as channels.

    Channels of frame t: (t-1, t, t+1) for "wrap" and "edge", (t-2, t-1, t) for
    "causal", (t, t, t) for "single". Past the ends, "wrap" takes the other end (only
    right for a clip of exactly one period), "edge" and "causal" repeat the first or
    last frame.

    Args:
        frames: `[B, T, H, W]`.
        mode: one of `MODES` (static under jit).

    Returns:
        `[B, T, H, W, 3]`.

    Raises:
        UserError: for any other mode.
    """
    index = stack_indices(frames.shape[1], mode)
    return jnp.stack([frames[:, steps] for steps in index], axis=-1)


def stack_indices(num_frames: int, mode: str) -> np.ndarray:
    """Which frame each channel shows: `[3, T]` integers in [0, T)."""
    if mode not in MODES:
        raise UserError(
            f'data.stack = "{mode}"',
            needed="one of " + ", ".join(MODES),
            why="it names the neighbours that the first and last frame are given",
            fix='data.stack = "edge", unless every clip is exactly one breath ("wrap")',
        )
    offsets = np.array(OFFSETS.get(mode, (-1, 0, 1)))
    index = np.arange(num_frames)[None, :] + offsets[:, None]
    if mode == "wrap":
        return index % num_frames
    return np.clip(index, 0, num_frames - 1)
