"""Several micro-batches in one update, and what is said of its memory before."""

from __future__ import annotations

import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from stand_ins import disc_batch, small_config, small_nets

from configs import quickstart
from fluoro_jax.training import memory, parallel, step
from fluoro_jax.training.progress import FirstCall
from fluoro_jax.training.state import to_host

CFG = small_config()
CFG.loss.update(warmup_steps=0, adv_start=0)
GEN, CRITIC, GEN_TX, CRITIC_TX, INIT = small_nets(CFG)
UPDATES = {
    "gen": step.make_gen_update(CFG, GEN, CRITIC, GEN_TX),
    "critic": step.make_critic_update(CFG, GEN, CRITIC, CRITIC_TX),
}
TWO = jax.devices()[:2]


def joined(first, second):
    return {k: np.concatenate([first[k], second[k]]) for k in first}


@pytest.mark.parametrize("kind", UPDATES)
@pytest.mark.slow
def test_two_micro_batches_are_one_of_twice_the_size(kind):
    halves = [disc_batch(0), disc_batch(1)]
    place = lambda batch: parallel.shard(batch, devices=TWO)
    start = lambda: parallel.place(INIT, devices=TWO)
    p_whole = parallel.p_update(UPDATES[kind], devices=TWO)
    p_halves = parallel.p_accumulated(UPDATES[kind], 2, devices=TWO)
    whole, averages = p_whole(start(), place(joined(*halves)))
    state, averaged = p_halves(start(), *map(place, halves))
    fresh = start()
    moved = 0.0
    for a, b, c in zip(*map(jax.tree.leaves, (whole, state, fresh)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        moved = max(moved, float(abs(np.float64(a) - np.float64(c)).max()))
    assert moved > 1e-5
    assert int(getattr(state, kind).updates) == 1
    assert step.merge([averages]) == pytest.approx(step.merge([averaged]), rel=1e-4)


@pytest.mark.parametrize("kind", UPDATES)
def test_micro_batches_are_added_without_a_collective_and_averaged_by_one(kind):
    empty, add, finish = parallel.accumulating(UPDATES[kind], 3)
    state, batch = jax.eval_shape(INIT), disc_batch(0)
    sums = jax.eval_shape(empty, state, batch)

    def collectives(function, *args):
        traced = jax.make_jaxpr(function, axis_env=[(parallel.AXIS, 4)])(*args)
        return str(traced).count("psum")

    assert collectives(add, state, batch, sums) == 0
    assert collectives(finish, state, sums) == 1


def test_the_need_is_said_once_and_compiles_nothing_twice(caplog):
    said = []
    state = parallel.place(INIT, devices=TWO)
    batch = parallel.shard(disc_batch(0), devices=TWO)
    p_gen = parallel.p_update(UPDATES["gen"], devices=TWO)
    call = FirstCall("generator update", p_gen, said.append)
    with jax.log_compiles():
        for _ in range(2):
            state, _ = call(state, batch)
    built = [r for r in caplog.records if "Finished XLA compilation" in r.message]
    assert len(built) == 1
    assert len(said) == 2 and "it needs about" in said[1]


def test_the_need_covers_batch_and_working_memory():
    batch = parallel.shard(disc_batch(0), devices=TWO)
    state = parallel.place(INIT, devices=TWO)
    given = sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) // 2
    p_gen = parallel.p_update(UPDATES["gen"], devices=TWO)
    alone = p_gen.bytes_beside_state(state, batch)
    p_twice = parallel.p_accumulated(UPDATES["gen"], 2, devices=TWO)
    twice = p_twice.bytes_beside_state(state, batch, batch)
    activations = 4 * 2 * 3 * 16 * 16 * (8 + 8)  # of two convolutions, two examples
    assert alone > given + activations
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(to_host(state.gen.params)))
    assert twice > gradients + given + activations


def test_a_need_above_what_is_free_is_a_warning():
    state = jax.eval_shape(INIT)
    state = jax.tree.map(lambda s: SimpleNamespace(nbytes=2**20), state)
    say = lambda free: memory.report(7 * 2**20, state, free=free)
    leaves = len(jax.tree.leaves(state))
    (line,) = say(8 * 2**20)
    assert "about 7 MiB" in line and f"state of {leaves}.0 MiB" in line
    assert say(None) == [line]
    warned = say(6 * 2**20)
    assert warned[0] == line
    assert "more than the 6 MiB free" in warned[1] and "train.accumulate" in warned[1]
    assert memory.report(None, state, free=1) == []
    cfg = quickstart.get_config()
    cfg.data.batch_size = 32
    warned = memory.report(8 * 2**20, state, free=3 * 2**20, cfg=cfg)
    # 3/8 of the memory: a quarter of the clips at once is the next that divides.
    assert "batch_size=8 --config.train.accumulate=4 (as many" in warned[1]


def test_free_memory_is_the_device_s_own_or_a_share_of_the_machine_s(monkeypatch):
    here = memory.free_bytes()
    assert 2**20 < here < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    stats = {"bytes_limit": 100, "bytes_in_use": 30}
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    assert memory.free_bytes() == 70
    gpu.memory_stats = lambda: None
    assert memory.free_bytes() is None
