"""A network that reads both ways as the start of one that reads the past alone."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from draws import random_params
from marks import further

from configs.base import base_config
from fluoro_jax.models.conv_lstm import ConvLSTM
from fluoro_jax.models.generator import Generator
from fluoro_jax.training.read_forward import read_forward, start_causal

SMALL = dict(levels=2, refine_levels=2, base=8, cap=8, input_mean=0.0)


def quick(fn):
    """Compiled as a whole and hardly optimised: op by op it takes ten times as long."""
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_former_backward_cell_runs_forward():
    both, past = ConvLSTM(8), ConvLSTM(8, bidirectional=False)
    x = noise(1, 5, 6, 6, 3)
    params = random_params(both, x)
    params["bias"] = noise(*params["bias"].shape, seed=1)
    run = quick(lambda params, x: both.apply({"params": params}, x))
    turned = quick(lambda params, x: past.apply({"params": params}, x))
    found = np.asarray(turned(read_forward(params), x))
    forward = np.asarray(run(params, x))[..., :4]
    # Of the clip shown backward in time, the backward cell's answer, turned back.
    backward = np.asarray(run(params, x[:, ::-1]))[:, ::-1, ..., 4:]
    np.testing.assert_allclose(found[..., :4], forward, atol=1e-5)
    np.testing.assert_allclose(found[..., 4:], backward, atol=1e-5)
    assert np.abs(forward - backward).max() > 0.01


@pytest.mark.parametrize("patch", [1, further(4)])
def test_the_first_layer_reads_the_frame_before_last_for_the_next(patch):
    kind = dict(SMALL, lstm="none", patch=patch, stem=4 if patch > 1 else 0)
    cfg = base_config("smoke")
    cfg.gen.update(bidirectional=False, patch=patch)
    cfg.data.stack = "moving_past"
    stack = noise(1, 2, 16, 16, 4)
    net = Generator(**kind)
    params = random_params(net, stack)
    # Nothing of it runs backward without a memory, so one is put there to be read.
    marked = {**params, "lstm": {"backward_kernel": noise(3, 3, 2, 8)}}
    marked["lstm"] |= {"forward_kernel": noise(3, 3, 2, 8), "bias": noise(16)}
    marked["lstm"]["input_kernel"] = noise(3, 3, 2, 16)
    turned = dict(start_causal(marked, cfg))
    assert "backward_kernel" not in turned.pop("lstm")
    answer = quick(lambda params, x: net.apply({"params": params}, x).logits)
    expected = answer(params, stack)
    # (t-1, t, t+1, moves) of before, shown as (t-2, t-1, t, moves).
    found = answer(turned, stack[..., [2, 0, 1, 3]])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_run_that_reads_both_ways_keeps_its_parents_arrays():
    cfg = base_config("smoke")
    params = {"lstm": {"backward_kernel": np.ones(1)}}
    assert start_causal(params, cfg) is params
