"""Trains the LSTM of `forecast_lstm` on simulated breaths.

Command: python -m fluoro_jax.tracking.forecast_lstm_fit   (writes its weights anew)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from fluoro_jax.sim.body.breathing import breathing_signal
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.tracking.forecast_lstm import (
    AHEAD_S,
    FLOOR_MM,
    HIDDEN,
    TAP_S,
    TAPS,
    WEIGHTS,
    Recurrent,
    forecast,
)

Array = jax.Array
# Ours, all of these.
PATIENTS, SECONDS = 256, 60.0  # simulated
RATE_HZ = 20.0  # of the simulated traces, read linearly between
SPEED = (0.7, 2.2)  # of a breath, log-uniform: they last 3 to 8 s
NOISE = (0.003, 0.1)  # SD of a place, of the amplitude, log-uniform
STEPS, BATCH, LEARNING_RATE = 3000, 256, 1e-2
FLOOR = 1e-3  # `FLOOR_MM` of breaths of amplitude 1
BACK_S = tuple(TAP_S * n for n in range(TAPS - 1, -1, -1))
# Every number that decides the weights, in words: written beside them, so that a test
# tells if they are of other numbers.
MADE_WITH = {
    name: str(value)
    for name, value in dict(
        taps=TAPS,
        tap_s=TAP_S,
        ahead_s=AHEAD_S,
        hidden=HIDDEN,
        floor_mm=FLOOR_MM,
        patients=PATIENTS,
        seconds=SECONDS,
        rate_hz=RATE_HZ,
        speed=SPEED,
        noise=NOISE,
        steps=STEPS,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
    ).items()
}


def fit(*, steps: int = STEPS) -> Any:
    """Returns parameters trained on simulated breaths of amplitude 1."""
    start, draw = jax.random.split(jax.random.key(0))
    traces = simulated_traces()
    params = Recurrent().init(start, jnp.zeros((1, TAPS)))
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def loss_fn(params: Any, key: Array) -> Array:
        places, moved = examples(key, traces, BACK_S, AHEAD_S, BATCH)
        found = forecast(Recurrent(), params, places, FLOOR)
        usual = jnp.sqrt(jnp.mean(jnp.square(moved), axis=0))
        # Every horizon weighs the same, however far breaths come in that time.
        return jnp.mean(jnp.square((found - moved) / usual[None]))

    def update(carry: Any, key: Array) -> tuple[Any, None]:
        params, state = carry
        grads = jax.grad(loss_fn)(params, key)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(functools.partial(jax.lax.scan, update))
    begun = params, optimizer.init(params)
    (params, _), _ = run(begun, jax.random.split(draw, steps))
    return params


def simulated_traces() -> Array:
    """Returns inhaled fractions `[PATIENTS, SECONDS * RATE_HZ]`, half regular."""
    time_s = np.arange(round(SECONDS * RATE_HZ), dtype=np.float32) / RATE_HZ

    def breath(key: Array) -> Array:
        irregular = sample_breathing(key, SECONDS)
        regular = dataclasses.replace(irregular, breaths=None)
        return jnp.stack([breathing_signal(b, time_s)[0] for b in (irregular, regular)])

    keys = jax.random.split(jax.random.key(1), PATIENTS // 2)
    return jax.jit(jax.vmap(breath))(keys).reshape(PATIENTS, -1)


def examples(
    key: Array,
    traces: Array,
    back_s: Sequence[float],
    ahead_s: Sequence[float],
    batch: int,
) -> tuple[Array, Array]:
    """Returns noisy places `[B, N]` and true displacements `[B, H]`.

    Both relative to the newest place as it was measured, in amplitudes.

    Args:
        key: of what is drawn.
        traces: `[P, M]` at `RATE_HZ`.
        back_s: `[N]` s, how long ago the places are; the last one is 0.
        ahead_s: `[H]` s.
        batch: B.
    """
    who, when, pace, level, noise = jax.random.split(key, 5)
    between = lambda key, ends: jnp.exp(
        jax.random.uniform(key, (batch, 1), None, *np.log(ends))
    )
    speed = between(pace, SPEED)
    past_s, later_s = np.array([back_s]), np.array([ahead_s])
    # Of the trace's own time, which runs `speed` times as fast.
    first_s = speed * past_s.max()
    last_s = traces.shape[1] / RATE_HZ - speed * later_s.max() - 1.0 / RATE_HZ
    now_s = first_s + jax.random.uniform(when, (batch, 1)) * (last_s - first_s)
    trace = traces[jax.random.randint(who, (batch,), 0, len(traces))]
    known_s = np.arange(traces.shape[1]) / RATE_HZ
    read = jax.vmap(lambda t, one: jnp.interp(t, known_s, one))
    places = read(now_s - speed * past_s, trace)
    after = read(now_s + speed * later_s, trace)
    places = places + between(level, NOISE) * jax.random.normal(noise, places.shape)
    newest = places[:, -1:]
    return places - newest, after - newest


def main() -> None:
    """Trains the network and writes `WEIGHTS`."""
    held: dict[str, Any] = flatten_dict(fit(), sep="/")
    arrays = {name: np.asarray(value) for name, value in held.items()}
    save_file(arrays, WEIGHTS, metadata=MADE_WITH)
    print(f"{sum(map(np.size, held.values()))} parameters: {WEIGHTS}")


if __name__ == "__main__":
    main()
