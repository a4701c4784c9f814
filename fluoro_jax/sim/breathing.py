"""Breathing curves: how far through a breath the body is at each time.

A curve is a fraction: 0 at full exhale, 1 at the reference inhale. XCAT's periodic
curve is two half cosines, inhaling for 0.4 and exhaling for 0.6 of the period; a
recorded trace (of any length and regularity) may take its place.
"""

from __future__ import annotations

import csv
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray

Array = jax.Array
Scalar = Any

INHALE_FRACTION = 0.4  # of the period; the other 0.6 is exhalation (XCAT)


@struct.dataclass
class Breathing:
    """How one person breathes.

    Attributes:
        period_s: length of a breath, s (XCAT: 5).
        si_mm: diaphragm displacement from exhale to inhale, mm, inferior.
        ap_mm: chest wall displacement from exhale to inhale, mm, anterior.
        ap_lag: delay of the chest against the diaphragm, cycles (0 to 0.2).
        start: phase at time 0, cycles; 0 is full exhale.
        trace: recorded displacement `[N]` as a fraction of the reference inhale
            (may leave [0, 1]), or None for the periodic curve.
        trace_rate_hz: samples a second of `trace`.
    """

    period_s: Scalar = 5.0
    si_mm: Scalar = 20.0
    ap_mm: Scalar = 12.0
    ap_lag: Scalar = 0.0
    start: Scalar = 0.0
    trace: AnyArray | None = None
    trace_rate_hz: Scalar = 10.0


def cosine_breath(phase: Array) -> Array:
    """XCAT's curve as two half cosines, in [0, 1], for a phase in cycles.

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


def breathing_signal(breathing: Breathing, time_s: AnyArray) -> tuple[Array, Array]:
    """Diaphragm and chest wall fractions at each time.

    Args:
        breathing: the curve; a recorded trace is read linearly and held at its ends.
        time_s: `[T]` s.

    Returns:
        (si, ap), each `[T]` [1]; times `si_mm` and `ap_mm` they are mm.
    """
    time_s = jnp.asarray(time_s, jnp.float32)
    cycles = time_s / breathing.period_s + breathing.start
    if breathing.trace is None:
        return cosine_breath(cycles), cosine_breath(cycles - breathing.ap_lag)
    trace = jnp.asarray(breathing.trace, jnp.float32)
    index = jnp.arange(trace.shape[0], dtype=jnp.float32)
    seconds = time_s + breathing.start * breathing.period_s
    lag_s = breathing.ap_lag * breathing.period_s
    read = lambda s: jnp.interp(s * breathing.trace_rate_hz, index, trace)
    return read(seconds), read(seconds - lag_s)


def trace_names() -> list[str]:
    """Names of the recorded traces that ship with the package."""
    folder = resources.files("fluoro_jax.sim") / "traces"
    files = [p.name for p in folder.iterdir() if p.name.endswith(".csv")]
    return sorted(name.removesuffix(".csv") for name in files)


def load_trace(name: str) -> tuple[np.ndarray, float]:
    """A recorded human breathing trace.

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
    path = resources.files("fluoro_jax.sim") / "traces" / f"{name}.csv"
    lines = [row for row in path.read_text().splitlines() if not row.startswith("#")]
    rows = list(csv.DictReader(lines))
    time_s = np.array([float(row["time_s"]) for row in rows])
    displacement = np.array([float(row["displacement_mm"]) for row in rows])
    rate_hz = (len(time_s) - 1) / (time_s[-1] - time_s[0])
    return displacement.astype(np.float32), float(rate_hz)
