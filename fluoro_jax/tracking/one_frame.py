"""A forward-only network as a function of one frame and of what it remembers.

It answers what `models.generator.predict` answers for the whole sequence. What the
network does to every frame alone is done once, when the frame comes: the background is
a linear filter, so the filtered frames are kept, and their mean is the mean filtered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fluoro_jax.data.stack import (
    MOTION_GAIN,
    MOVING_PAST,
    OFFSETS,
    REMEMBERED,
    stack_channels,
)
from fluoro_jax.models import generator as networks
from fluoro_jax.models.background import remove_background

Array = jax.Array


class Memory(NamedTuple):
    """What a stream remembers between two frames; zeros before the first.

    Attributes:
        seen: frames so far, int32.
        latest: the last frames, oldest first, background subtracted, `[2, H, W]`.
        mean: running mean of the frames, background subtracted, `[H, W]`; None where
            the network does not see what moves.
        carry: the state of every ConvLSTM.
    """

    seen: Array
    latest: Array
    mean: Array | None
    carry: Any


def before_first(
    generator: Any, params: Any, mode: str, size: tuple[int, int]
) -> Memory:
    """Returns the memory before the first frame.

    Args:
        generator: forward in time only.
        params: its parameters.
        mode: `data.stack`, one of `config_rules.PAST_STACKS`.
        size: rows and columns of a frame.
    """
    shape = (1, 1, *size, stack_channels(mode))
    # A shape is enough: the carry is zeros, and nothing is computed.
    stack = jax.ShapeDtypeStruct(shape, jnp.float32)
    return Memory(
        seen=jnp.zeros((), jnp.int32),
        latest=jnp.zeros((len(OFFSETS["causal"]) - 1, *size), jnp.float32),
        mean=jnp.zeros(size, jnp.float32) if mode == MOVING_PAST else None,
        carry=networks.init_carry(generator, params, stack),
    )


def advance(
    generator: Any, mode: str, params: Any, memory: Memory, frame: Array
) -> tuple[Memory, Array]:
    """Returns the memory after one more frame, and its probabilities.

    Args:
        generator: forward in time only (static under jit).
        mode: `data.stack`, one of `config_rules.PAST_STACKS` (static).
        params: the generator's parameters.
        memory: of `before_first`, or of the call before.
        frame: `[H, W]` line integrals [1].

    Returns:
        New memory, and the probability that a pixel is tumour `[H, W]`, float32.
    """
    # Modules other than `Generator` may know no background.
    if sigma_px := getattr(generator, "background_px", 0.0):
        generator = generator.clone(background_px=0.0)
        frame = remove_background(frame[..., None], sigma_px)[..., 0]
    seen, latest, mean, carry = memory
    # Frame 0 stands for the frames before it, as in `stack_frames`.
    before = jnp.where(seen == 0, jnp.broadcast_to(frame, latest.shape), latest)
    channels = [*before, frame]
    if mean is not None:
        # By `stack.running_weight`, of a traced number.
        mean = mean + (frame - mean) / jnp.minimum(seen + 1, REMEMBERED)
        channels.append(MOTION_GAIN * (frame - mean))
    stack = jnp.stack(channels, axis=-1)[None, None]
    carry, answer = networks.step(generator, params, carry, stack)
    latest = jnp.stack([*before[1:], frame])
    after = Memory(seen + 1, latest, mean, carry)
    # As float32, whatever the network computes in.
    return after, answer[0, 0].astype(jnp.float32)
