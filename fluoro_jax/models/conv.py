"""Convolutions in the form that is fast on every platform, and twice differentiable.

Strided and transposed convolutions are written as stride-one ones between pixel
shuffles: the same functions, but XLA's CPU gradients of the strided forms are many
times slower. The kernel gradient has a form for each kind of shape and place, chosen by
what was measured on a CPU (docs/performance.md).
"""

from __future__ import annotations

import functools
from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

Array = jax.Array
LAYOUT = ("NHWC", "HWIO", "NHWC")


# Measured: 4 or 64 in place of 16 are no faster (docs/performance.md).
SMALL = 16  # output pixels of a frame up to which a convolution is one product


def _plain(x: Array, kernel: Array) -> Array:
    kh, kw, c, f = kernel.shape
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    if kh * kw > 1 and h * w <= SMALL:
        return _patches(x, kh, kw) @ kernel.reshape(kh * kw * c, f)
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT
    )


def _patches(x: Array, kh: int, kw: int) -> Array:
    """Returns the input pixels of each output pixel, for a kernel of kh x kw.

    `[N, H, W, C]` to `[N, H - kh + 1, W - kw + 1, kh kw C]`.
    """
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    seen = [x[:, i : i + h, j : j + w] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(seen, axis=-1)


# The last two are Python values that choose a form at trace time, so they are not
# differentiated.
@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_valid(
    x: Array, kernel: Array, in_loop: bool = False, edge: tuple[int, int] = (0, 0)
) -> Array:
    """Stride-one convolution of a frame with so many zeros around it.

    The gradient by `x` computes no pixel of the zeros, as that of a separate padding
    would.

    Args:
        x: `[N, H, W, C]`.
        kernel: `[kh, kw, C, F]`.
        in_loop: called in the body of a scan; decides the form of the gradient.
        edge: zeros above and below, and left and right; less than the kernel.

    Returns:
        `[N, H + 2 edge - kh + 1, W + 2 edge - kw + 1, F]`.
    """
    return _plain(_pad(x, edge), kernel)


def _pad(x: Array, edge: tuple[int, int]) -> Array:
    down, right = edge
    return jnp.pad(x, ((0, 0), (down, down), (right, right), (0, 0)))


def _conv_forward(
    x: Array, kernel: Array, in_loop: bool, edge: tuple[int, int]
) -> tuple[Array, tuple[Array, Array]]:
    # By conv_valid, not the plain form, so that second derivatives are quick too.
    return conv_valid(x, kernel, in_loop, edge), (x, kernel)


def _conv_backward(
    in_loop: bool, edge: tuple[int, int], saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    kh, kw = kernel.shape[:2]
    # The adjoint of a convolution with e zeros around is one with k - 1 - e zeros.
    around = (kh - 1 - edge[0], kw - 1 - edge[1])
    dx = cast(Array, conv_valid(dy, adjoint_kernel(kernel), in_loop, around))
    return dx, kernel_gradient(_pad(x, edge), dy, kh, kw, in_loop=in_loop)


def adjoint_kernel(kernel: Array) -> Array:
    """`[kh, kw, C, F]` to `[kh, kw, F, C]`, mirrored: the gradient's own kernel."""
    return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)


def kernel_gradient(
    x: Array, dy: Array, kh: int, kw: int, *, in_loop: bool = False
) -> Array:
    """Gradient of `conv_valid` with respect to its kernel.

    In a loop one product a tap, since XLA's CPU convolutions lose their speed there
    (github.com/jax-ml/jax/issues/12868). Outside: a product where the kernel is one
    pixel or all its outputs are fewer than the inputs, else XLA's own form.

    Args:
        x: `[N, H, W, C]`, the input.
        dy: `[N, H - kh + 1, W - kw + 1, F]`, the output's gradient.
        kh: kernel rows.
        kw: kernel columns.
        in_loop: see `conv_valid`.

    Returns:
        `[kh, kw, C, F]`.
    """
    c, f = x.shape[-1], dy.shape[-1]
    h, w = dy.shape[1:3]
    # XLA's CPU convolution took 37 ms on 2 x 2 pixels (docs/performance.md); products
    # do not.
    if kh * kw > 1 and h * w <= SMALL:
        gradient = jnp.einsum("nhwk,nhwf->kf", _patches(x, kh, kw), dy)
        return gradient.reshape(kh, kw, c, f)
    # The logit convolution, with one output: 7 ms for 92 by taps (docs/performance.md).
    if kh * kw > 1 and kh * kw * f <= c:
        return _gradient_by_outputs(x, dy, kh, kw)
    # A kernel of one pixel too: as one einsum it transposes the output's gradient
    # first.
    if in_loop or kh * kw == 1:
        return _gradient_by_taps(x, dy, kh, kw)
    # x as C examples of N channels and dy as the kernel: the gradient is a convolution.
    gradient = lax.conv_general_dilated(
        x, dy, (1, 1), "VALID", dimension_numbers=("CHWN", "IHWO", "NHWC")
    )
    return gradient.transpose(1, 2, 0, 3)


def _gradient_by_taps(x: Array, dy: Array, kh: int, kw: int) -> Array:
    h, w = dy.shape[1:3]
    taps = [
        jnp.einsum("nhwc,nhwf->cf", x[:, i : i + h, j : j + w], dy)
        for i in range(kh)
        for j in range(kw)
    ]
    return jnp.stack(taps).reshape(kh, kw, x.shape[-1], dy.shape[-1])


def _gradient_by_outputs(x: Array, dy: Array, kh: int, kw: int) -> Array:
    """One product of all inputs with the shifted copies of the few outputs."""
    shifts = [(i, j) for i in range(kh) for j in range(kw)]
    around = lambda i, j: ((0, 0), (i, kh - 1 - i), (j, kw - 1 - j), (0, 0))
    copies = [jnp.pad(dy, around(*shift)) for shift in shifts]
    c, f = x.shape[-1], dy.shape[-1]
    gradient = lax.dot_general(
        x.reshape(-1, c),
        jnp.concatenate(copies, axis=-1).reshape(-1, kh * kw * f),
        (((0,), (0,)), ((), ())),
    )
    return jnp.moveaxis(gradient.reshape(c, kh, kw, f), 0, 2)


conv_valid.defvjp(_conv_forward, _conv_backward)


def conv_same(x: Array, kernel: Array, in_loop: bool = False) -> Array:
    """`conv_valid` with the zeros that keep the shape under an odd kernel."""
    half = kernel.shape[0] // 2
    return conv_valid(x, kernel, in_loop, (half, half))


def pad_same(x: Array, size: int) -> Array:
    """Zeros around rows and columns so that an odd kernel of `size` keeps the shape."""
    return _pad(x, (size // 2, size // 2))


def space_to_depth(x: Array) -> Array:
    """`[N, 2H, 2W, C]` to `[N, H, W, 4C]`, phases (row, column) slowest."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def strided_conv(x: Array, kernel: Array) -> Array:
    """Stride-two convolution that halves rows and columns.

    Args:
        x: `[N, H, W, C]`, H and W even.
        kernel: `[k, k, C, F]`, k = 2 or 4; padding (k - 2) / 2 on each side.

    Returns:
        `[N, H / 2, W / 2, F]`.
    """
    k, _, c, f = kernel.shape
    m = k // 2
    edge = (k - 2) // 2
    x = space_to_depth(jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0))))
    # Tap (2i + a, 2j + b) of the kernel meets phase (a, b) of the frame: its rows and
    # columns become channels, in the order of `space_to_depth`.
    phased = kernel.reshape(m, 2, m, 2, c, f).transpose(0, 2, 1, 3, 4, 5)
    return conv_valid(x, phased.reshape(m, m, 4 * c, f))


def transposed_conv(x: Array, kernel: Array) -> Array:
    """`lax.conv_transpose(x, kernel, (2, 2), "SAME")` as a sub-pixel convolution.

    Args:
        x: `[N, H, W, C]`.
        kernel: `[k, k, C, F]`, k = 2 or 4.

    Returns:
        `[N, 2H, 2W, F]`.
    """
    k, _, c, f = kernel.shape
    n, h, w, _ = x.shape
    m = k // 2
    # Each phase (a, b) of the output reads every other tap; the phases become channels.
    phased = kernel.reshape(m, 2, m, 2, c, f)
    if k == 2:  # an odd output reads tap 0, an even one tap 1
        phased = phased[:, ::-1, :, ::-1]
    phased = phased.transpose(0, 2, 4, 1, 3, 5).reshape(m, m, c, 4 * f)
    edge = m - 1
    y = cast(Array, conv_valid(x, phased, False, (edge, edge)))
    y = y.reshape(n, h + edge, w + edge, 2, 2, f)
    rows = [
        # For k = 4 the odd phases start a pixel later, so each phase is cut out at its
        # own place.
        [y[:, a * edge : a * edge + h, b * edge : b * edge + w, a, b] for b in (0, 1)]
        for a in (0, 1)
    ]
    y = jnp.stack([jnp.stack(row, axis=3) for row in rows], axis=2)
    return y.reshape(n, 2 * h, 2 * w, f)


def pooled_conv(x: Array, kernel: Array) -> Array:
    """Stride-one convolution, then the maximum of every 2 x 2 pixels.

    The zeros around the frame keep its size: (k - 1) / 2 of them, and of an even
    kernel's odd one more below and to the right, so that it looks half a pixel ahead;
    `upsampled_conv` looks half a pixel back.

    Args:
        x: `[N, H, W, C]`, H and W even.
        kernel: `[k, k, C, F]`.

    Returns:
        `[N, H / 2, W / 2, F]`.
    """
    n, h, w, _ = x.shape
    k, _, _, f = kernel.shape
    around = ((k - 1) // 2, k // 2)
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    y = cast(Array, conv_valid(x, kernel))
    return y.reshape(n, h // 2, 2, w // 2, 2, f).max(axis=(2, 4))


def upsampled_conv(x: Array, kernel: Array) -> Array:
    """Bilinear interpolation to twice the size, then a stride-one convolution.

    Pixels are areas (no corners are aligned); an even kernel looks half a pixel back.

    Args:
        x: `[N, H, W, C]`.
        kernel: `[k, k, C, F]`.

    Returns:
        `[N, 2H, 2W, F]`.
    """
    n, h, w, c = x.shape
    k = kernel.shape[0]
    around = (k // 2, (k - 1) // 2)
    x = jax.image.resize(x, (n, 2 * h, 2 * w, c), "bilinear")
    x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    return cast(Array, conv_valid(x, kernel))


FORMS = {
    "same": conv_same,
    "down": strided_conv,
    "up": transposed_conv,
    "pool down": pooled_conv,
    "pool up": upsampled_conv,
}


class Conv(nn.Module):
    """One of the convolutions above with its kernel and bias.

    Attributes:
        features: output channels.
        size: kernel rows and columns.
        form: "same" (odd size), "down" (stride two), "up" (transposed, stride two),
            "pool down" or "pool up" (bilinear).
        dtype: of the computation; parameters are float32.
    """

    features: int
    size: int
    form: str
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[N, H, W, C]` to `[N, H', W', features]`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        # An output of "up" reads a quarter of the taps: He's fan-in is so much less.
        gain = 8.0 if self.form == "up" else 2.0
        he = nn.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        kernel = self.param("kernel", he, shape).astype(self.dtype)
        # A bias in every layer, ours: with He's variance and the norm it keeps training
        # from ending in the empty mask.
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = x.astype(self.dtype)
        y = FORMS[self.form](x, kernel)
        # Reshaped, not broadcast by rank: the tests run with rank promotion as an
        # error.
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
