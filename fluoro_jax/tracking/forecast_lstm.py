"""A small LSTM that forecasts breathing, trained on simulated irregular breaths.

Command: python -m fluoro_jax.tracking.forecast_lstm   (writes its weights anew)

It reads the last places at even distances, relative to the newest one and divided by
how far they lie from it, so that it knows neither place nor amplitude, and answers with
the displacements after `AHEAD_S`. Its breaths are those of `sim.body.breathing` and
`sim.body.irregular_breathing`; it has learned from no tracked trace.

Source:
    The form of Lombardo et al. 2022: a small LSTM on a window of past positions. Ours:
    all numbers, and what it is trained on.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from fluoro_jax.sim.body.breathing import breathing_signal
from fluoro_jax.sim.body.irregular_breathing import sample_breathing

Array = jax.Array
WEIGHTS = Path(__file__).with_suffix(".safetensors")
# Ours, all of these. Places: 0.1, 0.2 and 0.4 s apart, 8 to 24 of them, were tried on
# simulated breaths (docs/compare.md).
TAP_S, TAPS = 0.2, 8
AHEAD_S = tuple(round(0.1 * n, 1) for n in range(1, 11))
HIDDEN = 16
PATIENTS, SECONDS = 256, 60.0  # simulated
RATE_HZ = 20.0  # of the simulated traces, read linearly between
SPEED = (0.7, 2.2)  # of a breath, even in its logarithm: they last 3 to 8 s
NOISE = (0.003, 0.1)  # SD of a place, of the amplitude, even in its logarithm
STEPS, BATCH, RATE = 3000, 256, 1e-2
FLOOR_MM = 0.3  # added to the scale: a trace that rests is not blown up


class Recurrent(nn.Module):
    """An LSTM over places, and a dense layer on its last state."""

    @nn.compact
    def __call__(self, places: Array) -> Array:
        """Returns displacements `[B, H]` after `AHEAD_S` of places `[B, TAPS]`."""
        states: Any = nn.RNN(nn.LSTMCell(HIDDEN))(places[..., None])
        return nn.Dense(len(AHEAD_S))(states[:, -1])


def displacements_mm(places_mm: np.ndarray, horizons_s: np.ndarray) -> np.ndarray:
    """Returns the displacements that the network forecasts.

    Args:
        places_mm: `[N, TAPS]`, `TAP_S` apart, oldest first, relative to the newest.
        horizons_s: `[H]` s; read linearly between `AHEAD_S`, and held beyond.

    Returns:
        `[N, H]` mm.
    """
    moved = np.asarray(_moved(_weights(), jnp.asarray(places_mm, jnp.float32)), float)
    known_s, moved = np.array([0.0, *AHEAD_S]), np.pad(moved, ((0, 0), (1, 0)))
    return np.stack([np.interp(horizons_s, known_s, one) for one in moved])


@functools.cache
def _weights() -> Any:
    return unflatten_dict(load_file(WEIGHTS), sep="/")


@jax.jit
def _moved(params: Any, places_mm: Array) -> Array:
    return forecast(params, places_mm, FLOOR_MM)


def forecast(params: Any, places: Array, floor: float) -> Array:
    """Returns displacements `[B, H]`, of places `[B, TAPS]` in the same unit.

    Args:
        params: of the network.
        places: relative to the newest.
        floor: added to their root mean square, by which they are divided.
    """
    scale = jnp.sqrt(jnp.mean(jnp.square(places), axis=-1, keepdims=True)) + floor
    read: Any = Recurrent().apply(params, places / scale)
    rest: Any = Recurrent().apply(params, jnp.zeros_like(places))
    # Of a trace that rests no motion is forecast.
    return (read - rest) * scale


def fit(*, steps: int = STEPS) -> Any:
    """Returns parameters trained on simulated breaths of amplitude 1."""
    start, draw = jax.random.split(jax.random.key(0))
    traces = simulated_traces()
    params = Recurrent().init(start, jnp.zeros((1, TAPS)))
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def loss_fn(params: Any, key: Array) -> Array:
        places, moved = examples(key, traces)
        usual = jnp.sqrt(jnp.mean(jnp.square(moved), axis=0))
        # Every horizon weighs the same, however far breaths come in that time.
        return jnp.mean(
            jnp.square((forecast(params, places, 1e-3) - moved) / usual[None])
        )

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
    """Returns inhaled fractions `[PATIENTS, SECONDS * RATE_HZ]`, half of them even."""
    time_s = np.arange(round(SECONDS * RATE_HZ), dtype=np.float32) / RATE_HZ

    def breath(key: Array) -> Array:
        irregular = sample_breathing(key, SECONDS)
        even = dataclasses.replace(irregular, breaths=None)
        return jnp.stack([breathing_signal(b, time_s)[0] for b in (irregular, even)])

    keys = jax.random.split(jax.random.key(1), PATIENTS // 2)
    return jax.jit(jax.vmap(breath))(keys).reshape(PATIENTS, -1)


def examples(key: Array, traces: Array) -> tuple[Array, Array]:
    """Returns noisy places `[BATCH, TAPS]` and true displacements `[BATCH, H]`.

    Both relative to the newest place as it was measured, in amplitudes.

    Args:
        key: of what is drawn.
        traces: `[P, M]` at `RATE_HZ`.
    """
    who, when, pace, level, noise = jax.random.split(key, 5)
    between = lambda key, ends: jnp.exp(
        jax.random.uniform(key, (BATCH, 1), None, *np.log(ends))
    )
    speed = between(pace, SPEED)
    back_s, ahead_s = TAP_S * np.arange(TAPS - 1, -1, -1)[None], np.array([AHEAD_S])
    # Of the trace's own time, which runs `speed` times as fast.
    first_s = speed * back_s.max()
    last_s = traces.shape[1] / RATE_HZ - speed * ahead_s.max() - 1.0 / RATE_HZ
    now_s = first_s + jax.random.uniform(when, (BATCH, 1)) * (last_s - first_s)
    trace = traces[jax.random.randint(who, (BATCH,), 0, len(traces))]
    known_s = np.arange(traces.shape[1]) / RATE_HZ
    read = jax.vmap(lambda t, one: jnp.interp(t, known_s, one))
    places = read(now_s - speed * back_s, trace)
    after = read(now_s + speed * ahead_s, trace)
    places = places + between(level, NOISE) * jax.random.normal(noise, places.shape)
    newest = places[:, -1:]
    return places - newest, after - newest


def main() -> None:
    """Trains the network and writes `WEIGHTS`."""
    held = flatten_dict(fit(), sep="/")
    save_file({name: np.asarray(value) for name, value in held.items()}, WEIGHTS)
    print(f"{sum(map(np.size, held.values()))} parameters: {WEIGHTS}")


if __name__ == "__main__":
    main()
