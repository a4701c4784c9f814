"""Weights of random networks with a card, in a folder, in a second."""

from __future__ import annotations

import draws
import jax
import numpy as np

from configs.base import base_config
from fluoro_jax import zoo
from fluoro_jax.config import validate
from fluoro_jax.data.stack import stack_channels
from fluoro_jax.training.precision import make_generator

SIDE = 16


def small_config(stack, *, window=4, **changed):
    """A network of `SIDE` x `SIDE` frames, `window` of them 0.5 s apart."""
    cfg = base_config("smoke")
    cfg.data.stack = stack
    cfg.study.update(rows=SIDE, cols=SIDE, num_frames=window)
    forward_only = stack in ("causal", "moving_past")
    cfg.gen.update(levels=2, refine_levels=1, base=4, cap=8)
    cfg.gen.bidirectional = not forward_only
    cfg.update_from_flattened_dict(changed)
    return validate(cfg, training=False)


def random_params(cfg):
    shape = (1, 1, SIDE, SIDE, stack_channels(cfg.data.stack))
    stack = jax.ShapeDtypeStruct(shape, np.float32)
    return draws.random_params(make_generator(cfg), stack)


def put_weights(folder, name, stack, **changed):
    """Saves weights that no run made; their card has no numbers."""
    cfg = small_config(stack, **changed)
    lookahead = cfg.study.num_frames - 1 if cfg.gen.bidirectional else 0
    table = dict(
        n_cases=0,
        n_frames=0,
        threshold=0.5,
        bootstrap=0,
        columns=[{"lookahead_frames": lookahead}],
        notes=[],
        rows=[],
    )
    run = {"cases": [], "training": {"step": 7, "begun": "then", "wall_s": 1.5}}
    return zoo.save(
        name, cfg, params=random_params(cfg), table=table, run=run, folder=folder
    )
