"""A small LSTM that forecasts breathing; `forecast_lstm_fit` trains it.

It reads the last places at even distances, relative to the newest one and divided by
how far they lie from it, so that it knows neither place nor amplitude, and answers with
the displacements after `AHEAD_S`. It was trained on simulated breaths, half of them
regular and half irregular. Those are of the generator that also makes the irregular
scenarios of the comparison, whose distributions are fitted to the recordings of which
the package's two traces are part: there it knows what the forecasters that learn from
the trace alone do not.

Source:
    The form of Lombardo et al. 2022, "Offline and online LSTM networks for respiratory
    motion prediction in MR-guided radiotherapy", Phys. Med. Biol. 67 095006: a small
    LSTM on a window of past positions. Ours: all numbers, and what it is trained on.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

Array = jax.Array
WEIGHTS = Path(__file__).with_suffix(".safetensors")
# Ours, all of these. Places: 0.1, 0.2 and 0.4 s apart, 8 to 24 of them, were tried on
# simulated breaths (docs/compare.md).
TAP_S, TAPS = 0.2, 8
AHEAD_S = tuple(round(0.1 * n, 1) for n in range(1, 11))
HIDDEN = 16
FLOOR_MM = 0.3  # added to the scale: a trace at rest is not blown up


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
    return forecast(Recurrent(), params, places_mm, FLOOR_MM)


def forecast(network: nn.Module, params: Any, places: Array, floor: float) -> Array:
    """Returns displacements `[B, H]`, of places `[B, M]` in the same unit.

    Args:
        network: from scaled places to scaled displacements.
        params: of the network.
        places: relative to the newest.
        floor: added to their root mean square, by which they are divided.
    """
    scale = jnp.sqrt(jnp.mean(jnp.square(places), axis=-1, keepdims=True)) + floor
    read: Any = network.apply(params, places / scale)
    rest: Any = network.apply(params, jnp.zeros_like(places[:1]))
    # A trace at rest is forecast to stay.
    return (read - rest) * scale
