"""The ConvLSTM against linen's cell and against a loop written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import close, normal
from flax import linen as nn
from jax import lax

from fluoro_jax.models.conv_lstm import ConvLSTM, recurrence

B, T, ROWS, COLS, C = 2, 5, 4, 6, 3


def written_out(zx, kernel):
    """The recurrence as a Python loop over plain `lax` convolutions."""
    h = c = jnp.zeros((*zx.shape[1:-1], zx.shape[-1] // 4))
    states = []
    for zx_t in zx:
        z = zx_t + lax.conv_general_dilated(
            h, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        i, g, f, o = jnp.split(z, 4, axis=-1)
        c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        states.append(h)
    return jnp.stack(states)


def value_and_slopes(f, weight):
    """Value, gradients, and the gradients of a penalty on the input's gradient."""

    def loss(zx, kernel):
        return jnp.sum(jnp.sin(3.0 * f(zx, kernel)) * weight)

    def penalty(zx, kernel):
        slope = jax.grad(loss)(zx, kernel)
        return (jnp.sqrt(jnp.sum(slope**2)) - 1.0) ** 2

    @jax.jit
    def run(zx, kernel):
        return (
            f(zx, kernel),
            jax.grad(loss, (0, 1))(zx, kernel),
            jax.grad(penalty, (0, 1))(zx, kernel),
        )

    return run


@pytest.fixture(scope="module")
def case():
    zx, kernel = normal(0, T, B, ROWS, COLS, 8), 0.3 * normal(1, 3, 3, 2, 8)
    weight = normal(2, T, B, ROWS, COLS, 2)
    return zx, kernel, weight, value_and_slopes(written_out, weight)(zx, kernel)


def test_recurrence_equals_the_loop_to_the_second_derivative(case):
    zx, kernel, weight, reference = case
    close(value_and_slopes(recurrence, weight)(zx, kernel), reference)


def random_params(layer, x):
    params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    return {
        name: 0.3 * normal(seed, *leaf.shape)
        for seed, (name, leaf) in enumerate(sorted(params.items()))
    }


def linen_way(params, way, x, features, part):
    """Linen's cell over `[B, T, ...]` with one direction's share of our parameters."""
    cell = nn.ConvLSTMCell(features, kernel_size=(3, 3))
    gates = slice(part * 4 * features, (part + 1) * 4 * features)
    bias = params["bias"][gates]
    theirs = {
        # Its two biases are added, so they share our one.
        "ih": {"kernel": params["input_kernel"][..., gates], "bias": 0.25 * bias},
        "hh": {"kernel": params[f"{way}_kernel"], "bias": 0.75 * bias},
    }
    frames = range(x.shape[1])
    carry = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
    out = [None] * x.shape[1]
    for t in reversed(frames) if way == "backward" else frames:
        carry, out[t] = cell.apply({"params": theirs}, carry, x[:, t])
    return jnp.stack(out, axis=1)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_layer_equals_linen_s_cell(bidirectional):
    features = 4
    x = normal(9, B, T, ROWS, COLS, C)
    layer = ConvLSTM(features, bidirectional=bidirectional)
    params = random_params(layer, x)
    ways = ["forward", "backward"] if bidirectional else ["forward"]

    @jax.jit
    def reference(params, x):
        f = features // len(ways)
        parts = [linen_way(params, w, x, f, i) for i, w in enumerate(ways)]
        return jnp.concatenate(parts, axis=-1)

    ours = jax.jit(lambda params, x: layer.apply({"params": params}, x))
    close(ours(params, x), reference(params, x))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_only_the_backward_cell_reads_the_future(bidirectional):
    x = normal(9, 1, T, ROWS, COLS, C)
    layer = ConvLSTM(4, bidirectional=bidirectional)
    params = random_params(layer, x)
    apply = jax.jit(lambda x: layer.apply({"params": params}, x))
    other = np.array(x)
    other[:, 3] += 1.0
    before, after = np.asarray(apply(x)), np.asarray(apply(other))
    np.testing.assert_array_equal(before[:, :3, ..., :2], after[:, :3, ..., :2])
    assert (
        (before[:, 3:, ..., :2] != after[:, 3:, ..., :2]).any(axis=(0, 2, 3, 4)).all()
    )
    past = before[:, :3, ..., 2:] != after[:, :3, ..., 2:]
    assert past.any() == bidirectional
    if bidirectional:
        np.testing.assert_array_equal(before[:, 4:, ..., 2:], after[:, 4:, ..., 2:])


def test_bfloat16_computes_with_float32_parameters():
    x = normal(9, B, T, ROWS, COLS, C)
    params = random_params(ConvLSTM(4), x)
    half = ConvLSTM(4, dtype="bfloat16")
    made = jax.eval_shape(half.init, jax.random.key(0), x)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}
    run = lambda layer: jax.jit(layer.apply)({"params": params}, x)
    low = run(half)
    assert low.dtype == jnp.bfloat16
    low, full = np.asarray(low).astype(np.float32), run(ConvLSTM(4))
    np.testing.assert_allclose(low, full, rtol=0, atol=0.05)
