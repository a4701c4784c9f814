"""Breathing curves: the fraction of a full breath at each time.

A curve is a fraction: 0 at full exhale, 1 at the reference inhale. XCAT's periodic
curve is two half cosines, inhaling for 0.4 and exhaling for 0.6 of the period; Lujan's
is a power of a cosine. Breath by breath the curve may be stretched, held and shifted
(`Breaths`, drawn in `irregular_breathing`), and a recorded trace may replace it.
All are functions of time: any frame rate reads the same breath.
"""

from __future__ import annotations

import csv
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Real

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray

Array = jax.Array
Scalar = Any
Leaf = Any  # an array, or what `jax.tree.map` puts in its place

INHALE_FRACTION = 0.4  # of the period; the other 0.6 is exhalation (XCAT)
COUGH_S = 0.6  # length of a cough


@struct.dataclass
class Breaths:
    """N breaths that follow each other, in fractions of the reference inhale.

    Attributes:
        start_s: `[N + 1]` when each begins, s, at full exhale; the last is the end.
        baseline: `[N + 1]` where exhale lies at those times [1].
        amplitude: `[N]` height of each above the baseline [1].
        hold_s: `[N]` how long each is held at its top, within its time, s.
        cough: `[N]` height of a cough halfway through each exhalation [1].
    """

    start_s: Leaf
    baseline: Leaf
    amplitude: Leaf
    hold_s: Leaf
    cough: Leaf


@struct.dataclass
class Breathing:
    """The breathing of one patient.

    Attributes:
        period_s: length of a breath, s (XCAT: 5).
        si_mm: diaphragm displacement from exhale to inhale, mm, inferior.
        ap_mm: chest wall displacement from exhale to inhale, mm, anterior.
        ap_lag: delay of the chest against the diaphragm, cycles (0 to 0.2).
        start: phase at time 0, cycles; 0 is full exhale.
        trace: recorded displacement `[N]` as a fraction of the reference inhale
            (may leave [0, 1]), or None for the periodic curve.
        trace_rate_hz: samples a second of `trace`.
        breaths: uneven breaths instead of periodic ones, or None; `period_s` is then
            their mean and counts for `start` and lags only.
        lujan_n: Lujan's curve of this power instead of XCAT's, or None.
    """

    period_s: Scalar = 5.0
    si_mm: Scalar = 20.0
    ap_mm: Scalar = 12.0
    ap_lag: Scalar = 0.0
    start: Scalar = 0.0
    trace: Leaf | None = None
    trace_rate_hz: Scalar = 10.0
    breaths: Breaths | None = None
    lujan_n: Scalar | None = None


