"""The critic: one score for a whole sequence of masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Real

from fluoro_jax.models.conv_lstm import ConvLSTM
from fluoro_jax.models.unet import Block, widths

Array = jax.Array


class Critic(nn.Module):
    """The generator's way down with fewer levels, a ConvLSTM, one dense layer.

    Reads masks alone, without the frames. Examples are never mixed (the gradient
    penalty is one of each example). Attributes are `cfg.critic`.

    Source:
        Peng et al., IEEE TRPMS 2022; "sigmoid" is the paper's output, "linear" that of
        Gulrajani et al. 2017, arXiv:1704.00028.
    """

    levels: int = 5
    base: int = 16
    cap: int = 128
    kernel: int = 4
    lstm_kernel: int = 3
    output: str = "sigmoid"
    dtype: str = "float32"
    group_size: int = 4

    @nn.compact
    def __call__(self, mask: Real[Array, "B T H W"]) -> Float[Array, " B"]:
        """Mask or probability `[B, T, H, W]` to a score `[B]`, float32."""
        b, t, rows, cols = mask.shape
        # Frames are examples here: the group norm sees one frame at a time.
        x = mask.reshape(b * t, rows, cols, 1)
        for level, features in enumerate(widths(self.levels, self.base, self.cap)):
            x = Block(
                features,
                self.kernel,
                "down",
                self.group_size,
                self.dtype,
                name=f"down_{level}",
            )(x)
        x = ConvLSTM(
            x.shape[-1],
            self.lstm_kernel,
            dtype=self.dtype,
            name="lstm",
        )(x.reshape(b, t, *x.shape[1:]))
        # In float32 whatever the layers compute in: the penalty differentiates this
        # score twice. All frames and pixels enter one dense layer, so its size depends
        # on the frame's.
        x = x.reshape(b, -1).astype(jnp.float32)
        score = nn.Dense(1, name="score")(x)[:, 0]
        return nn.sigmoid(score) if self.output == "sigmoid" else score
