"""A finished run in seconds: random networks, evaluated as a trained one would be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from configs.paper_group import get_config
from fluoro_jax.config import validate
from fluoro_jax.data.dataset import load_split
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.evaluation.evaluate import evaluate
from fluoro_jax.studies import StudySpec
from fluoro_jax.training import nets as training_nets
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.workdir import record, resolve
from fluoro_jax.training.writer import Writer

MARKED = 0.05  # of the pixels: a random net then meets the tumour now and then
SMALL = {  # quick to compile and to render
    "gen.levels": 2,
    "gen.refine_levels": 1,
    "study.num_train": 2,
    "study.num_val": 1,
}
FLAGS = [
    "--config=configs/paper_group.py:smoke",
    *[f"--config.{key}={value}" for key, value in SMALL.items()],
]


class Made(NamedTuple):
    """A run: config, folder, and what its generator's parameters are."""

    cfg: Any
    workdir: Path
    params: Any


def make_run(workdir: Path) -> Made:
    """Checkpoint, numbers and tables of the smoke study; nothing was trained."""
    cfg = get_config("smoke")
    cfg.update_from_flattened_dict(SMALL)
    cfg = validate(cfg, training=False)
    record(cfg, workdir, start=0)
    nets = training_nets.build(cfg)
    zeros = lambda leaf: np.zeros(leaf.shape, leaf.dtype)
    state = jax.tree.map(zeros, jax.eval_shape(nets.init))
    test = load_split(StudySpec.from_config(cfg.study), workdir / "data", "test")
    ema = marking(nets.gen, random_like(state.ema), test["frames"])
    with Checkpoints(workdir / "ckpt", keep=1) as checkpoints:
        checkpoints.save(4, dataclasses.replace(state, ema=ema), resolve(cfg))
    writer = Writer(workdir)
    writer.write(2, {"train/steps_per_s": 4.0})
    writer.write(4, {"train/steps_per_s": 0.5})
    writer.close()
    evaluate(cfg, workdir)
    return Made(cfg, workdir, ema)


def random_like(params):
    """Kernels of a sensible size, scales 1, biases 0."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if leaf.ndim > 1:
            width = np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
            return rng.normal(0.0, width, leaf.shape).astype(np.float32)
        return leaf + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, params)


def marking(generator, params, frames):
    """Parameters whose logits are over 0 on `MARKED` of the pixels."""
    stack = stack_frames(frames, "wrap")
    run = jax.jit(lambda p: generator.apply({"params": p}, stack).logits)
    cut = float(np.quantile(np.asarray(run(params)), 1.0 - MARKED))
    flat = flatten_dict(params)
    (key,) = [k for k, v in flat.items() if v.shape == (1,) and k[0] == "refine"]
    return unflatten_dict({**flat, key: flat[key] - np.float32(cut)})


def render_once(render):
    """`render` for rechecks, of which the first one of a case is rendered."""
    clips = {}

    def rendered(case, spec):
        if (case.id, spec) not in clips:
            clips[case.id, spec] = render(case, spec)
        return clips[case.id, spec]

    return rendered


def copy_of(run, folder):
    """The run without its data, to be changed."""
    for path in run.workdir.rglob("*"):
        part = path.relative_to(run.workdir)
        if path.is_file() and part.parts[0] not in ("data", "bfloat16"):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).write_bytes(path.read_bytes())
    return folder


def of_other_weights(workdir):
    path = workdir / "tables" / "results.json"
    table = json.loads(path.read_text("utf-8"))
    table["checkpoint"]["sha256"] = "0" * 64
    path.write_text(json.dumps(table))


def with_another_iou(workdir):
    path = workdir / "tables" / "per_case.csv"
    lines = path.read_text("utf-8").splitlines()
    row = lines[2].split(",")
    row[lines[0].split(",").index("iou")] = "0.9"
    path.write_text("\n".join([*lines[:2], ",".join(row), *lines[3:]]))
