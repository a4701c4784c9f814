"""Compiling apart from running, and running in turn: how `launch.benchmark` measures.

`gflop` and bytes are XLA's own count, which takes the body of a loop once however often
it runs. `gflop_by_hand` counts the convolutions of a network from its shapes; rates are
those of the count by hand where there is one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from scipy import stats

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
    "share_of_flops",
    "share_of_bandwidth",
)


class PeerFailed(Exception):
    """A peer that cannot run here, and why in one line."""


@dataclass
class Program:
    """Something to time: ours or a peer's.

    Attributes:
        run: does the work once and waits for the answer.
        compile_s: seconds of tracing, lowering and compiling, if known.
        gflop: XLA's count for one run.
        gbyte: XLA's count of bytes moved, in 10^9.
        peak_mib: arguments, results and temporary memory.
        gflop_by_hand: of the convolutions, from their shapes.
        precision: of the computation.
        read: a peer's answer as a tree of numpy arrays.
        translate: our answer in the peer's layout, to be compared.
    """

    run: Callable[[], Any]
    compile_s: float | None = None
    gflop: float | None = None
    gbyte: float | None = None
    peak_mib: float | None = None
    gflop_by_hand: float | None = None
    precision: str = "float32"
    read: Callable[[Any], Any] = lambda answer: answer
    translate: Callable[[Any], Any] = lambda answer: answer


def compile_program(function: Callable, *args: Any, **known: Any) -> Program:
    """Compiles `function` for `args` and puts them on the device.

    Args:
        function: to be jitted.
        *args: pytrees of arrays.
        **known: further attributes of `Program`.
    """
    args = jax.block_until_ready(jax.device_put(args))
    compiled, seconds = timed(lambda: jax.jit(function).lower(*args).compile())
    run = lambda: jax.block_until_ready(compiled(*args))
    return Program(run, seconds, **{**counts(compiled), **known})


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """`function()`, and the seconds it took."""
    start = time.perf_counter()
    answer = function()
    return answer, time.perf_counter() - start


def counts(compiled: Any) -> dict[str, float]:
    """XLA's count of work and memory: gflop, gbyte and peak_mib of `Program`."""
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    peak = (
        memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        + memory.argument_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return {
        "gflop": cost.get("flops", 0.0) / 1e9,
        "gbyte": cost.get("bytes accessed", 0.0) / 1e9,
        "peak_mib": peak / 2**20,
    }


def run_in_turn(programs: Sequence[Program], repeats: int) -> np.ndarray:
    """Times programs in turn, so that a slow spell of the machine meets all.

    Every program has run once before: that is its warm-up.

    Returns:
        `[len(programs), repeats]` seconds.
    """
    seconds = np.zeros((len(programs), repeats))
    for repeat in range(repeats):
        for place, program in enumerate(programs):
            start = time.perf_counter()
            program.run()
            seconds[place, repeat] = time.perf_counter() - start
    return seconds


def compare(
    programs: dict[str | None, Program], names: dict[str, Any], repeats: int
) -> list[dict[str, Any]]:
    """Warms all up, compares their answers, and only then times them in turn.

    Args:
        programs: ours under None, each peer's under its name.
        names: what, variant and preset of the rows.
        repeats: timed runs of each.

    Returns:
        One row a program, ours first.
    """
    answers = {peer: program.run() for peer, program in programs.items()}
    label = f"{names['what']} {names['variant']}"
    diffs: dict[str | None, float | None] = {None: None}
    for peer, program in programs.items():
        if peer:
            mine = program.translate(answers[None])
            diffs[peer], most = max_difference(mine, program.read(answers[peer]))
            print(
                f"{label}: max |ours - {peer}| = {diffs[peer]:.2e} "
                f"(largest value {most:.2e})"
            )
    answers.clear()
    seconds = run_in_turn(list(programs.values()), repeats)
    taken = dict(zip(programs, seconds, strict=True))
    for peer in [peer for peer in programs if peer]:
        print(ratio_line(label, peer, taken[None], taken[peer]), flush=True)
    return [
        make_row(program, taken[p], max_diff=diffs[p], peer=p, **names)
        for p, program in programs.items()
    ]


def make_row(
    program: Program, seconds: np.ndarray, *, max_diff: float | None, **names: Any
) -> dict[str, Any]:
    """One row of the table, with at least `KEYS` (both shares are still None).

    Args:
        program: what ran.
        seconds: `[repeats]` of it.
        max_diff: largest difference of its answer to the peer's; None without one.
        **names: what, variant, peer and preset.
    """
    median = float(np.median(seconds))
    work = program.gflop_by_hand or program.gflop
    known = dataclasses.asdict(program)
    wanted = ("compile_s", "gflop", "gflop_by_hand", "gbyte", "peak_mib", "precision")
    return {
        "peer": None,
        **names,
        "median_ms": 1e3 * median,
        "min_ms": 1e3 * float(seconds.min()),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
        "repeats": len(seconds),
        **{key: known[key] for key in wanted},
        "gflop_per_s": work / median if work else None,
        "gbyte_per_s": program.gbyte / median if program.gbyte else None,
        "max_diff_to_peer": max_diff,
        "share_of_flops": None,
        "share_of_bandwidth": None,
        "device": jax.devices()[0].device_kind,
    }


def add_peers(
    programs: dict[str | None, Program],
    peers: Sequence[str],
    make: Callable[[str], Program],
    names: dict[str, Any],
) -> list[dict[str, Any]]:
    """Adds the peers' programs; returns a `failed_row` for each that cannot run."""
    failed = []
    for peer in peers:
        try:
            programs[peer] = make(peer)
        except PeerFailed as reason:
            failed.append(failed_row(reason, peer=peer, **names))
    return failed


def failed_row(reason: PeerFailed, **names: Any) -> dict[str, Any]:
    """A row without numbers that says in `note` why there are none."""
    print(f"{names['what']} {names['variant']}: {names['peer']} not run: {reason}")
    nothing = dict.fromkeys((*KEYS, "min_ms", "repeats", "gflop_by_hand", "gbyte"))
    return {**nothing, **names, "note": str(reason)}


def ratio_line(label: str, peer: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Returns the median ratio of peer to ours over the pairs, with its interval.

    Args:
        label: of what was timed.
        peer: its name.
        ours: seconds of each run.
        theirs: likewise, run in turn with ours.
    """
    pairs = theirs / ours
    low, high, cover = median_interval(pairs)
    return (
        f"{label}: {peer} / ours = {np.median(pairs):.2f} ({len(pairs)} pairs, "
        f"{low:.2f} to {high:.2f} is a {100 * cover:.0f} % interval of the median)"
    )


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Order statistics around the median that cover the true one with >= 95 %.

    Distribution-free: the number of values under the true median is binomial. With
    fewer than six values the whole range covers less, which is then said.

    Returns:
        lower end, upper end, probability of covering.
    """
    n, ordered = len(values), np.sort(values)
    rank = max(int(stats.binom.ppf(0.025, n, 0.5)), 1)
    cover = 1.0 - 2.0 * float(stats.binom.cdf(rank - 1, n, 0.5))
    return float(ordered[rank - 1]), float(ordered[n - rank]), cover


def max_difference(a: Any, b: Any) -> tuple[float, float]:
    """Largest absolute difference between two trees of one structure; largest value."""
    apart = lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y))))
    largest = lambda x: float(np.max(np.abs(np.asarray(x))))
    return (
        max(jax.tree.leaves(jax.tree.map(apart, a, b))),
        max(jax.tree.leaves(jax.tree.map(largest, b))),
    )


def add_shares(rows: Sequence[dict[str, Any]], ceilings: dict[str, float]) -> None:
    """Each row's share of the machine's measured limits (MFU and bandwidth).

    That of a product is of the row's precision, where it was measured.
    """
    for row in rows:
        for key, rate in (("flops", "gflop_per_s"), ("bandwidth", "gbyte_per_s")):
            if row[rate] is not None:
                limit = ceilings.get(f"{rate}_{row['precision']}", ceilings[rate])
                row[f"share_of_{key}"] = row[rate] / limit


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
