"""The convolutions against `lax`'s own: values, gradients, second derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import close, normal
from flax import linen as nn
from jax import lax

from fluoro_jax.models import conv

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT
    )


def lax_strided(x, kernel):
    edge = (kernel.shape[0] - 2) // 2
    return lax.conv_general_dilated(
        x, kernel, (2, 2), ((edge, edge), (edge, edge)), dimension_numbers=LAYOUT
    )


def lax_transposed(x, kernel):
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)


def lax_pooled(x, kernel):
    y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)
    return nn.max_pool(y, (2, 2), (2, 2))


def lax_upsampled(x, kernel):
    """Three quarters of the nearest pixel and one of the next, edges repeated."""
    for axis in (1, 2):
        first, last = (
            lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, 1), (-1, None))
        )
        before = jnp.concatenate([first, lax.slice_in_dim(x, 0, -1, axis=axis)], axis)
        after = jnp.concatenate([lax.slice_in_dim(x, 1, None, axis=axis), last], axis)
        pair = [0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after]
        shape = [*x.shape]
        shape[axis] *= 2
        x = jnp.stack(pair, axis=axis + 1).reshape(shape)
    k = kernel.shape[0]
    around = (k // 2, (k - 1) // 2)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), (around, around), dimension_numbers=LAYOUT
    )


def value_and_slopes(f, weight):
    """Value, gradients, and the gradients of a penalty on the input's gradient."""

    def loss(x, kernel):
        return jnp.sum(jnp.sin(f(x, kernel)) * weight)

    def penalty(x, kernel):
        slope = jax.grad(loss)(x, kernel)
        return (jnp.sqrt(jnp.sum(slope**2)) - 1.0) ** 2

    @jax.jit
    def run(x, kernel):
        return (
            f(x, kernel),
            jax.grad(loss, (0, 1))(x, kernel),
            jax.grad(penalty, (0, 1))(x, kernel),
        )

    return run


PAIRS = [
    ("strided", conv.strided_conv, lax_strided, 2, (3, 4)),
    ("strided", conv.strided_conv, lax_strided, 4, (3, 4)),
    ("transposed", conv.transposed_conv, lax_transposed, 2, (12, 16)),
    ("transposed", conv.transposed_conv, lax_transposed, 4, (12, 16)),
    ("pooled", conv.pooled_conv, lax_pooled, 2, (3, 4)),
    ("pooled", conv.pooled_conv, lax_pooled, 4, (3, 4)),
    ("upsampled", conv.upsampled_conv, lax_upsampled, 2, (12, 16)),
    ("upsampled", conv.upsampled_conv, lax_upsampled, 4, (12, 16)),
    ("valid", conv.conv_valid, plain, 3, (4, 6)),
    ("valid", conv.conv_valid, plain, 2, (5, 7)),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "size", "out"),
    [pair[1:] for pair in PAIRS],
    ids=[f"{pair[0]}-{pair[3]}" for pair in PAIRS],
)
def test_equals_lax_to_the_second_derivative(ours, theirs, size, out):
    x, kernel = normal(0, 2, 6, 8, 3), normal(1, size, size, 3, 5)
    weight = normal(2, 2, *out, 5)
    reference = value_and_slopes(theirs, weight)(x, kernel)
    close(value_and_slopes(ours, weight)(x, kernel), reference)


@pytest.mark.parametrize(
    ("channels", "features", "size", "rows"),
    [(9, 1, 3, 12), (20, 2, 3, 12), (3, 5, 1, 12), (3, 5, 3, 12), (6, 4, 3, 5)],
    ids=["narrow", "two wide", "one pixel", "wide", "small map"],
)
@pytest.mark.parametrize("in_loop", [False, True])
def test_every_form_of_product_is_the_convolution(
    channels, features, size, rows, in_loop
):
    x, kernel = (
        normal(0, 2, rows, 8, channels),
        normal(1, size, size, channels, features),
    )
    weight = normal(2, 2, rows - size + 1, 9 - size, features)
    ours = lambda x, kernel: conv.conv_valid(x, kernel, in_loop)
    reference = value_and_slopes(plain, weight)(x, kernel)
    close(value_and_slopes(ours, weight)(x, kernel), reference)


def test_a_kernel_that_is_not_square():
    x, kernel = normal(0, 2, 6, 8, 3), normal(1, 3, 2, 3, 4)
    weight = normal(2, 2, 4, 7, 4)
    ours = value_and_slopes(conv.conv_valid, weight)(x, kernel)
    close(ours, value_and_slopes(plain, weight)(x, kernel))


def test_space_to_depth_keeps_the_phases_slowest():
    x = np.arange(1 * 4 * 6 * 2.0, dtype=np.float32).reshape(1, 4, 6, 2)
    y = np.asarray(jax.jit(conv.space_to_depth)(x)).reshape(1, 2, 3, 2, 2, 2)
    for a in (0, 1):
        for b in (0, 1):
            np.testing.assert_array_equal(y[:, :, :, a, b], x[:, a::2, b::2])


@pytest.mark.parametrize(
    ("form", "size", "out"),
    [
        ("same", 3, 8),
        ("down", 4, 4),
        ("up", 2, 16),
        ("pool down", 4, 4),
        ("pool up", 2, 16),
    ],
)
def test_module_is_the_function_plus_its_bias(form, size, out):
    layer = conv.Conv(5, size, form)
    x = normal(0, 2, 8, 8, 3)
    bias = np.arange(5.0, dtype=np.float32)

    @jax.jit
    def run(x):
        y, variables = layer.init_with_output(jax.random.key(0), x)
        params = variables["params"]
        shifted = layer.apply({"params": {**params, "bias": bias}}, x)
        return params, y, shifted

    params, y, shifted = jax.device_get(run(x))
    assert y.shape == (2, out, out, 5)
    np.testing.assert_array_equal(params["bias"], 0.0)
    np.testing.assert_allclose(
        shifted - y, np.broadcast_to(bias, y.shape), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("form", "size"), [("same", 3), ("down", 4), ("up", 4)])
def test_initial_kernels_keep_he_s_variance(form, size):
    x = normal(0, 2, 32, 32, 16)
    layer = conv.Conv(32, size, form)
    y, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    inner = np.asarray(y)[:, 4:-4, 4:-4]  # zeros around the frame lower the edges
    assert np.std(inner) == pytest.approx(2**0.5, rel=0.1)
