"""Convolutional LSTM over whole sequences, in either or both directions of time.

The input convolution of all frames and both directions is one convolution outside the
scan; only the recurrent one is inside. The recurrent kernel's gradient is taken after
the backward scan, in one go for all frames. Both stay twice differentiable, which the
critic's gradient penalty needs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Float

from fluoro_jax.models.conv import (
    adjoint_kernel,
    conv_same,
    kernel_gradient,
    pad_same,
)

Array = jax.Array
Carry = tuple[Array, Array]  # hidden and cell state, each [B, H, W, F]
STREAM = "stream"  # the collection that holds the state between two calls


def _gates(z: Array) -> tuple[Array, Array, Array, Array]:
    # In linen's order, so that its cell is a reference for the tests.
    i, g, f, o = jnp.split(z, 4, axis=-1)
    # The shift of one keeps the memory at the start of training (as linen's cell).
    return nn.sigmoid(i), jnp.tanh(g), nn.sigmoid(f + 1.0), nn.sigmoid(o)


def zero_carry(zx: Array) -> Carry:
    """The state before the first of the frames `[T, B, H, W, 4F]`."""
    zero = jnp.zeros((*zx.shape[1:-1], zx.shape[-1] // 4), zx.dtype)
    return zero, zero


def _forward(zx: Array, kernel: Array, start: Carry) -> tuple[Array, Array, Array]:
    """Hidden states, cell states and pre-activations of all frames, time first."""

    def step(carry, zx_t):
        h, c = carry
        # In the scan's body: the gradient's form differs there
        # (`conv.kernel_gradient`).
        z = zx_t + conv_same(h, kernel, True)
        i, g, f, o = _gates(z)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, z)

    return lax.scan(step, start, zx)[1]


@jax.custom_vjp
def recurrence(
    zx: Float[Array, "T B H W G"], kernel: Float[Array, "k k F G"]
) -> Float[Array, "T B H W F"]:
    """The recurrent half of a ConvLSTM, forward in time from a zero state.

    z_t = zx_t + W * h_{t-1};  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)

    Args:
        zx: `[T, B, H, W, 4F]`, W_x * x_t + b for the gates i, g, f, o.
        kernel: `[k, k, F, 4F]`, k odd.

    Returns:
        `[T, B, H, W, F]`, h of every frame.

    Source:
        Shi et al. 2015, arXiv:1506.04214, eq. 3, without the peepholes.
    """
    return _forward(zx, kernel, zero_carry(zx))[0]


def _recurrence_forward(zx: Array, kernel: Array):
    h, c, z = _forward(zx, kernel, zero_carry(zx))
    return h, (h, c, z, kernel)


def _before(states: Array) -> Array:
    """Returns the state that each frame starts from: zeros, then the one before."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])


def _recurrence_backward(saved, dh_all: Array) -> tuple[Array, Array]:
    h, c, z, kernel = saved
    size = kernel.shape[0]
    adjoint = adjoint_kernel(kernel)

    def step(carry, now):
        # Backward through time: dh and dc flow from frame t + 1 to frame t. Gates are
        # computed again from z, which is kept, and not kept themselves.
        dh_next, dc = carry
        dh_t, z_t, c_t, c_before = now
        i, g, f, o = _gates(z_t)
        dh = dh_t + dh_next
        tanh_c = jnp.tanh(c_t)
        dc = dc + dh * o * (1.0 - tanh_c**2)
        # In the order of `_gates`: i, g, f, o, each through its own nonlinearity's
        # derivative.
        dz = jnp.concatenate(
            [
                dc * g * i * (1.0 - i),
                dc * i * (1.0 - g**2),
                dc * c_before * f * (1.0 - f),
                dh * tanh_c * o * (1.0 - o),
            ],
            axis=-1,
        )
        dh_before = conv_same(dz, adjoint, True)
        return (dh_before, dc * f), dz

    zero = jnp.zeros_like(dh_all[0])
    inputs = (dh_all, z, c, _before(c))
    _, dz = lax.scan(step, (zero, zero), inputs, reverse=True)
    # One convolution over all frames, outside the loop: inside, XLA's CPU form is slow.
    frames = (-1, *h.shape[2:])
    h_before = pad_same(_before(h).reshape(frames), size)
    grad = kernel_gradient(h_before, dz.reshape((-1, *dz.shape[2:])), size, size)
    return dz, grad


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


class ConvLSTM(nn.Module):
    """A layer of ConvLSTM: one cell forward in time or one each way, concatenated.

    Applied with the collection `STREAM` mutable, a forward layer goes on from the state
    held there and leaves its new one: frames may then come one call at a time. This
    path bypasses the custom gradient; use it for inference only.

    Attributes:
        features: output channels; half of them for each direction.
        size: kernel rows and columns, odd.
        bidirectional: False reads the past only.
        dtype: of the computation; parameters are float32.
    """

    features: int
    size: int = 3
    bidirectional: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W F"]:
        """Returns the hidden states: `[B, T, H, W, C]` to `[B, T, H, W, features]`."""
        b, t, rows, cols, c = x.shape
        ways = ("forward", "backward") if self.bidirectional else ("forward",)
        f = self.features // len(ways)
        init = nn.initializers.lecun_normal()
        # Both directions' input kernels side by side: one convolution reads each frame
        # once.
        shape = (self.size, self.size, c, 4 * f * len(ways))
        kernel_x = self.param("input_kernel", init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        # Time first: `lax.scan` runs over the leading axis.
        x = jnp.swapaxes(x, 0, 1).astype(self.dtype).reshape(t * b, rows, cols, c)
        zx = conv_same(x, kernel_x.astype(self.dtype))
        zx = zx + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        zx = zx.reshape(t, b, rows, cols, -1)
        states = []
        for way, z in zip(ways, jnp.split(zx, len(ways), axis=-1), strict=True):
            orthogonal = nn.initializers.orthogonal()
            kernel_h = self.param(
                f"{way}_kernel", orthogonal, (self.size, self.size, f, 4 * f)
            ).astype(self.dtype)
            # `init` makes every collection mutable; without the second test a stream's
            # state would become part of a fresh network's variables.
            if self.is_mutable_collection(STREAM) and not self.is_initializing():
                states.append(self._go_on(z, kernel_h))
                continue
            # A cell backward in time is one forward over the reversed frames.
            z = z[::-1] if way == "backward" else z
            h: Array = recurrence(z, kernel_h)
            states.append(h[::-1] if way == "backward" else h)
        return jnp.swapaxes(jnp.concatenate(states, axis=-1), 0, 1)

    def _go_on(self, zx: Array, kernel: Array) -> Array:
        """Hidden states of these frames, from the state that the last call left."""
        assert not self.bidirectional, "a backward cell starts at the last frame"
        held = self.variable(STREAM, "carry", zero_carry, zx)
        h, c, _ = _forward(zx, kernel, held.value)
        held.value = (h[-1], c[-1])
        return h
