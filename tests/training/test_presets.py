"""Every preset of every config: its updates are traced, nothing is compiled."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from configs import ablation, base, paper_all, quickstart
from fluoro_jax.config import validate
from fluoro_jax.training import losses, memory, parallel
from fluoro_jax.training.nets import build
from fluoro_jax.training.step import make_critic_update, make_gen_update

CONFIGS = sorted(path.stem for path in Path(base.__file__).parent.glob("*.py"))
# Without get_config; "trackers" is no training run.
NO_RUN = {"__init__", "base", "derived", "sets", "trackers"}
OWN = {  # the others take those of `configs/base.py`
    "ablation": [*ablation.PRESETS, *(f"gpu/{row}" for row in ablation.VARIANTS)],
    "quickstart": quickstart.PRESETS,
    "paper_all": paper_all.PRESETS,
}
CARD = 80e9 * 0.75  # what XLA takes of it unless told otherwise
# Sections and keys that change neither shapes nor operations of an update.
NOT_TRACED = ("name", "seed", "choices", "platform", "deterministic", "evaluation")
NOT_TRACED += ("init",)


def runs():
    """(name, config) of every run of every preset; a plan has many."""
    for name in CONFIGS:
        if name in NO_RUN:
            continue
        get_config = importlib.import_module(f"configs.{name}").get_config
        for preset in OWN.get(name, base.PRESETS):
            cfg = get_config(preset)
            parts = cfg.parts.items() if "parts" in cfg else [("", None)]
            for part, entry in parts:
                run = cfg if entry is None else entry.run
                yield f"{name}:{preset}{part and f' {part}'}", preset, run


RUNS = list(runs())


def traced(cfg):
    """What of a config an update's trace can depend on."""
    found = {k: v for k, v in cfg.to_dict().items() if k not in NOT_TRACED}
    found["study"] = [cfg.study[k] for k in ("num_frames", "rows", "cols")]
    found["data"] = [cfg.data.stack, cfg.data.batch_size]
    critic = cfg.loss.critic_start < cfg.train.num_steps
    found["train"] = [critic, cfg.train.accumulate, cfg.train.ema_decay]
    judged = losses.is_adversarial(cfg.loss, cfg.train.num_steps)
    # Weights are traced, but a term that has none may be left out.
    found["loss"] = [judged, bool(cfg.loss.coarse), bool(cfg.loss.log_iou)]
    for opt in ("gen_opt", "critic_opt"):  # numbers of schedules
        found[opt] = found[opt]["schedule"]
    return json.dumps(found, sort_keys=True)


DIFFERENT = {traced(cfg): (name, preset, cfg) for name, preset, cfg in RUNS[::-1]}
mark = pytest.mark
QUICK = {"paper_all:gpu paper_group"}  # the most operations
CASES = [
    pytest.param(cfg, id=name, marks=mark.thorough if name in QUICK else mark.slow)
    for name, _, cfg in sorted(DIFFERENT.values(), key=lambda case: case[0])
]


@pytest.mark.parametrize("cfg", CASES)
def test_its_updates_can_be_traced(cfg):
    cfg = validate(cfg, training=False)
    nets = build(cfg)
    state = jax.eval_shape(nets.init)
    count = jax.device_count()
    shape = (count, max(cfg.data.batch_size // count, 1), cfg.study.num_frames)
    clip = jax.ShapeDtypeStruct((*shape, cfg.study.rows, cfg.study.cols), jnp.float32)
    batch = {"frames": clip, "mask": clip}
    batch["id"] = jax.ShapeDtypeStruct(shape[:2], jnp.int32)
    updates = [make_gen_update(cfg, nets.gen, nets.critic, nets.gen_tx)]
    if cfg.loss.critic_start < cfg.train.num_steps:
        updates += [make_critic_update(cfg, nets.gen, nets.critic, nets.critic_tx)]
    for update in updates:
        new, averages = jax.eval_shape(parallel.p_update(update), state, batch)
        kinds = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
        assert kinds(new) == kinds(state)
        assert all(average.total.shape == () for average in averages.values())


GPU = [pytest.param(cfg, id=name) for name, preset, cfg in RUNS if "gpu" in preset]


@pytest.mark.parametrize("cfg", GPU)
def test_a_gpu_preset_is_the_paper_s_size_on_a_gpu_and_fits(cfg):
    cfg = validate(cfg, training=False)
    assert cfg.platform == "gpu"
    assert cfg.gen.dtype == cfg.critic.dtype == "bfloat16"
    assert (cfg.study.rows, cfg.study.cols, cfg.gen.patch) == (256, 256, 1)
    assert cfg.gen.levels == 7 and cfg.gen.refine_levels in (5, 0)
    for devices in (1, 2, 4, 8):
        assert cfg.data.batch_size % devices == 0
    state = {"w": jax.ShapeDtypeStruct((40_000_000,), "float32")}  # 1 % of the card
    needs = memory._on_devices(cfg, state, 1)
    assert 0.1 * CARD < sum(need.bytes for need in needs) < CARD


def test_every_study_config_has_the_preset():
    names = {name.split(":")[0] for name, preset, _ in RUNS if preset == "gpu"}
    assert names == set(CONFIGS) - NO_RUN - {"quickstart"}
    whole = {name for name, *_ in RUNS if name.startswith("paper_all:gpu ")}
    assert len(whole) == len(paper_all.get_config("cpu").order)


def test_an_update_lowers_for_cuda_without_a_gpu():
    """The program that a GPU would compile, of a small network in bfloat16."""
    cfg = base.base_config("gpu")
    small = base.base_config("smoke")
    cfg.gen.update(levels=1, refine_levels=0, base=4, cap=4)
    cfg.study.update(rows=small.study.rows, cols=small.study.cols, num_frames=2)
    cfg.critic.update(levels=1, base=4, cap=4)
    nets = build(cfg)
    update = make_gen_update(cfg, nets.gen, nets.critic, nets.gen_tx)
    clip = jax.ShapeDtypeStruct((2, 2, 32, 32), jnp.float32)
    batch = {"frames": clip, "mask": clip, "id": jax.ShapeDtypeStruct((2,), jnp.int32)}
    state = jax.eval_shape(nets.init)
    lowered = jax.jit(update.gradients).trace(state, batch)
    assert "bf16" in lowered.lower(lowering_platforms=("cuda",)).as_text()
