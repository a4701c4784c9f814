"""The U-Net over time that the coarse and the refinement network share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from fluoro_jax.models.conv import Conv
from fluoro_jax.models.conv_lstm import ConvLSTM

Array = jax.Array
SLOPE = 0.2  # of the leaky ReLU; not in the paper, pix2pix's


def widths(levels: int, base: int, cap: int) -> list[int]:
    """Channels of every level: min(base 2^i, cap)."""
    return [min(base * 2**i, cap) for i in range(levels)]


class Block(nn.Module):
    """Convolution that halves or doubles the frame, norm of each frame, leaky ReLU.

    Attributes:
        features: output channels.
        size: kernel rows and columns.
        form: "down" or "up", or "pool down" or "pool up": see `Conv`.
        group_size: channels a group in the norm.
        dtype: of the computation.
    """

    features: int
    size: int
    form: str
    group_size: int
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[N, H, W, C]` to half or twice the rows and columns."""
        x = Conv(self.features, self.size, self.form, self.dtype, name="conv")(x)
        # Of each frame alone, since frames are examples: a batch norm would mix
        # examples, frames and devices.
        norm = nn.GroupNorm(
            num_groups=None, group_size=self.group_size, dtype=self.dtype, name="norm"
        )
        return nn.leaky_relu(norm(x), SLOPE)


class UNet(nn.Module):
    """Down by strided, up by transposed convolutions; ConvLSTM at the bottom.

    Or, with `resample` "pool", down by max pooling and up by bilinear interpolation,
    each with a stride-one convolution of the same size and channels.

    Level 0 already strides: there is no skip at full resolution.

    Attributes:
        levels: times the frame is halved.
        base: channels of level 0.
        cap: most channels of a level.
        size: kernel rows and columns of the convolutions.
        lstm: "all", a ConvLSTM in every skip too; "bottom"; or "none", no memory:
            what would go through a ConvLSTM goes on as it is.
        resample: "stride" or "pool".
        lstm_size: kernel of the ConvLSTM.
        bidirectional: of the ConvLSTM.
        group_size: channels a group in the norm.
        remat: recompute a block's inner values in the backward pass.
        dtype: of the computation.
        outputs: logits of every cell of the input grid.
    """

    levels: int
    base: int
    cap: int
    size: int
    lstm: str
    resample: str
    lstm_size: int
    bidirectional: bool
    group_size: int
    remat: bool
    dtype: str
    outputs: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`[B, T, H, W, C]` to logits `[B, T, H, W, outputs]`, float32."""
        b, t = x.shape[:2]
        # `remat` keeps names and parameters, so checkpoints of either kind fit the
        # other.
        block = nn.remat(Block) if self.remat else Block
        lstm = nn.remat(ConvLSTM) if self.remat else ConvLSTM
        kind = "pool " if self.resample == "pool" else ""
        # `freeze.labels` and stored weights know the layers by these names.
        make = lambda features, form, name: block(
            features, self.size, kind + form, self.group_size, self.dtype, name=name
        )
        bottom = self.levels - 1

        def remember(x: Array, level: int) -> Array:
            if self.lstm == "none" or (self.lstm == "bottom" and level < bottom):
                return x
            layer = lstm(
                x.shape[-1],
                self.lstm_size,
                self.bidirectional,
                self.dtype,
                name=f"lstm_{level}",
            )
            # Frames apart for the ConvLSTM, together again for the convolutions.
            return layer(x.reshape(b, t, *x.shape[1:])).reshape(x.shape)

        x = x.reshape(b * t, *x.shape[2:])
        channels = widths(self.levels, self.base, self.cap)
        skips = []
        for level, features in enumerate(channels):
            x = make(features, "down", f"down_{level}")(x)
            skips.append(x)
        # The deepest skip is the bottom itself, not one more skip.
        x = remember(skips.pop(), bottom)
        for level in reversed(range(bottom)):
            skip = remember(skips[level], level)
            x = make(channels[level], "up", f"up_{level + 1}")(x)
            x = jnp.concatenate([x, skip], axis=-1)
        x = make(self.base, "up", "up_0")(x)
        # The losses need float32: SSIM's variances cancel in bfloat16.
        logits = Conv(self.outputs, 3, "same", self.dtype, name="logit")(x)
        return logits.reshape(b, t, *logits.shape[1:]).astype(jnp.float32)
