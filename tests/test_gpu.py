"""A GPU gives a CPU's answers; skipped where there is none.

JAX_PLATFORMS=cuda,cpu python -m pytest -m gpu tests/test_gpu.py
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from configs import best_group, paper_group
from fluoro_jax.config import check_platform
from fluoro_jax.data.batches import SimulatorSource, blank_batch
from fluoro_jax.models.generator import predict
from fluoro_jax.sim.fluoroscope import render_body
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.training import parallel
from fluoro_jax.training.nets import build
from fluoro_jax.training.state import to_host
from fluoro_jax.training.step import make_critic_update, make_gen_update, merge

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def pair():
    """A CPU and a GPU, or the tests are skipped."""
    try:
        return jax.local_devices(backend="cpu")[0], jax.local_devices(backend="gpu")[0]
    except RuntimeError:
        pytest.skip("no GPU")


@pytest.fixture(scope="module")
def both(pair):
    """Calls a function on the CPU and on the GPU, simulation exact as at the prompt."""

    def call(function):
        answers = []
        for device in pair:
            with (
                jax.default_device(device),
                jax.default_matmul_precision("highest"),
            ):
                answers.append(jax.device_get(function()))
        return answers

    return call


def smoke(**changes):
    cfg = paper_group.get_config("smoke")
    cfg.update_from_flattened_dict(changes)
    return cfg


def stack_of(cfg):
    rng = np.random.default_rng(0)
    shape = (2, cfg.study.num_frames, cfg.study.rows, cfg.study.cols, 3)
    return rng.uniform(1.0, 5.0, shape).astype(np.float32)


def off(answers):
    """Largest difference as a share of the largest value."""
    ours, theirs = answers
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({}, 1e-4),
        ({"matmul_precision": "tf32"}, 3e-2),
        ({"gen.dtype": "bfloat16"}, 1e-1),
    ],
)
def test_a_forward_pass_agrees(both, changes, bound):
    nets = build(smoke(**changes))
    stack = stack_of(nets.cfg)
    run = jax.jit(lambda p, x: predict(nets.gen, p, x))
    params = jax.jit(build(smoke()).gen.init)(jax.random.key(0), stack)["params"]
    params = jax.device_get(params)
    assert off(both(lambda: run(params, stack))) < bound


@pytest.mark.parametrize("make", [make_gen_update, make_critic_update])
def test_an_update_agrees(pair, make):
    cfg = smoke()
    nets = build(cfg)
    batch = blank_batch(cfg)
    batch["frames"] = stack_of(cfg)[[0, 1, 0, 1], ..., 0]
    batch["mask"] = (batch["frames"] > 4.8).astype(np.float32)
    batch["id"] = np.arange(4, dtype=np.int32)
    tx = nets.gen_tx if make is make_gen_update else nets.critic_tx
    update = make(cfg, nets.gen, nets.critic, tx)
    first = to_host(parallel.place(nets.init, devices=pair[:1]))
    found = []
    for device in pair:
        devices = [device]
        state = parallel.place_tree(first, devices=devices)
        placed = parallel.shard(batch, devices=devices)
        _, averages = parallel.p_update(update, devices=devices)(state, placed)
        found.append(merge([averages]))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_the_projector_agrees(both):
    spec = StudySpec.from_config(smoke().study)
    case = study_case(spec, "train", 0)
    draw = lambda: render_body(case.case, case.geometry, voxel_mm=spec.voxel_mm)
    assert off(both(draw)) < 1e-4


def test_a_simulated_batch_agrees(both):
    cfg = best_group.get_config("smoke")
    cpu, gpu = both(lambda: SimulatorSource(cfg).batch_at(0))
    assert off((gpu["frames"], cpu["frames"])) < 1e-3
    assert np.mean(gpu["mask"] != cpu["mask"]) < 1e-4


def test_the_platform_is_found(pair):
    if jax.default_backend() == "gpu":
        check_platform(smoke(platform="gpu"))
