"""The optimizer's loop of the networks that are trained when a tracker is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

Array = jax.Array
Progress = Callable[[int, float], None]


def descend(
    loss_fn: Callable[[Any, Array, Any], Array],
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    seed: int,
    first: int = 0,
    progress: Progress | None = None,
) -> Any:
    """Returns parameters after so many steps of an optimizer.

    Args:
        loss_fn: from (parameters, key, data) to the loss of a batch it draws.
        params: to begin with.
        data: of training, on the device.
        optimizer: with its schedule.
        steps: of it.
        seed: of every batch: that of step n is drawn with the key of (seed, first + n).
        first: see `seed`; smaller numbers are for what is drawn before.
        progress: called after every step with its number and the loss.
    """

    @jax.jit
    def update(state: Any, key: Array, data: Any) -> tuple[Any, Array]:
        params, moments = state
        loss, grads = jax.value_and_grad(loss_fn)(params, key, data)
        moves, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, moves), moments), loss

    state = (params, optimizer.init(params))
    for step in range(steps):
        key = jax.random.fold_in(jax.random.key(seed), first + step)
        state, loss = update(state, key, data)
        if progress is not None:
            progress(step, float(loss))
    return state[0]
