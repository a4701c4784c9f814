"""Seconds to compile every program of a training run and its evaluation, cold.

Users wait for these once for each size and machine, so each has a budget on two AVX2
cores. `--preset=quickstart` takes the quickstart's own config.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from configs import quickstart
from fluoro_jax.data.batches import blank_batch
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.studies.render import render_background, render_case
from fluoro_jax.tracking.network import forward
from fluoro_jax.training import parallel
from fluoro_jax.training.nets import build
from fluoro_jax.training.precision import precision_name
from fluoro_jax.training.step import is_short, make_critic_update, make_gen_update
from launch.bench import timing

Row = dict[str, Any]
BUDGET_S = {"generator update": 30.0, "body of ten frames": 10.0, "all": 90.0}
ONLY_AT = "quickstart"  # the preset that the budgets are for


def compilation(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Returns a row a program, its `compile_s`, and one for all of them together.

    Args:
        cfg: of the preset.
        peers: none are offered.
        repeats: not used; a program is compiled once.
    """
    preset = cfg.name
    run: Any = quickstart.get_config(preset) if preset in quickstart.PRESETS else cfg
    seconds = _networks(run) | _simulator(run)
    seconds["all"] = sum(seconds.values())
    rows = []
    for name, compile_s in seconds.items():
        budget_s = BUDGET_S.get(name) if preset == ONLY_AT else None
        over = f", OVER its budget of {budget_s:g} s" if budget_s else ""
        within = budget_s is None or compile_s <= budget_s
        told = f", within {budget_s:g} s" if budget_s and within else over
        print(f"compile, {name}: {compile_s:.1f} s{told}", flush=True)
        program = timing.Program(lambda: None, compile_s, precision=precision_name(run))
        names = {"what": "compile", "variant": name, "preset": preset}
        row = timing.make_row(program, np.zeros(1), max_diff=None, **names)
        row |= {key: None for key in row if key.endswith("_ms")}  # nothing was run
        rows.append({**row, "note": f"compiles in {compile_s:.1f} s{told}"})
    return rows


def _networks(cfg: Any) -> dict[str, float]:
    nets = build(cfg)
    found = {}
    state, found["initial parameters"] = timing.timed(
        lambda: jax.block_until_ready(parallel.place(nets.init))
    )
    batch = parallel.shard(blank_batch(cfg))
    updates = {
        "generator update": make_gen_update(cfg, nets.gen, nets.critic, nets.gen_tx)
    }
    if cfg.loss.critic_start < cfg.train.num_steps:
        updates["critic update"] = make_critic_update(
            cfg, nets.gen, nets.critic, nets.critic_tx
        )
    for name, update in updates.items():
        program = parallel.p_update(update, quick=is_short(cfg))
        _, found[name] = timing.timed(lambda p=program: p.compile(state, batch))
    frames = blank_batch(cfg)["frames"][:1]
    half = cfg.evaluation.half_cells
    track = lambda: forward(
        nets.gen, cfg.data.stack, state.ema, frames, half_cells=half
    )
    return found | {"prediction": _first_call(track)}


def _simulator(cfg: Any) -> dict[str, float]:
    spec = StudySpec.from_config(cfg.study)
    case = study_case(spec, "train", 0)
    background = None

    def body() -> jax.Array:
        nonlocal background
        background = render_background(case.case, case.geometry, spec)
        return background

    return {
        "body of ten frames": _first_call(body),
        "tumour in it": _first_call(
            lambda: render_case(case, spec, background=background).frames
        ),
        "overlaps": _first_call(
            lambda: overlap(case.case, case.geometry, voxel_mm=spec.voxel_mm)
        ),
    }


def _first_call(run: Callable[[], Any]) -> float:
    """Returns the seconds that the first call takes more than the second."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    middle = time.perf_counter()
    jax.block_until_ready(run())
    return max((middle - start) - (time.perf_counter() - middle), 0.0)
