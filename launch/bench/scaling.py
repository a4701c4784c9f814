"""Both updates over 1, 2, 4 ... devices: is the mathematics the same, how fast is it.

Weak: one clip a device. Strong: as many clips as there are devices, in all. Virtual
devices of a CPU (`XLA_FLAGS=--xla_force_host_platform_device_count=4`) share its cores,
so their times say nothing; their collectives and their results do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from fluoro_jax.training import parallel
from fluoro_jax.training.nets import Nets, build
from fluoro_jax.training.precision import precision_name
from fluoro_jax.training.state import TrainState, to_host
from fluoro_jax.training.step import make_critic_update, make_gen_update
from launch.bench import nets as bench_nets
from launch.bench import timing

Row = dict[str, Any]
UPDATES = ("generator", "critic")
# "= f32[1919]{0} all-reduce(", or a tuple of shapes, or an asynchronous one's start
ALL_REDUCE = re.compile(r"= (\(.*?\)|\S+) all-reduce(?:-start)?\(")
SHAPE = re.compile(r"\w+\[([\d,]*)\]")


@dataclass
class Run:
    """One update on some devices.

    Attributes:
        program: to be timed; every run goes on from the one before.
        collectives: values (not bytes) in each all-reduce of the compiled text.
        params: `{path: array}` of the network after the first update.
        moment: of Adam after the first update, (1 - b1) times the clipped gradient.
    """

    program: timing.Program
    collectives: list[int]
    params: Any
    moment: Any


def scaling(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Rows of weak and strong scaling of the generator's and the critic's update."""
    del peers
    bench_nets.count_everything(cfg)
    nets, devices = build(cfg), jax.local_devices()
    counts = [2**i for i in range(len(devices).bit_length()) if 2**i <= len(devices)]
    if len(counts) == 1:
        print(
            "scaling: JAX shows one device; XLA_FLAGS=--xla_force_host_platform_"
            "device_count=4 shows four virtual ones on a CPU"
        )
    first = to_host(parallel.place(nets.init, devices=devices[:1]))
    rows = []
    for name in UPDATES:
        plans = [("weak", n, n) for n in counts]
        plans += [("strong", n, counts[-1]) for n in counts]
        wanted = {(n, clips) for _, n, clips in plans} | {(1, n) for n in counts}
        runs = {key: _run(nets, name, first, *key) for key in sorted(wanted)}
        rows += _rows(runs, plans, {"kind": name, "preset": cfg.name}, repeats)
    return rows


def _run(nets: Nets, name: str, first: TrainState, count: int, clips: int) -> Run:
    """Compiles an update for `count` devices and does it once, from `first`."""
    devices = jax.local_devices()[:count]
    state = parallel.place_tree(first, devices=devices)
    make, tx = (
        (make_gen_update, nets.gen_tx)
        if name == "generator"
        else (make_critic_update, nets.critic_tx)
    )
    update = make(nets.cfg, nets.gen, nets.critic, tx)
    rng = np.random.default_rng(0)
    whole = bench_nets.random_batch(nets.cfg, rng, range(clips))
    batch = parallel.shard(whole, devices=devices)
    p_update = parallel.p_update(update, devices=devices)
    compile_it = lambda: p_update.compile(state, batch)
    compiled, seconds = timing.timed(compile_it)
    held = [p_update(state, batch)[0]]
    trained = held[0].gen if name == "generator" else held[0].critic

    def run() -> None:
        held[0], _ = jax.block_until_ready(p_update(held[0], batch))

    counts: dict[str, Any] = dict(timing.counts(compiled))
    return Run(
        timing.Program(run, seconds, precision=precision_name(nets.cfg), **counts),
        all_reduces(compiled.as_text()),
        to_host(trained.params),
        to_host(optax.tree.get(trained.opt_state, "mu")),
    )


def all_reduces(text: str) -> list[int]:
    """Returns the number of values in each all-reduce of a compiled program's text."""
    size = lambda dims: int(np.prod([int(n) for n in dims.split(",") if n], dtype=int))
    return [
        sum(size(dims) for dims in SHAPE.findall(shapes))
        for shapes in ALL_REDUCE.findall(text)
    ]


def _rows(
    runs: dict[tuple[int, int], Run],
    plans: Sequence[tuple[str, int, int]],
    names: dict[str, Any],
    repeats: int,
) -> list[Row]:
    """Times all in turn, then a row a plan, each beside the plan's first."""
    seconds = timing.run_in_turn([run.program for run in runs.values()], repeats)
    taken = dict(zip(runs, seconds, strict=True))
    kind, rows = names["kind"], []
    virtual = jax.local_devices()[0].platform == "cpu"
    for mode, count, clips in plans:
        run, alone = runs[count, clips], runs[1, clips]
        one_ms = float(np.median(taken[1, 1 if mode == "weak" else clips]))
        ratio = one_ms / float(np.median(taken[count, clips]))
        off, _ = timing.max_difference(run.params, alone.params)
        moment_off, moment = timing.max_difference(run.moment, alone.moment)
        row = timing.make_row(
            run.program,
            taken[count, clips],
            max_diff=None,
            what="scaling",
            variant=f"{kind}, {mode}, {count} devices",
            preset=names["preset"],
        )
        row |= {
            "devices": count,
            "virtual_devices": virtual and count > 1,
            "clips": clips,
            "all_reduces": len(run.collectives),
            "all_reduced_values": sum(run.collectives),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.params)),
            "max_diff_to_one_device": off,
            "max_diff_of_moment": moment_off,
            "largest_moment": moment,
            "efficiency": ratio if mode == "weak" else ratio / count,
        }
        print(line_of(row), flush=True)
        rows.append(row)
    return rows


def line_of(row: Row) -> str:
    """A row in words."""
    metrics = row["all_reduced_values"] - row["parameters"]
    times = f"efficiency {row['efficiency']:.2f}"
    if row["virtual_devices"]:
        times = "virtual devices, so no efficiency"
    return (
        f"scaling, {row['variant']}, {row['clips']} clips: {row['all_reduces']} "
        f"all-reduce an update, of {row['parameters']} gradients and {metrics} sums of "
        f"metrics; against one device, parameters {row['max_diff_to_one_device']:.1e} "
        f"apart, first moment {row['max_diff_of_moment']:.1e} of at most "
        f"{row['largest_moment']:.1e}; {times}"
    )
