"""Latency of a causal tracker on one frame after another, and examples a second."""

from __future__ import annotations

import copy
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.data.batches import open_batches
from fluoro_jax.data.prefetch import prefetch
from fluoro_jax.data.stack import stack_channels
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
LONG = 10_000  # of the long stream
MIB = 2**20


def stream(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns rows: latency from a frame in memory to its track, batch 1.

    Untrained weights: they change what is found and not how long it takes. The sliding
    window, which runs all its frames again, is timed `repeats` times beside it.
    """
    net, params, frames = _untrained(cfg)
    view = StudySpec.from_config(cfg.study).geometry()
    trackers: dict[str, tuple[Tracker, int]] = {
        "step": (StreamTracker(net, params, cfg), FRAMES),
        "step, sliding window": (NetworkTracker(net, params, cfg, 0), repeats),
    }
    rows = []
    for variant, (tracker, count) in trackers.items():
        seconds, first_s = _latencies(tracker, view, frames[:count], count=count)
        program = timing.Program(lambda: None, first_s, precision=precision_name(cfg))
        names = {"what": "stream", "variant": variant, "preset": cfg.name}
        rows.append(timing.make_row(program, seconds, max_diff=None, **names))
        print(f"stream, {variant}: {_told(seconds)}", flush=True)
    return rows


def long_stream(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns a row: latency over `LONG` frames, and whether memory stays flat.

    Resident memory is read after a tenth of the frames and at the end.
    """
    net, params, frames = _untrained(cfg)
    view = StudySpec.from_config(cfg.study).geometry()
    tracker = StreamTracker(net, params, cfg)
    read: list[int] = []
    marks = (LONG // 10, LONG - 1)
    at = lambda place: read.append(resident_bytes()) if place in marks else None
    endless = (frames[place % len(frames)] for place in range(LONG))
    seconds, first_s = _latencies(tracker, view, endless, count=LONG, at=at)
    growth_pct = 100.0 * (read[1] / read[0] - 1.0)
    program = timing.Program(lambda: None, first_s, precision=precision_name(cfg))
    names = {"what": "long-stream", "variant": "step", "preset": cfg.name}
    note = f"resident {read[0] / MIB:.0f} MiB, {growth_pct:+.2f} % at the end"
    print(f"long-stream: {_told(seconds)}; {note}", flush=True)
    row = timing.make_row(program, seconds, max_diff=None, **names)
    return [{**row, "note": note}]


def resident_bytes() -> int:
    """Returns the resident memory of this process; Linux alone."""
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * resource.getpagesize()


def _untrained(cfg: Any) -> tuple[Any, Any, np.ndarray]:
    """A forward-only network of the config, fresh parameters, and `FRAMES` frames."""
    cfg.gen.bidirectional = False
    if cfg.data.stack not in PAST_STACKS:
        cfg.data.stack = "causal"
    net = make_generator(cfg)
    shape = (FRAMES, cfg.study.rows, cfg.study.cols)
    frames = np.random.default_rng(0).uniform(1.0, 5.0, shape).astype(np.float32)
    stack = np.zeros((1, 1, *shape[1:], stack_channels(cfg.data.stack)))
    return net, jax.jit(net.init)(jax.random.key(0), stack)["params"], frames


def _told(seconds: np.ndarray) -> str:
    low, middle, high, top = np.percentile(1e3 * seconds, [0, 50, 95, 99])
    return (
        f"p50 {middle:.1f} ms, p95 {high:.1f} ms, p99 {top:.1f} ms, fastest "
        f"{low:.1f} ms over {len(seconds)} frames"
    )


def _latencies(
    tracker: Any,
    view: Any,
    frames: Iterable[np.ndarray],
    *,
    count: int,
    at: Callable[[int], Any] = lambda place: None,
) -> tuple[np.ndarray, float]:
    """Returns seconds of each frame, and of the very first one, which compiles.

    `at` is called with the number of every frame after it, off the clock.
    """
    clock, frames = time.perf_counter, iter(frames)
    held, gap_s = next(frames), tracker.learned.frame_s
    start = clock()
    tracker.step(tracker.init(view), held, 0.0)
    first_s = clock() - start
    state, seconds = tracker.init(view), np.zeros(count)
    for place, frame in enumerate(itertools.chain([held], frames)):
        start = clock()
        state, _ = tracker.step(state, frame, gap_s * place)
        seconds[place] = clock() - start
        at(place)
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
