"""The same generator in plain flax linen, layer by layer as its documentation has it.

`nn.ConvLSTMCell` scanned by `nn.RNN`, `nn.Conv` with strides, `nn.ConvTranspose`. All
names are those of `fluoro_jax.models`, so that parameters can be copied over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from fluoro_jax.models.generator import Generator, GeneratorOutput
from fluoro_jax.models.unet import SLOPE, widths

Array = jax.Array


class LinenBlock(nn.Module):
    """Strided or transposed convolution, group norm, leaky ReLU."""

    features: int
    size: int
    form: str
    group_size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[N, H, W, C]` to half or twice the rows and columns."""
        edge = (self.size - 2) // 2
        size = (self.size, self.size)
        if self.form == "down":
            padding = ((edge, edge), (edge, edge))
            conv = nn.Conv(self.features, size, (2, 2), padding, name="conv")
        else:
            conv = nn.ConvTranspose(self.features, size, (2, 2), "SAME", name="conv")
        norm = nn.GroupNorm(num_groups=None, group_size=self.group_size, name="norm")
        return nn.leaky_relu(norm(conv(x)), SLOPE)


class LinenConvLSTM(nn.Module):
    """One `nn.ConvLSTMCell` each way of time, concatenated."""

    features: int
    size: int
    bidirectional: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[B, T, H, W, C]` to `[B, T, H, W, features]`."""
        ways = ("forward", "backward") if self.bidirectional else ("forward",)
        states = []
        for way in ways:
            size = (self.size, self.size)
            cell = nn.ConvLSTMCell(self.features // len(ways), size, name=way)
            late = way == "backward"
            states.append(nn.RNN(cell, reverse=late, keep_order=True)(x))
        return jnp.concatenate(states, axis=-1)


class LinenUNet(nn.Module):
    """The U-Net over time; attributes as in `fluoro_jax.models.unet.UNet`."""

    levels: int
    base: int
    cap: int
    size: int
    lstm_skips: bool
    lstm_size: int
    bidirectional: bool
    group_size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[B, T, H, W, C]` to logits `[B, T, H, W]`."""
        b, t = x.shape[:2]
        block = lambda features, form, name: LinenBlock(
            features, self.size, form, self.group_size, name=name
        )

        def remember(x: Array, level: int) -> Array:
            name = f"lstm_{level}"
            layer = LinenConvLSTM(
                x.shape[-1], self.lstm_size, self.bidirectional, name=name
            )
            return layer(x.reshape(b, t, *x.shape[1:])).reshape(x.shape)

        x = x.reshape(b * t, *x.shape[2:])
        channels = widths(self.levels, self.base, self.cap)
        skips = []
        for level, features in enumerate(channels):
            x = block(features, "down", f"down_{level}")(x)
            skips.append(x)
        x = remember(skips.pop(), self.levels - 1)
        for level in reversed(range(self.levels - 1)):
            skip = remember(skips[level], level) if self.lstm_skips else skips[level]
            x = block(channels[level], "up", f"up_{level + 1}")(x)
            x = jnp.concatenate([x, skip], axis=-1)
        x = block(self.base, "up", "up_0")(x)
        logits = nn.Conv(1, (3, 3), name="logit")(x)
        return logits.reshape(b, t, *logits.shape[1:3])


class LinenGenerator(nn.Module):
    """The whole net with the sizes of one of ours, in float32.

    Attributes:
        like: the generator whose attributes count (remat and dtype do not).
    """

    like: Generator

    @nn.compact
    def __call__(self, stack: Array) -> GeneratorOutput:
        """Line integrals `[B, T, H, W, 3]` to logits."""
        like = self.like
        common: dict[str, Any] = dict(
            base=like.base,
            cap=like.cap,
            lstm_size=like.lstm_kernel,
            bidirectional=like.bidirectional,
            group_size=like.group_size,
        )
        x = (stack - like.input_mean) / like.input_scale
        coarse = LinenUNet(
            like.levels, size=like.kernel, lstm_skips=True, name="coarse", **common
        )(x)
        residual = LinenUNet(
            like.refine_levels,
            size=like.refine_kernel,
            lstm_skips=False,
            name="refine",
            **common,
        )(nn.sigmoid(coarse)[..., None])
        return GeneratorOutput(coarse, coarse + residual)


def linen_params(ours: Mapping[str, Any], *, gradient: bool = False) -> dict[str, Any]:
    """Our generator's parameters, or their gradient, in linen's layout.

    Linen's cell has two biases whose sum is our one: the second is set to zero. A
    gradient is the same for both.

    Args:
        ours: nested dict of arrays as `Generator.init` makes it.
        gradient: `ours` is a gradient.
    """
    if "input_kernel" in ours:
        return _cells(ours, gradient)
    nested = lambda v: linen_params(v, gradient=gradient)
    return {k: nested(v) if isinstance(v, Mapping) else v for k, v in ours.items()}


def _cells(ours: Mapping[str, Any], gradient: bool) -> dict[str, Any]:
    ways = [way for way in ("forward", "backward") if f"{way}_kernel" in ours]
    kernels = np.split(np.asarray(ours["input_kernel"]), len(ways), axis=-1)
    biases = np.split(np.asarray(ours["bias"]), len(ways))
    return {
        way: {
            "ih": {"kernel": kernel, "bias": bias},
            "hh": {
                "kernel": ours[f"{way}_kernel"],
                "bias": bias if gradient else np.zeros_like(bias),
            },
        }
        for way, kernel, bias in zip(ways, kernels, biases, strict=True)
    }
