"""Latency of a causal tracker on one frame after another, and examples a second."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fluoro_jax.data.batches import open_batches
from fluoro_jax.data.prefetch import prefetch
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.stream import StreamTracker
from fluoro_jax.tracking.tracker import Tracker
from fluoro_jax.training import parallel
from fluoro_jax.training.nets import build
from fluoro_jax.training.precision import make_generator, precision_name
from launch.bench import nets as bench_nets
from launch.bench import timing

Row = dict[str, Any]
FRAMES = 300  # of the stream: p99 is then the third slowest


def stream(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns rows: latency from a frame in memory to its track, batch 1.

    Untrained weights: they change what is found and not how long it takes. The sliding
    window, which runs all its frames again, is timed `repeats` times beside it.
    """
    cfg.gen.bidirectional, cfg.data.stack = False, "causal"
    net = make_generator(cfg)
    view = StudySpec.from_config(cfg.study).geometry()
    shape = (FRAMES, cfg.study.rows, cfg.study.cols)
    frames = np.random.default_rng(0).uniform(1.0, 5.0, shape).astype(np.float32)
    params = jax.jit(net.init)(jax.random.key(0), np.zeros((1, 1, *shape[1:], 3)))
    params = params["params"]
    trackers: dict[str, tuple[Tracker, int]] = {
        "step": (StreamTracker(net, params, cfg), FRAMES),
        "step, sliding window": (NetworkTracker(net, params, cfg, 0), repeats),
    }
    rows = []
    for variant, (tracker, count) in trackers.items():
        seconds, first_s = _latencies(tracker, view, frames[:count])
        program = timing.Program(lambda: None, first_s, precision=precision_name(cfg))
        names = {"what": "stream", "variant": variant, "preset": cfg.name}
        rows.append(timing.make_row(program, seconds, max_diff=None, **names))
        low, middle, high, top = np.percentile(1e3 * seconds, [0, 50, 95, 99])
        print(
            f"stream, {variant}: p50 {middle:.1f} ms, p95 {high:.1f} ms, "
            f"p99 {top:.1f} ms, fastest {low:.1f} ms over {count} frames",
            flush=True,
        )
    return rows


def _latencies(
    tracker: Tracker, view: Any, frames: np.ndarray
) -> tuple[np.ndarray, float]:
    """Returns seconds of each frame, and of the very first one, which compiles."""
    clock = time.perf_counter
    start = clock()
    tracker.step(tracker.init(view), frames[0], 0.0)
    first_s = clock() - start
    state = tracker.init(view)
    seconds = np.zeros(len(frames))
    for place, frame in enumerate(frames):
        start = clock()
        state, _ = tracker.step(state, frame, 0.5 * place)
        seconds[place] = clock() - start
    return seconds, first_s


def inputs(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns rows: a micro-batch of stored cases or the simulator, and a train step.

    The simulator's bodies are rendered before the clock starts, as they are once in
    many steps. The stored split is cut to one batch; reading is from memory. Every row
    has `examples_per_s`: what the input path makes, or what the updates of a train step
    at the preset's batch consume.
    """
    rows = [_consumed(copy.deepcopy(cfg), repeats)]
    cfg.study.num_train = max(cfg.data.batch_size, 1)
    cfg.study.num_val = cfg.study.num_test = 1
    cfg.data.pool_bodies = 2
    for source in ("dataset", "simulator"):
        cfg.data.source = source
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            opened = open_batches(cfg, folder)
            with prefetch(opened, 0, parallel.shard) as batches:
                take = lambda batches=batches: jax.block_until_ready(next(batches))
                _warm(take)
                first_s = time.perf_counter() - start
                program = timing.Program(take)
                seconds = timing.run_in_turn([program], repeats)[0]
        names = {"what": "input", "variant": source, "preset": cfg.name}
        row = timing.make_row(program, seconds, max_diff=None, **names)
        row["examples_per_s"] = cfg.data.batch_size / float(np.mean(seconds))
        print(
            f"input, {source}: {row['examples_per_s']:.1f} examples a second, "
            f"{row['examples_per_s'] / rows[0]['examples_per_s']:.1f} times what a "
            f"train step consumes; ready after {first_s:.1f} s",
            flush=True,
        )
        rows.append(row)
    return rows


def _consumed(cfg: Any, repeats: int) -> Row:
    """A row of the train step at the preset's batch, on one device."""
    bench_nets.count_everything(cfg)
    net, rng = build(cfg), np.random.default_rng(0)
    # Each generator update reads a micro-batch of its own; the critic's are among them.
    batches = [
        bench_nets.random_batch(cfg, rng, range(cfg.data.batch_size))
        for _ in range(cfg.train.gen_updates)
    ]
    state = parallel.place(net.init, devices=jax.devices()[:1])
    step = bench_nets.our_step(net, state, batches)
    timing.run_in_turn([step], 1)  # warm-up
    seconds = timing.run_in_turn([step], repeats)[0]
    names = {"what": "input", "variant": "train step", "preset": cfg.name}
    row = timing.make_row(step, seconds, max_diff=None, **names)
    rate = len(batches) * cfg.data.batch_size / float(np.mean(seconds))
    print(f"input, a train step consumes {rate:.1f} examples a second", flush=True)
    return {**row, "examples_per_s": rate}


def _warm(take: Callable[[], Any]) -> None:
    """Skips the batches made ahead and the first drawing of every body."""
    for _ in range(8):
        take()
