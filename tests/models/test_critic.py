"""The critic: size, one score a sequence, its switches, and the penalty's slope."""

from __future__ import annotations

import functools

import counts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import normal, quick_jit, random_params

from configs.base import SCALES, base_config
from fluoro_jax.models.critic import Critic
from fluoro_jax.models.generator import Generator
from fluoro_jax.training.losses import gradient_penalty

B, T, SIDE = 2, 3, 16
SMALL = dict(levels=2, base=4, cap=8, output="linear")


@pytest.mark.parametrize("section", ["gen", "critic"])
def test_defaults_are_those_of_the_config(section):
    made = {"gen": Generator, "critic": Critic}[section]()
    values = base_config()[section].to_dict()
    assert {name: getattr(made, name) for name in values} == values


@pytest.fixture(scope="module")
def case():
    """(masks, parameters) of the small critic."""
    masks = 1.0 / (1.0 + np.exp(-2.0 * np.asarray(normal(0, B, T, SIDE, SIDE))))
    return masks, random_params(Critic(**SMALL), masks)


@functools.partial(quick_jit, static_argnums=0)
def scores(critic, params, masks):
    return critic.apply({"params": params}, masks)


def score_fn(params, **switches):
    critic = Critic(**{**SMALL, **switches})
    return lambda masks: np.asarray(scores(critic, params, masks))


@pytest.mark.parametrize("scale", SCALES)
def test_names_and_numbers_of_the_parameters(scale):
    cfg = base_config(scale)
    side, frames, net = cfg.study.rows, cfg.study.num_frames, cfg.critic
    masks = jax.ShapeDtypeStruct((1, frames, side, side), jnp.float32)
    params = jax.eval_shape(Critic(**net).init, jax.random.key(0), masks)["params"]
    channels = [min(net.base * 2**i, net.cap) for i in range(net.levels)]
    expected = {
        f"down_{i}": counts.block(inputs, outputs, 4)
        for i, (inputs, outputs) in enumerate(
            zip([1, *channels[:-1]], channels, strict=True)
        )
    }
    expected["lstm"] = counts.conv_lstm(channels[-1], 3, 2)
    pixels = (side // 2**net.levels) ** 2
    expected["score"] = frames * pixels * channels[-1] + 1
    assert counts.parts(params) == expected


def test_one_score_a_sequence_that_reads_every_frame(case):
    masks, params = case
    score = score_fn(params)
    before = score(masks)
    assert before.shape == (B,) and before.dtype == np.float32
    for t in range(T):
        mirrored = masks.copy()
        mirrored[:, t] = masks[:, t, ::-1]
        assert (np.abs(score(mirrored) - before) > 1e-4).all()


def test_examples_are_not_mixed(case):
    masks, params = case
    score = score_fn(params)
    mirrored = np.stack([masks[0], masks[1, :, ::-1]])
    before, after = score(masks), score(mirrored)
    assert before[0] == after[0] and abs(before[1] - after[1]) > 1e-4


def test_sigmoid_output_is_that_of_the_linear_one(case):
    masks, params = case
    linear, bounded = score_fn(params)(masks), score_fn(params, output="sigmoid")(masks)
    assert ((bounded > 0.0) & (bounded < 1.0)).all()
    want = 1.0 / (1.0 + np.exp(-linear))
    np.testing.assert_allclose(bounded, want, rtol=0, atol=1e-6)


def test_bfloat16_computes_with_float32_parameters(case):
    masks, params = case
    low = Critic(**SMALL, dtype="bfloat16")
    made = jax.eval_shape(low.init, jax.random.key(0), masks)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
    ours, exact = score_fn(params, dtype="bfloat16")(masks), score_fn(params)(masks)
    assert ours.dtype == np.float32
    off = np.abs(ours - exact).max()
    assert 1e-5 < off < 0.05


def test_slope_of_the_gradient_penalty_is_its_finite_difference(case):
    masks, params = case
    truth, mix = (masks > 0.7).astype(np.float32), jnp.array([0.3, 0.6])

    @quick_jit
    @jax.value_and_grad
    def penalty(params):
        score = lambda x: Critic(**SMALL).apply({"params": params}, x)
        return gradient_penalty(score, truth, masks, mix)[0].sum()

    slope = jax.device_get(penalty(params)[1])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    length = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(slope)))
    step = 1e-3
    shifted = lambda by: jax.tree.map(
        lambda p, g: np.asarray(p) + by * g / length, params, slope
    )
    rise = float(penalty(shifted(step))[0] - penalty(shifted(-step))[0])
    assert length > 1e-3
    assert rise / (2 * step) == pytest.approx(length, rel=0.02)


def test_a_fresh_critic_neither_fades_nor_grows():
    critic = Critic(levels=4, base=8, cap=32, output="linear")
    masks = normal(1, 1, T, 32, 32)
    params = quick_jit(critic.init)(jax.random.key(0), masks)["params"]
    spreads = counts.spreads(critic, params, masks)
    assert len(spreads) == 4
    assert all(0.3 < sd < 3.0 for sd in spreads.values()), spreads
