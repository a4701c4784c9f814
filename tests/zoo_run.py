"""A finished run in seconds: random networks, evaluated as a trained one would be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from configs.paper_group import get_config
from fluoro_jax.config import validate
from fluoro_jax.data.dataset import load_split
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.evaluation.evaluate import evaluate
from fluoro_jax.studies import StudySpec
from fluoro_jax.training import loop
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.state import to_host
from fluoro_jax.training.workdir import open_workdir, resolve
from fluoro_jax.training.writer import Writer

MARKED = 0.03  # of the pixels: a random net then meets the tumour now and then


class Made(NamedTuple):
    """A run's config and folder."""

    cfg: object
    workdir: Path


def make_run(workdir: Path) -> Made:
    """Checkpoint, numbers and tables of the smoke study; nothing was trained."""
    cfg = validate(get_config("smoke"), training=False)
    open_workdir(cfg, workdir)
    nets = loop.build(cfg)
    state = to_host(jax.jit(nets.init)())
    test = load_split(StudySpec.from_config(cfg.study), workdir / "data", "test")
    ema = marking(nets.gen, state.ema, test["frames"])
    with Checkpoints(workdir / "ckpt", keep=1) as checkpoints:
        checkpoints.save(4, dataclasses.replace(state, ema=ema), resolve(cfg))
    writer = Writer(workdir)
    writer.write(2, {"train/steps_per_s": 4.0})
    writer.write(4, {"train/steps_per_s": 0.5})
    writer.close()
    evaluate(cfg, workdir)
    return Made(cfg, workdir)


def marking(generator, params, frames):
    """Parameters whose logits are over 0 on `MARKED` of the pixels."""
    stack = stack_frames(frames, "wrap")
    run = jax.jit(lambda p: generator.apply({"params": p}, stack).logits)
    cut = float(np.quantile(np.asarray(run(params)), 1.0 - MARKED))
    flat = flatten_dict(params)
    (key,) = [k for k, v in flat.items() if v.shape == (1,) and k[0] == "refine"]
    return unflatten_dict({**flat, key: flat[key] - np.float32(cut)})
