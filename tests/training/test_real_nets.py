"""The updates with the networks and batches of the configs themselves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import further

from configs import paper_group, quickstart
from fluoro_jax.training import losses, parallel, step
from fluoro_jax.training import nets as training_nets
from fluoro_jax.training.state import to_host

CONFIGS = [  # seconds each, all in tracing: the smallest, another file's
    functools.partial(paper_group.get_config, "smoke"),
    further(functools.partial(quickstart.get_config)),
    *(
        pytest.param(
            functools.partial(module.get_config, preset), marks=pytest.mark.slow
        )
        for module, preset in (
            *((paper_group, "full"), (paper_group, "cpu"), (paper_group, "peer")),
            (quickstart, "smoke"),
        )
    ),
]


def updates(nets):
    return (
        step.make_gen_update(nets.cfg, nets.gen, nets.critic, nets.gen_tx),
        step.make_critic_update(nets.cfg, nets.gen, nets.critic, nets.critic_tx),
    )


def example_batch(cfg, size=2):
    """A bright disc that moves up and down: frames, mask, id."""
    study = cfg.study
    rows, cols = np.mgrid[: study.rows, : study.cols]
    time = np.arange(study.num_frames) / study.num_frames
    row = study.rows / 2 + 4 * np.sin(2 * np.pi * time)
    far = np.hypot(rows - row[:, None, None], cols - study.cols / 2)
    mask = np.broadcast_to(far < 4, (size, *far.shape)).astype(np.float32)
    ids = np.arange(size, dtype=np.int32)
    return {"frames": 3.0 + mask, "mask": mask, "id": ids}


@pytest.mark.parametrize("get_config", CONFIGS)
def test_every_config_keeps_its_state_tree(get_config):
    cfg = get_config()
    nets = training_nets.build(cfg)
    state = jax.eval_shape(nets.init)
    shape = (4, 1, cfg.study.num_frames, cfg.study.rows, cfg.study.cols)
    batch = {
        "frames": jax.ShapeDtypeStruct(shape, jnp.float32),
        "mask": jax.ShapeDtypeStruct(shape, jnp.float32),
        "id": jax.ShapeDtypeStruct(shape[:2], jnp.int32),
    }
    for update in updates(nets):
        new, averages = jax.eval_shape(parallel.p_update(update), state, batch)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        kinds = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
        assert kinds(new) == kinds(state)
        assert all(a.total.shape == () for a in averages.values())


@pytest.fixture(scope="module")
def smoke():
    """(nets, state, batch) of the smoke config with a linear critic, on one device."""
    cfg = paper_group.get_config("smoke")
    cfg.study.update(rows=16, cols=16, num_frames=4)
    cfg.gen.update(levels=3)
    cfg.critic.output = "linear"
    cfg.loss.update(warmup_steps=1000, adv_start=1000)
    cfg.gen_opt.learning_rate = 5e-3
    cfg.train.update(num_steps=100, gen_updates=1)
    nets = training_nets.build(cfg)
    return nets, example_batch(cfg)


@pytest.mark.slow
def test_second_derivatives_through_the_critic_are_finite(smoke):
    nets, batch = smoke
    params = jax.jit(nets.init)().critic.params
    fake = jnp.full(batch["mask"].shape, 0.3)

    def penalty(params):
        score_fn = lambda x: nets.critic.apply({"params": params}, x)
        mix = jnp.array([0.3, 0.6])
        return losses.gradient_penalty(score_fn, batch["mask"], fake, mix)[0].sum()

    grads = jax.jit(jax.grad(penalty))(params)
    size = [float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)]
    assert np.isfinite(size).all() and max(size) > 0


@pytest.mark.slow
def test_the_generator_overfits_one_clip(smoke):
    nets, batch = smoke
    one = jax.devices()[:1]
    p_gen = parallel.p_update(updates(nets)[0], devices=one)
    state = parallel.place(nets.init, devices=one)
    placed = parallel.shard(batch, devices=one)
    for _ in range(nets.cfg.train.num_steps):
        state, averages = p_gen(state, placed)
    assert step.merge([averages])["iou"] < 0.1
    assert int(to_host(state).skipped) == 0
