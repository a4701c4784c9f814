"""The generator with a part taken out or exchanged."""

from __future__ import annotations

import counts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import normal, quick_jit, random_params

from fluoro_jax.data.stack import stack_frames
from fluoro_jax.models.generator import Generator, init_carry, step

T, SIDE = 3, 16
UNSCALED = dict(input_mean=0.0, input_scale=1.0)
SMALL = dict(levels=2, refine_levels=2, base=4, cap=8, **UNSCALED)
CHANGES = {
    "bottom": dict(lstm="bottom"),
    "none": dict(lstm="none"),
    "pool": dict(resample="pool"),
    "coarse": dict(refine_levels=0),
}


def made(**changes):
    """(generator, parameters)."""
    generator = Generator(**{**SMALL, **changes})
    stack = jax.ShapeDtypeStruct((1, T, SIDE, SIDE, 3), jnp.float32)
    return generator, random_params(generator, stack)


def shapes(**changes):
    stack = jax.ShapeDtypeStruct((1, T, SIDE, SIDE, 3), jnp.float32)
    made = jax.eval_shape(
        Generator(**{**SMALL, **changes}).init, jax.random.key(0), stack
    )
    return jax.tree.map(jnp.shape, made["params"])


def names(params):
    return {f"{net}/{layer}" for net, layers in params.items() for layer in layers}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"levels": 3} | CHANGES["bottom"], {"coarse/lstm_0", "coarse/lstm_1"}),
        (
            {"levels": 3} | CHANGES["none"],
            {"coarse/lstm_0", "coarse/lstm_1", "coarse/lstm_2", "refine/lstm_1"},
        ),
    ],
    ids=["bottom", "none"],
)
def test_which_conv_lstms_are_left_out(changes, missing):
    assert names(shapes(levels=3)) - names(shapes(**changes)) == missing


def test_pooling_has_the_same_parameters():
    assert shapes(**CHANGES["pool"]) == shapes()


def test_without_refinement_the_coarse_answer_is_the_answer():
    generator, params = made(**CHANGES["coarse"])
    assert set(params) == {"coarse"}
    out = quick_jit(generator.apply)({"params": params}, normal(0, 1, T, SIDE, SIDE, 3))
    assert out.logits.shape == (1, T, SIDE, SIDE)
    np.testing.assert_array_equal(out.logits, out.coarse_logits)


@pytest.mark.parametrize(
    ("changes", "stack", "others"),
    [
        (CHANGES["none"], "single", set()),
        (CHANGES["none"], "causal", {2, 3}),
        (CHANGES["none"], "edge", {0, 2}),
        (CHANGES["bottom"], "single", {0, 2, 3, 4}),
    ],
)
def test_which_answers_depend_on_frame_1(changes, stack, others):
    generator, params = made(**changes)
    frames = normal(1, 1, 5, SIDE, SIDE)
    run = quick_jit(
        lambda x: generator.apply({"params": params}, stack_frames(x, stack)).logits
    )
    changed = np.array(frames)
    changed[:, 1, 4:9, 4:9] += 1.0
    off = np.abs(np.subtract(run(frames), run(changed)))
    reached = np.flatnonzero(off.max(axis=(0, 2, 3)))
    assert set(reached.tolist()) == {1} | others


@pytest.mark.parametrize(
    "change",
    ["none", *(pytest.param(c, marks=pytest.mark.slow) for c in ("pool", "coarse"))],
)
def test_it_neither_fades_nor_grows_and_every_parameter_has_a_gradient(change):
    sizes = dict(levels=2, refine_levels=1, base=8, cap=16)
    generator = Generator(**{**sizes, **CHANGES[change]})
    stack = normal(3, 1, T, SIDE, SIDE, 3)
    params = quick_jit(generator.init)(jax.random.key(0), stack)["params"]
    spreads = counts.spreads(generator, params, stack)
    assert len(spreads) == 5 + 3 * (generator.refine_levels > 0)
    assert all(0.3 < sd < 3.0 for sd in spreads.values()), spreads
    weight = normal(4, 1, T, SIDE, SIDE)
    total = lambda p: jnp.sum(generator.apply({"params": p}, stack).logits * weight)
    slopes = quick_jit(jax.grad(total))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(slope).all(), path
        assert np.abs(slope).max() > 1e-6, path


@pytest.mark.parametrize("resample", ["stride", "pool"])
def test_a_shift_by_a_pixel_of_the_bottom_shifts_the_answer(resample):
    generator, params = made(
        lstm="none", resample=resample, levels=2, refine_levels=1, kernel=2
    )
    side, by = 48, 4
    frame = np.zeros((1, 1, side, side, 3), np.float32)
    frame[0, 0, 22:25, 21:26] = 2.0
    run = quick_jit(lambda x: generator.apply({"params": params}, x).logits[0, 0])
    there, moved = (
        np.asarray(run(x)) for x in (frame, np.roll(frame, (by, by), (2, 3)))
    )
    middle = slice(12, 36)  # zeros around the frame reach less far than this
    shifted = moved[by:, by:][middle, middle]
    np.testing.assert_allclose(shifted, there[middle, middle], rtol=0, atol=1e-4)
    assert np.abs(shifted - moved[middle, middle]).max() > 0.1


def test_frame_by_frame_without_memory_is_the_whole_sequence():
    generator, params = made(lstm="none", bidirectional=False)
    stack = stack_frames(normal(5, 1, T, SIDE, SIDE), "causal")
    carry = init_carry(generator, params, stack[:, :1])
    assert jax.tree.leaves(carry) == []
    go_on = quick_jit(step, static_argnums=0)
    whole = go_on(generator, params, carry, stack)[1]
    for t in range(T):
        carry, answer = go_on(generator, params, carry, stack[:, t : t + 1])
        np.testing.assert_allclose(answer[:, 0], whole[:, t], rtol=0, atol=2e-6)
