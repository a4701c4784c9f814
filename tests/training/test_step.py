from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from stand_ins import Output, disc_batch, small_config, small_nets

from configs import paper_group
from configs.quickstart import get_config
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.training import losses, parallel, step
from fluoro_jax.training.state import (
    digest,
    init_state,
    per_example,
    stream,
    to_host,
)

CFG = small_config()
GEN, CRITIC, GEN_TX, CRITIC_TX, INIT = small_nets(CFG)
ONE = jax.devices()[:1]
GEN_UPDATE = step.make_gen_update(CFG, GEN, CRITIC, GEN_TX)
CRITIC_UPDATE = step.make_critic_update(CFG, GEN, CRITIC, CRITIC_TX)


@functools.cache
def programs(count):
    devices = jax.devices()[:count]
    return (
        parallel.p_update(GEN_UPDATE, devices=devices),
        parallel.p_update(CRITIC_UPDATE, devices=devices),
        devices,
    )


def run(count, steps, batch_fn=disc_batch):
    p_gen, p_critic, devices = programs(count)
    state = parallel.place(INIT, devices=devices)
    for index in range(steps):
        batch = parallel.shard(batch_fn(index), devices=devices)
        state, _ = p_gen(state, batch)
        state, averages = p_critic(state, batch)
    return to_host(state), averages


def test_one_device_equals_four():
    one, averages_one = run(1, 3)
    four, averages_four = run(4, 3)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    slope = lambda averages: step.merge([averages])["slope"]
    assert slope(averages_one) == pytest.approx(slope(averages_four), rel=1e-5)


def test_a_bad_batch_changes_nothing_but_the_counters():
    p_gen, p_critic, devices = programs(4)

    def spoil(index):
        batch = disc_batch(index)
        batch["frames"][2, 0, 0, 0] = np.nan  # one pixel on one of four devices
        return parallel.shard(batch, devices=devices)

    state = parallel.place(INIT, devices=devices)
    state, _ = p_gen(state, parallel.shard(disc_batch(0), devices=devices))
    before = to_host(state)
    state, averages = p_gen(state, spoil(1))
    state, more = p_critic(state, spoil(1))
    after = to_host(state)
    assert int(after.skipped) == 2
    assert int(after.gen.updates) == int(before.gen.updates) + 1
    assert int(after.critic.updates) == int(before.critic.updates) + 1
    uncounted = lambda s: s.replace(
        gen=s.gen.replace(updates=0), critic=s.critic.replace(updates=0), skipped=0
    )
    chex.assert_trees_all_equal(uncounted(before), uncounted(after))
    assert step.merge([averages]) == {} and step.merge([more]) == {}


def test_a_spoilt_update_does_not_spoil_the_averages():
    good = {"loss": step.Average(total=jnp.float32(6.0), count=jnp.float32(3.0))}
    none = {"loss": step.Average(total=jnp.float32(0.0), count=jnp.float32(0.0))}
    assert step.merge([good, none]) == {"loss": 2.0}


@pytest.mark.parametrize("quick", [False, True])
def test_each_update_is_traced_once_and_its_state_donated(quick):
    chex.clear_trace_counter()  # both cases would share it: it goes by the source
    counted = chex.assert_max_traces(GEN_UPDATE.gradients, n=1)
    update = step.Update(counted, GEN_UPDATE.apply)
    p_gen = parallel.p_update(update, devices=ONE, quick=quick)
    state = parallel.place(INIT, devices=ONE)
    p_gen.compile(state, parallel.shard(disc_batch(0), devices=ONE))
    for index in range(3):  # past warmup_steps and adv_start, which are traced
        old = state
        state, _ = p_gen(state, parallel.shard(disc_batch(index), devices=ONE))
    assert jax.tree.leaves(old.gen.params)[0].is_deleted()


def test_only_short_runs_compile_quickly():
    cfg = get_config("quickstart")
    assert step.is_short(cfg) and not step.is_short(paper_group.get_config("cpu"))
    cfg.study.rows, cfg.study.cols = 256, 256  # as few updates, each of more pixels
    assert not step.is_short(cfg)


@pytest.mark.parametrize("update", [GEN_UPDATE, CRITIC_UPDATE])
def test_one_collective_an_update(update):
    traced = jax.make_jaxpr(update, axis_env=[(parallel.AXIS, 4)])(
        jax.eval_shape(INIT), disc_batch(0)
    )
    names = [eqn.primitive.name for eqn in traced.jaxpr.eqns]
    assert len([n for n in names if n.startswith(("psum", "all_"))]) == 1


def test_updates_touch_only_their_own_network():
    p_gen, p_critic, devices = programs(1)
    batch = parallel.shard(disc_batch(0), devices=devices)
    state = parallel.place(INIT, devices=devices)
    first = to_host(state)
    state, _ = p_critic(state, batch)
    second = to_host(state)
    assert digest(first.gen) == digest(second.gen)
    assert digest(first.critic.params) != digest(second.critic.params)
    assert digest(first.ema) == digest(second.ema)
    state, _ = p_gen(state, batch)
    third = to_host(state)
    assert digest(second.critic) == digest(third.critic)
    assert digest(second.gen.params) != digest(third.gen.params)
    assert digest(second.ema) != digest(third.ema)


