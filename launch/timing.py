"""Compiling apart from running, and running in turn: how `launch.benchmark` measures.

Flops and bytes are XLA's own count, which takes the body of a loop once however often
it runs: a scan's share is too small, and rates of two programs compare only where
both keep the same work inside loops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

KEYS = (
    "what",
    "variant",
    "peer",
    "preset",
    "median_ms",
    "p95_ms",
    "p99_ms",
    "compile_s",
    "gflop",
    "gflop_per_s",
    "gbyte_per_s",
    "peak_mib",
    "precision",
    "max_diff_to_peer",
)


@dataclass
class Program:
    """A compiled function with its arguments.

    Attributes:
        compiled: what `jax.jit(f).lower(*args).compile()` gave.
        args: on the device.
        compile_s: seconds of tracing, lowering and compiling.
    """

    compiled: Any
    args: tuple
    compile_s: float

    def __call__(self) -> Any:
        """Runs once and waits for the answer."""
        return jax.block_until_ready(self.compiled(*self.args))


def compile_program(function: Callable, *args: Any) -> Program:
    """Compiles `function` for `args` and puts them on the device."""
    args = jax.block_until_ready(jax.device_put(args))
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    return Program(compiled, args, time.perf_counter() - start)


def run_in_turn(programs: Sequence[Program], repeats: int) -> np.ndarray:
    """Times programs in turn, so that a slow spell of the machine meets all.

    Every program has run once before (see `Program.__call__`): that is its warm-up.

    Returns:
        `[len(programs), repeats]` seconds.
    """
    seconds = np.zeros((len(programs), repeats))
    for repeat in range(repeats):
        for place, program in enumerate(programs):
            start = time.perf_counter()
            program()
            seconds[place, repeat] = time.perf_counter() - start
    return seconds


def make_row(
    program: Program, seconds: np.ndarray, *, max_diff: float | None, **names: Any
) -> dict[str, Any]:
    """One row of the table, with at least `KEYS`.

    Args:
        program: what ran.
        seconds: `[repeats]` of it.
        max_diff: largest difference of its answer to the peer's; None without one.
        **names: what, variant, peer and preset.
    """
    cost = program.compiled.cost_analysis() or {}
    memory = program.compiled.memory_analysis()
    gflop = cost.get("flops", 0.0) / 1e9
    gbyte = cost.get("bytes accessed", 0.0) / 1e9
    median = float(np.median(seconds))
    peak = (
        memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        + memory.argument_size_in_bytes
    )
    return {
        **names,
        "median_ms": 1e3 * median,
        "min_ms": 1e3 * float(seconds.min()),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
        "repeats": len(seconds),
        "compile_s": program.compile_s,
        "gflop": gflop,
        "gflop_per_s": gflop / median,
        "gbyte_per_s": gbyte / median,
        "peak_mib": peak / 2**20,
        "precision": "float32",
        "max_diff_to_peer": max_diff,
        "device": jax.devices()[0].device_kind,
    }


def ratio_line(variant: str, peer: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    """How many times longer the peer takes: median of the pairs, and their range."""
    pairs = theirs / ours
    return (
        f"{variant}: {peer} / ours = {np.median(pairs):.2f} "
        f"({len(pairs)} pairs, {pairs.min():.2f} to {pairs.max():.2f})"
    )


def max_difference(a: Any, b: Any) -> float:
    """Largest absolute difference between two pytrees of one structure."""
    apart = lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y))))
    return max(jax.tree.leaves(jax.tree.map(apart, a, b)))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """`KEYS` of the rows as a Markdown table."""
    lines = ["| " + " | ".join(KEYS) + " |", "|" + " --- |" * len(KEYS)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row[key]) for key in KEYS) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
