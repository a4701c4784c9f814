"""Irregular breathing drawn from distributions fitted to recordings.

Every breath has its own length, height and exhale position, each a little like the one
before; some may be held or coughed into. How much these vary is itself drawn once per
patient. Breath number i depends on the key and i alone: a longer record never changes
its beginning, and any frame rate reads the same breaths.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from fluoro_jax.errors import UserError
from fluoro_jax.sim.body.breathing import Breathing, Breaths

Array = jax.Array
Scalar = Any

BEFORE = 2  # breaths that begin before time 0, so that lags find something
SHORTEST_S = 2.0  # so many breaths are drawn that shorter ones would still suffice


@dataclass(frozen=True)
class Irregularity:
    """The distributions. Pairs are (mean, standard deviation) of a normal law.

    The defaults are what `python -m fluoro_jax.sim.body.fit_traces` prints for six
    sessions (18 traces) by Krilavicius et al., CC BY 4.0 (traces/README.md). No
    cough and no breath-hold is marked in those: their rates are 0 and their sizes ours.

    Attributes:
        log_period_s: logarithm of a patient's mean period.
        log_period_sd: logarithm of the SD, in a patient, of the log period.
        log_amplitude_sd: the same for the amplitude.
        log_baseline_sd: the same for the exhale position, in mean amplitudes.
        most_sd: the three spreads of one patient are cut here.
        period_memory: correlation of neighbouring breaths, of the log period.
        amplitude_memory: of the log amplitude.
        baseline_memory: of the exhale position.
        chest_lag: delay of the chest against the diaphragm, cycles.
        hold_rate: share of breaths that are held.
        hold_s: (least, most) length of a hold, s.
        cough_rate: share of breaths with a cough.
        cough_size: (least, most) height of a cough, fraction.
    """

    log_period_s: tuple[float, float] = (1.763, 0.100)
    log_period_sd: tuple[float, float] = (-1.838, 0.509)
    log_amplitude_sd: tuple[float, float] = (-1.845, 0.512)
    log_baseline_sd: tuple[float, float] = (-2.532, 1.159)
    most_sd: float = 0.4
    period_memory: float = 0.127
    amplitude_memory: float = 0.264
    baseline_memory: float = 0.520
    chest_lag: tuple[float, float] = (0.032, 0.010)
    hold_rate: float = 0.0
    hold_s: tuple[float, float] = (5.0, 15.0)
    cough_rate: float = 0.0
    cough_size: tuple[float, float] = (0.2, 0.6)


def sample_breathing(
    key: Array,
    duration_s: float,
    *,
    si_mm: Scalar = 20.0,
    ap_mm: Scalar = 12.0,
    irregularity: Irregularity | None = None,
) -> Breathing:
    """Returns one patient's irregular breathing.

    Args:
        key: a typed JAX key.
        duration_s: at least so long a record from time 0 (static).
        si_mm: mean diaphragm displacement of a breath, mm, inferior.
        ap_mm: mean chest wall displacement of a breath, mm, anterior.
        irregularity: the distributions; None means the fitted ones.

    Returns:
        The breathing, float32 leaves. Time 0 lies anywhere in a breath.

    Raises:
        UserError: for a duration that is no length of time.
    """
    if not 0.0 < duration_s < math.inf:
        raise UserError(
            f"irregular breathing for {duration_s:g} s",
            needed="more than 0 s",
            why="breaths are drawn until the record is full",
            fix="give the length of the clip in seconds",
        )
    rules = Irregularity() if irregularity is None else irregularity
    count = math.ceil(duration_s / SHORTEST_S) + BEFORE + 1
    uniform = jax.random.uniform(jax.random.fold_in(key, 0), (6,))
    draws, begun = _normal(uniform[:5]), uniform[5]
    spread = [
        jnp.minimum(jnp.exp(mean + sd * draws[i]), rules.most_sd)
        for i, (mean, sd) in enumerate(
            (rules.log_period_sd, rules.log_amplitude_sd, rules.log_baseline_sd)
        )
    ]
    mean_s = jnp.exp(rules.log_period_s[0] + rules.log_period_s[1] * draws[3])
    lag = jnp.maximum(rules.chest_lag[0] + rules.chest_lag[1] * draws[4], 0.0)
    breaths = _sample_breaths(key, count, mean_s, spread, rules)
    # one of the first breaths is under way at time 0
    before, after = breaths.start_s[BEFORE - 1], breaths.start_s[BEFORE]
    zero_s = before + begun * (after - before)
    breaths = dataclasses.replace(breaths, start_s=breaths.start_s - zero_s)
    return Breathing(
        period_s=mean_s,
        si_mm=jnp.float32(si_mm),
        ap_mm=jnp.float32(ap_mm),
        ap_lag=lag,
        breaths=breaths,
    )


def _sample_breaths(
    key: Array, count: int, mean_s: Array, spread: list[Array], rules: Irregularity
) -> Breaths:
    """Returns `count` breaths; the first begins at 0 s."""
    draw = lambda i: jax.random.uniform(jax.random.fold_in(key, i), (7,))
    uniform = jax.vmap(draw)(1 + jnp.arange(count + 1))
    normal = _normal(uniform[:, :3])
    memory = (rules.period_memory, rules.amplitude_memory, rules.baseline_memory)
    period, amplitude, baseline = (
        spread[i] * _remember(normal[:, i], memory[i]) for i in range(3)
    )
    of_mean_one = lambda x, sd: jnp.exp(x[:-1] - 0.5 * jnp.square(sd))
    between = lambda limits, u: limits[0] + (limits[1] - limits[0]) * u
    if_drawn = lambda rate, u, value: jnp.where(u < rate, value, 0.0)
    chance = uniform[:-1, 3:]
    hold_s = if_drawn(
        rules.hold_rate, chance[:, 0], between(rules.hold_s, chance[:, 1])
    )
    cough = between(rules.cough_size, chance[:, 3])
    length_s = mean_s * of_mean_one(period, spread[0]) + hold_s
    return Breaths(
        start_s=jnp.concatenate([jnp.zeros(1), jnp.cumsum(length_s)]),
        baseline=baseline,
        amplitude=of_mean_one(amplitude, spread[1]),
        hold_s=hold_s,
        cough=if_drawn(rules.cough_rate, chance[:, 2], cough),
    )


def _normal(uniform: Array) -> Array:
    return ndtri(jnp.clip(uniform, 1e-6, 1.0 - 1e-6))


def _remember(fresh: Array, memory: float) -> Array:
    """Returns standard normals `[N]`, each correlated by `memory` with the last."""

    def follow(last: Array, new: Array) -> tuple[Array, Array]:
        now = memory * last + math.sqrt(1.0 - memory**2) * new
        return now, now

    rest = jax.lax.scan(follow, fresh[0], fresh[1:])[1]
    return jnp.concatenate([fresh[:1], rest])
