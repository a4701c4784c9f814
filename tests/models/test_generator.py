"""The generator and its two U-Nets: size, sum, causality, start, and its switches."""

from __future__ import annotations

import counts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import close, normal, quick_jit, random_params

from configs.base import SCALES, base_config
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.models.generator import Generator, predict
from fluoro_jax.models.unet import UNet, widths

B, T, SIDE = 2, 3, 16
UNSCALED = dict(input_mean=0.0, input_scale=1.0)  # as the normal inputs below
SMALL = dict(levels=2, refine_levels=2, base=4, cap=8, **UNSCALED)
FORWARD = dict(bidirectional=False)


def unet_parts(levels, base, cap, *, inputs, size, lstm_skips, ways=2):
    """Names and parameters of a U-Net's parts, from its sizes alone."""
    channels = [min(base * 2**i, cap) for i in range(levels)]
    found = {"logit": 9 * base + 1}
    for i, outputs in enumerate(channels):
        found[f"down_{i}"] = counts.block(inputs, outputs, size)
        inputs = outputs
    for i in range(levels):
        bottom = i == levels - 1
        if bottom or lstm_skips:
            found[f"lstm_{i}"] = counts.conv_lstm(channels[i], 3, ways)
        joined = channels[i] if bottom else 2 * channels[i]  # beside its skip
        outputs = channels[i - 1] if i else base
        found[f"up_{i}"] = counts.block(joined, outputs, size)
    return found


def made(generator, shape):
    stack = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    return jax.eval_shape(generator.init, jax.random.key(0), stack)["params"]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("ways", [1, 2])
def test_names_and_numbers_of_the_parameters(scale, ways):
    cfg = base_config(scale)
    gen, study = cfg.gen, cfg.study
    gen.bidirectional = ways == 2
    params = made(Generator(**gen), (1, 2, study.rows, study.cols))
    assert set(params) == {"coarse", "refine"}
    sizes = dict(base=gen.base, cap=gen.cap, ways=ways)
    assert counts.parts(params["coarse"]) == unet_parts(
        gen.levels, inputs=3, size=4, lstm_skips=True, **sizes
    )
    assert counts.parts(params["refine"]) == unet_parts(
        gen.refine_levels, inputs=1, size=2, lstm_skips=False, **sizes
    )


def test_widths_double_up_to_the_cap():
    assert widths(7, 16, 128) == [16, 32, 64, 128, 128, 128, 128]


@pytest.fixture(scope="module")
def case():
    """(stack, parameters) of the small generator."""
    stack = normal(0, B, T, SIDE, SIDE, 3)
    return stack, random_params(Generator(**SMALL), stack)


@quick_jit
def whole(params, stack):
    """Answers of the small generator."""
    return Generator(**SMALL).apply({"params": params}, stack)


def test_logits_are_the_coarse_ones_plus_the_residual(case):
    stack, params = case
    refine = UNet(
        **dict(levels=2, base=4, cap=8, size=2, lstm="bottom", lstm_size=3),
        **dict(resample="stride", bidirectional=True, group_size=4, remat=False),
        dtype="float32",
    )

    @quick_jit
    def run(params, stack):
        out = Generator(**SMALL).apply({"params": params}, stack)
        seen = jax.nn.sigmoid(out.coarse_logits)[..., None]
        residual = refine.apply({"params": params["refine"]}, seen)[..., 0]
        return out, residual, predict(Generator(**SMALL), params, stack)

    out, residual, probability = jax.device_get(run(params, stack))
    assert out.logits.shape == out.coarse_logits.shape == (B, T, SIDE, SIDE)
    assert out.logits.dtype == out.coarse_logits.dtype == jnp.float32
    assert np.abs(residual).max() > 0.1
    np.testing.assert_allclose(
        out.logits, out.coarse_logits + residual, rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        probability, 1.0 / (1.0 + np.exp(-out.logits)), rtol=0, atol=1e-6
    )


def test_forward_cells_and_causal_stack_read_no_later_frame():
    generator = Generator(**SMALL, bidirectional=False)
    frames = normal(1, 1, 4, SIDE, SIDE)
    params = random_params(generator, jax.ShapeDtypeStruct((*frames.shape, 3), "f"))
    run = quick_jit(
        lambda frames: generator.apply(
            {"params": params}, stack_frames(frames, "causal")
        )
    )
    changed = np.array(frames)
    changed[:, 2, 4:9, 4:9] += 1.0
    before, after = (jax.device_get(run(x)) for x in (frames, changed))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[:, :2], b[:, :2])
        assert (a != b)[:, 2:].any(axis=(0, 2, 3)).all()


def test_both_ways_read_later_frames(case):
    stack, params = case
    changed = np.array(stack)
    changed[:, 2, 4:9, 4:9] += 1.0
    off = np.subtract(*(whole(params, x).logits for x in (stack, changed)))[:, 0]
    assert np.abs(off).max() > 1e-4


@pytest.mark.slow
def test_remat_changes_nothing(case):
    stack, params = case
    weight = normal(2, B, T, SIDE, SIDE)

    def run(**switches):
        net = Generator(**SMALL, **switches)
        answer = lambda p: jnp.sum(net.apply({"params": p}, stack).logits * weight)
        return quick_jit(jax.value_and_grad(answer))(params)

    close(run(remat=True), run())


def test_bfloat16_computes_with_float32_parameters(case):
    stack, params = case
    low = Generator(**SMALL, dtype="bfloat16")
    kinds = {leaf.dtype for leaf in jax.tree.leaves(made(low, (B, T, SIDE, SIDE)))}
    assert kinds == {jnp.dtype("float32")}
    run = lambda net: quick_jit(net.apply)({"params": params}, stack).logits
    ours, exact = run(low), whole(params, stack).logits
    assert ours.dtype == jnp.float32
    off = np.std(np.subtract(ours, exact)) / np.std(exact)
    assert 1e-4 < off < 0.05  # two to three digits; not float32 in disguise


@pytest.mark.slow
def test_a_fresh_generator_neither_fades_nor_grows():
    generator = Generator(levels=4, refine_levels=3, base=8, cap=32, **UNSCALED)
    stack = normal(3, 1, T, 32, 32, 3)
    params = quick_jit(generator.init)(jax.random.key(0), stack)["params"]
    spreads = counts.spreads(generator, params, stack)
    assert len(spreads) == 2 * (4 + 3) + 2
    assert all(0.3 < sd < 3.0 for sd in spreads.values()), spreads
