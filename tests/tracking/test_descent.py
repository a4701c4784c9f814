"""The one loop of the networks that are trained when a tracker is built."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fluoro_jax.tracking.baselines.descent import descend


def noisy_square(params, key, data):
    return jnp.sum(jnp.square(params - data + 1e-3 * jax.random.normal(key)))


def test_it_is_optax_step_by_step_with_the_keys_it_says():
    optimizer, start = optax.adam(0.1), jnp.array([3.0, -2.0])
    told, goal = [], jnp.array([1.0, 1.0])
    found = descend(
        *(noisy_square, start, goal, optimizer),
        steps=5,
        seed=7,
        first=1,
        progress=lambda step, loss: told.append((step, loss)),
    )
    params, moments = start, optimizer.init(start)
    for step in range(5):
        key = jax.random.fold_in(jax.random.key(7), 1 + step)
        loss, grads = jax.value_and_grad(noisy_square)(params, key, goal)
        assert told[step][0] == step
        np.testing.assert_allclose(told[step][1], loss, rtol=1e-5)
        moves, moments = optimizer.update(grads, moments, params)
        params = optax.apply_updates(params, moves)
    np.testing.assert_allclose(found, params, rtol=1e-5)


def test_it_reaches_the_minimum():
    found = descend(
        *(noisy_square, jnp.zeros(2), jnp.array([1.0, 2.0]), optax.adam(0.05)),
        steps=300,
        seed=0,
    )
    np.testing.assert_allclose(found, [1.0, 2.0], atol=0.02)