def cosine_breath(phase: Real[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Returns XCAT's curve as two half cosines, in [0, 1], for a phase in cycles.

    s(p) = (1 - cos(pi p / 0.4)) / 2              for p <= 0.4
    s(p) = (1 + cos(pi (p - 0.4) / 0.6)) / 2      for p > 0.4

    Args:
        phase: any shape, cycles; wraps at 1.

    Returns:
        Fraction of the breath [1], same shape.

    Source:
        Segars et al. 2010, doi:10.1118/1.3480985 (XCAT); the closed form differs from
        XCAT's default curve by less than 0.05 at its ten phases.
    """
    phase = jnp.mod(jnp.asarray(phase, jnp.float32), 1.0)
    inhale = jnp.cos(jnp.pi * phase / INHALE_FRACTION)
    exhale = jnp.cos(jnp.pi * (phase - INHALE_FRACTION) / (1.0 - INHALE_FRACTION))
    return 0.5 + 0.5 * jnp.where(phase <= INHALE_FRACTION, -inhale, exhale)


def lujan_breath(phase: Real[AnyArray, "*shape"], n: Scalar) -> Float[Array, "*shape"]:
    """Returns Lujan's curve s(p) = cos^2n(pi (p - 1/2)), in [0, 1], at phase p.

    With n = 1 inhale and exhale last alike; the larger n, the longer the exhale rests
    and the shorter the inhale dwells.

    Args:
        phase: any shape, cycles; wraps at 1.
        n: 1, 2 or 3 are usual; more than 0.

    Returns:
        Fraction of the breath [1], same shape.

    Source:
        Lujan et al. 1999, doi:10.1118/1.598577, there counted from inhale.
    """
    sine = jnp.sin(jnp.pi * jnp.asarray(phase, jnp.float32))
    return jnp.power(jnp.square(sine), n)


def breathing_signal(
    breathing: Breathing, time_s: Real[AnyArray, "*t"]
) -> tuple[Float[Array, "*t"], Float[Array, "*t"]]:
    """Returns diaphragm and chest wall fractions at each time.

    Args:
        breathing: the curve; a recorded trace is read linearly and held at its ends,
            and so are breaths.
        time_s: `[T]` s.

    Returns:
        (si, ap), each `[T]` [1]; times `si_mm` and `ap_mm` they are mm.
    """
    time_s = jnp.asarray(time_s, jnp.float32)
    if breathing.trace is None and breathing.breaths is None:
        cycles = time_s / breathing.period_s + breathing.start
        return _curve(breathing, cycles), _curve(breathing, cycles - breathing.ap_lag)
    seconds = time_s + breathing.start * breathing.period_s
    lag_s = breathing.ap_lag * breathing.period_s
    if breathing.trace is None:
        read = lambda s: breaths_signal(breathing, s)
    else:
        trace = jnp.asarray(breathing.trace, jnp.float32)
        index = jnp.arange(trace.shape[0], dtype=jnp.float32)
        read = lambda s: jnp.interp(s * breathing.trace_rate_hz, index, trace)
    return read(seconds), read(seconds - lag_s)


def breaths_signal(
    breathing: Breathing, seconds: Float[Array, "*t"]
) -> Float[Array, "*t"]:
    """Returns the fraction of `breathing.breaths` at each time, `[T]` [1] for `[T]` s.

    Within a breath: the baseline, linear from its start to the next, plus the amplitude
    times the curve, which pauses at its top for `hold_s`, plus the cough.
    """
    breaths = breathing.breaths
    assert breaths is not None
    start_s = jnp.asarray(breaths.start_s, jnp.float32)
    seconds = jnp.clip(seconds, start_s[0], start_s[-1])
    which = jnp.searchsorted(start_s, seconds, side="right") - 1
    which = jnp.clip(which, 0, breaths.amplitude.shape[0] - 1)
    pick = lambda values: jnp.asarray(values, jnp.float32)[which]
    since, length, hold = (
        seconds - start_s[which],
        start_s[which + 1] - start_s[which],
        pick(breaths.hold_s),
    )
    top = INHALE_FRACTION if breathing.lujan_n is None else 0.5
    moving = length - hold
    at_top = top * moving
    moved = since - jnp.clip(since - at_top, 0.0, hold)
    low, high = pick(breaths.baseline), jnp.asarray(breaths.baseline)[which + 1]
    curve = _curve(breathing, jnp.minimum(moved / moving, 1.0 - 1e-7))
    bump_s = jnp.minimum(COUGH_S, 0.25 * moving)
    into = (since - hold - 0.5 * (1.0 + top) * moving) / bump_s + 0.5
    bump = jnp.square(jnp.sin(jnp.pi * jnp.clip(into, 0.0, 1.0)))
    baseline = low + (high - low) * since / length
    return baseline + pick(breaths.amplitude) * curve + pick(breaths.cough) * bump


def _curve(breathing: Breathing, cycles: Array) -> Array:
    if breathing.lujan_n is None:
        return cosine_breath(cycles)
    return lujan_breath(cycles, breathing.lujan_n)


def trace_names() -> list[str]:
    """Returns names of the recorded traces that ship with the package."""
    folder = resources.files("fluoro_jax.sim.body") / "traces"
    files = [p.name for p in folder.iterdir() if p.name.endswith(".csv")]
    return sorted(name.removesuffix(".csv") for name in files)


def load_trace(name: str) -> tuple[np.ndarray, float]:
    """Returns a recorded human breathing trace.

    Args:
        name: one of `trace_names()`.

    Returns:
        (displacement mm `[N]`, inhale positive, 0 at the typical exhale; samples a
        second).

    Raises:
        UserError: if there is no such trace.

    Source:
        Krilavicius et al., external chest markers, CC BY 4.0; see traces/README.md.
    """
    if name not in trace_names():
        raise UserError(
            f'breathing trace "{name}"',
            needed="one of " + ", ".join(trace_names()),
            why="only these recordings ship with the package",
            fix="use one of them, or pass your own array as Breathing(trace=...)",
        )
    path = resources.files("fluoro_jax.sim.body") / "traces" / f"{name}.csv"
    lines = [row for row in path.read_text().splitlines() if not row.startswith("#")]
    rows = list(csv.DictReader(lines))
    time_s = np.array([float(row["time_s"]) for row in rows])
    displacement = np.array([float(row["displacement_mm"]) for row in rows])
    rate_hz = (len(time_s) - 1) / (time_s[-1] - time_s[0])
    return displacement.astype(np.float32), float(rate_hz)
