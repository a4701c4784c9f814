"""Small networks with the real interfaces, quick to compile."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from configs import paper_group
from fluoro_jax.training import optim
from fluoro_jax.training.state import init_state

FRAMES, SIZE = 3, 16


class Output(NamedTuple):
    coarse_logits: jax.Array
    logits: jax.Array


class SmallGenerator(nn.Module):
    @nn.compact
    def __call__(self, stack):
        x = nn.Conv(8, (3, 3), name="first")((stack - 3.0) / 2.0)
        x = nn.Conv(8, (5, 5), name="second")(nn.leaky_relu(x))
        logits = nn.Conv(1, (3, 3), name="last")(nn.leaky_relu(x))[..., 0]
        return Output(logits, logits)


class SmallCritic(nn.Module):
    @nn.compact
    def __call__(self, mask):
        x = nn.Conv(4, (4, 4), strides=(2, 2), name="down")(mask[..., None])
        x = jnp.tanh(x).reshape(x.shape[0], -1)
        return nn.Dense(1, name="score")(x)[:, 0]


def small_config(**train):
    cfg = paper_group.get_config("smoke")
    cfg.study.update(rows=SIZE, cols=SIZE, num_frames=FRAMES)
    cfg.data.batch_size = 4
    cfg.loss.update(warmup_steps=1, adv_start=1)
    cfg.gen_opt.warmup_steps = 0
    cfg.train.update(num_steps=50, **train)
    return cfg


def small_nets(cfg):
    """(gen, critic, gen_tx, critic_tx, init_fn)."""
    gen, critic = SmallGenerator(), SmallCritic()
    gen_tx = optim.make_optimizer(cfg.gen_opt, cfg.train.num_steps)
    critic_tx = optim.make_optimizer(cfg.critic_opt, cfg.train.num_steps)
    init_fn = lambda: init_state(cfg, gen, critic, gen_tx=gen_tx, critic_tx=critic_tx)
    return gen, critic, gen_tx, critic_tx, init_fn


def disc_batch(index, size=4):
    """Bright discs at random places on a noisy ground: frames, mask, id."""
    rng = np.random.default_rng(index)
    rows, cols = np.mgrid[:SIZE, :SIZE]
    centre = rng.uniform(4, SIZE - 4, (size, FRAMES, 2))
    far = np.hypot(rows - centre[..., 0, None, None], cols - centre[..., 1, None, None])
    mask = (far < 3).astype(np.float32)
    noise = rng.normal(0, 0.2, mask.shape).astype(np.float32)
    ids = np.arange(index * size, (index + 1) * size, dtype=np.int32)
    return {"frames": 3.0 + 2.0 * mask + noise, "mask": mask, "id": ids}