def test_the_critic_does_not_count_before_adv_start():
    p_gen, _, devices = programs(1)
    batch = parallel.shard(disc_batch(0), devices=devices)
    after, scores = [], []
    for scale in (1.0, -3.0):
        state = parallel.place(INIT, devices=devices)
        params = jax.tree.map(lambda x, s=scale: s * x, to_host(state.critic.params))
        state = state.replace(critic=state.critic.replace(params=params))
        state = parallel.place_tree(to_host(state), devices=devices)
        for _ in range(3):  # adv_start is step 1, which begins with the third update
            state, averages = p_gen(state, batch)
            scores.append(step.merge([averages])["adversarial"])
            after.append(digest(state.gen.params))
    assert after[:2] == after[3:5] and after[2] != after[5]
    assert scores[0] == scores[1] == 0.0 and scores[2] != 0.0


def test_with_a_frozen_generator_the_critic_learns():
    """It begins at step 0, while the adversarial weight is still 0."""
    p_critic, devices = programs(1)[1:]
    state = parallel.place(INIT, devices=devices)
    batch = parallel.shard(disc_batch(0), devices=devices)
    gaps = []
    for _ in range(30):
        state, averages = p_critic(state, batch)
        gaps.append(step.merge([averages])["critic_gap"])
    assert gaps[-1] > gaps[0] + 0.05


def test_one_batch_is_overfitted():
    cfg = small_config()
    cfg.loss.update(warmup_steps=1000, adv_start=1000)
    cfg.gen_opt.learning_rate = 1e-2
    cfg.train.num_steps = 150
    gen, critic, gen_tx, _, init_fn = small_nets(cfg)
    update = step.make_gen_update(cfg, gen, critic, gen_tx)
    p_gen = parallel.p_update(update, devices=ONE)
    state = parallel.place(init_fn, devices=ONE)
    batch = parallel.shard(disc_batch(0), devices=ONE)
    for _ in range(cfg.train.num_steps):
        state, averages = p_gen(state, batch)
    numbers = step.merge([averages])
    assert numbers["iou"] < 0.1 and numbers["p_on_truth"] > 0.9


def test_keys_are_named_and_belong_to_examples():
    key = stream(0, "penalty", 3)
    draw = lambda k: np.asarray(jax.random.key_data(k))
    assert (draw(key) != draw(stream(0, "other", 3))).any()
    assert (draw(key) != draw(stream(0, "penalty", 4))).any()
    whole = draw(per_example(key, jnp.arange(4)))
    np.testing.assert_array_equal(whole[2:], draw(per_example(key, jnp.arange(2, 4))))


def test_virtual_devices_never_have_two_updates_under_way():
    """They would wait for each other: 200 in a row hung on 2 cores."""
    p_gen, _, devices = programs(4)
    state = parallel.place(INIT, devices=devices)
    state, _ = p_gen(state, parallel.shard(disc_batch(0), devices=devices))
    assert all(leaf.is_ready() for leaf in jax.tree.leaves(state))


class TwoHeads(nn.Module):
    """A coarse answer of its own parameters, and one that does not read it."""

    @nn.compact
    def __call__(self, stack):
        x = (stack - 3.0) / 2.0
        heads = [nn.Conv(1, (3, 3), name=name)(x)[..., 0] for name in ("coarse", "end")]
        return Output(*heads)


@pytest.mark.parametrize("log_iou", [0.0, 0.2])
def test_the_coarse_answer_is_supervised_by_its_weight(log_iou):
    weight = 0.5
    cfg = small_config()
    cfg.loss.update(warmup_steps=0, adv_start=1000, coarse=weight, log_iou=log_iou)
    gen, batch = TwoHeads(), disc_batch(0)
    update = step.make_gen_update(cfg, gen, CRITIC, GEN_TX)
    state = jax.jit(
        lambda: init_state(cfg, gen, CRITIC, gen_tx=GEN_TX, critic_tx=CRITIC_TX)
    )()
    grads, averages = jax.jit(update.gradients)(state, batch)

    def by_hand(params):
        stack = stack_frames(batch["frames"], cfg.data.stack)
        out = gen.apply({"params": params}, stack)
        terms = [
            cfg.loss.l1 * losses.l1(batch["mask"], jax.nn.sigmoid(z))
            + losses.ssim_loss(batch["mask"], jax.nn.sigmoid(z))
            + losses.iou_loss(batch["mask"], jax.nn.sigmoid(z))
            + log_iou * losses.log_iou_loss(batch["mask"], jax.nn.sigmoid(z))
            for z in (out.logits, out.coarse_logits)
        ]
        return jnp.mean(terms[0] + weight * terms[1])

    loss, wanted = jax.jit(jax.value_and_grad(by_hand))(state.gen.params)
    chex.assert_trees_all_close(grads, wanted, rtol=1e-4, atol=1e-6)
    named = step.merge([averages])
    assert named["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert named["coarse"] > 0
    assert ("log_iou" in named) == (log_iou > 0)


def test_without_a_weight_the_coarse_answer_costs_nothing():
    """The program is that of a generator that has no coarse answer."""

    class EndOnly(nn.Module):
        @nn.compact
        def __call__(self, stack):
            logits = nn.Conv(1, (3, 3), name="end")((stack - 3.0) / 2.0)[..., 0]
            return Output(None, logits)

    gen = EndOnly()
    make = lambda: init_state(CFG, gen, CRITIC, gen_tx=GEN_TX, critic_tx=CRITIC_TX)
    update = step.make_gen_update(CFG, gen, CRITIC, GEN_TX)
    jax.eval_shape(update.gradients, jax.eval_shape(make), disc_batch(0))
