"""Latency of a causal tracker on one frame after another, and batches a second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fluoro_jax.data.batches import open_batches, prefetch
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.stream import StreamTracker
from fluoro_jax.tracking.tracker import Tracker
from fluoro_jax.training import parallel
from fluoro_jax.training.precision import make_generator, precision_name
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
    """Returns rows: time of a micro-batch, from stored cases and the simulator.

    The simulator's bodies are rendered before the clock starts, as they are once in
    many steps. The stored split is cut to one batch; reading is from memory.
    """
    rows = []
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
        rate = 1.0 / float(np.mean(seconds))
        print(
            f"input, {source}: {rate:.1f} batches of {cfg.data.batch_size} a second; "
            f"ready after {first_s:.1f} s",
            flush=True,
        )
        rows.append(row)
    return rows


def _warm(take: Callable[[], Any]) -> None:
    """Skips the batches made ahead and the first drawing of every body."""
    for _ in range(8):
        take()
