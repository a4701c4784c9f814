"""The generator: a coarse U-Net over time, and one that refines its answer."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Real

from fluoro_jax.models.background import remove_background
from fluoro_jax.models.conv_lstm import STREAM
from fluoro_jax.models.unet import UNet

Array = jax.Array
Stack = Real[Array, "B T H W C"]  # frames, neighbours in time as channels
Masks = Float[Array, "B T H W"]


class GeneratorOutput(NamedTuple):
    """Logits of the coarse and of the refined mask, each `[B, T, H, W]` float32."""

    coarse_logits: Masks
    logits: Masks


class Generator(nn.Module):
    """Stacked frames to mask logits: S_refined = S_coarse + S_residual, as logits.

    The paper adds scores; a sum of probabilities would leave [0, 1], so logits are
    added (as in BASNet, Qin et al. 2019) and the sigmoid comes after. Without levels
    of refinement the coarse answer is the answer. With `patch` s > 1 (ours) the
    networks work on cells of s x s pixels: a dense stem reads each cell, and ss logits
    a cell are unfolded to pixels. Attributes are `cfg.gen` (see
    `configs/base.py`).

    Source:
        Peng et al., IEEE TRPMS 2022, eq. 1 and 3; what is ours is said in the config.
    """

    levels: int = 7
    base: int = 16
    cap: int = 128
    kernel: int = 4
    refine_levels: int = 5
    refine_kernel: int = 2
    lstm_kernel: int = 3
    bidirectional: bool = True
    lstm: str = "all"
    resample: str = "stride"
    group_size: int = 4
    remat: bool = False
    dtype: str = "float32"
    input_mean: float = 3.0
    input_scale: float = 2.0
    background_px: float = 0.0
    patch: int = 1
    stem: int = 0

    @nn.compact
    def __call__(self, stack: Stack) -> GeneratorOutput:
        """Returns logits of stacked line integrals `[B, T, H, W, C]`.

        C is `data.stack.stack_channels(mode)`, 3 or (mode "moving") 4.
        """
        common: dict[str, Any] = dict(
            base=self.base,
            cap=self.cap,
            resample=self.resample,
            lstm_size=self.lstm_kernel,
            bidirectional=self.bidirectional,
            group_size=self.group_size,
            remat=self.remat,
            dtype=self.dtype,
            outputs=self.patch**2,
        )
        # Line integrals first, then fixed constants: statistics of the clip would leak
        # later frames, and streamed answers would differ from those of the whole
        # sequence.
        if self.background_px:
            stack = remove_background(stack, self.background_px)
        x = (stack - self.input_mean) / self.input_scale
        if self.patch > 1:
            x = nn.Dense(self.stem, dtype=self.dtype, name="stem")(
                to_patches(x, self.patch)
            )
        cells = UNet(
            self.levels, size=self.kernel, lstm=self.lstm, name="coarse", **common
        )(x)
        # Both are kept: the refinement reads cells, the answer is in pixels.
        coarse = from_patches(cells, self.patch)
        if not self.refine_levels:
            return GeneratorOutput(coarse, coarse)
        # The paper's refinement: probabilities in, and a ConvLSTM at its bottom at
        # most.
        residual = UNet(
            self.refine_levels,
            size=self.refine_kernel,
            lstm="none" if self.lstm == "none" else "bottom",
            name="refine",
            **common,
        )(nn.sigmoid(cells))
        return GeneratorOutput(coarse, coarse + from_patches(residual, self.patch))


def to_patches(x: Real[Array, "B T H W C"], size: int) -> Real[Array, "B T h w ssC"]:
    """Pixels to channels of their patch: `[B, T, H, W, C]` to `[B, T, H/s, W/s, ssC]`.

    Args:
        x: rows and columns divisible by `size`.
        size: s, pixels a side of a patch.
    """
    b, t, rows, cols, c = x.shape
    x = x.reshape(b, t, rows // size, size, cols // size, size, c)
    x = x.transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(b, t, rows // size, cols // size, size * size * c)


def from_patches(x: Real[Array, "B T h w ss"], size: int) -> Real[Array, "B T H W"]:
    """Inverse of `to_patches`, one channel: `[B, T, h, w, ss]` to `[B, T, hs, ws]`."""
    b, t, rows, cols, _ = x.shape
    x = x.reshape(b, t, rows, cols, size, size).transpose(0, 1, 2, 4, 3, 5)
    return x.reshape(b, t, rows * size, cols * size)


def predict(generator: Any, params: Any, stack: Stack) -> Masks:
    """Returns mask probabilities `[B, T, H, W]` of stacked frames `[B, T, H, W, C]`.

    Args:
        generator: a `Generator`, or a module with the same output.
        params: its parameters.
        stack: of `data.stack.stack_frames`.
    """
    output = cast(GeneratorOutput, generator.apply({"params": params}, stack))
    # A `Generator` answers in float32 already; another module may not.
    return jax.nn.sigmoid(output.logits.astype(jnp.float32))


def init_carry(
    generator: Generator, params: Any, stack: Array | jax.ShapeDtypeStruct
) -> Any:
    """The state of every ConvLSTM before the first frame.

    Args:
        generator: forward in time only.
        params: its parameters.
        stack: `[B, T, H, W, C]`, of which only the shape counts.

    Returns:
        A pytree of zeros for `step`, empty for a generator without a ConvLSTM.
    """
    # The state's shapes come from tracing alone; nothing is computed.
    run = lambda params, x: generator.apply({"params": params}, x, mutable=[STREAM])[1]
    shapes = jax.eval_shape(run, params, stack).get(STREAM, {})
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def step(
    generator: Generator, params: Any, carry: Any, stack: Stack
) -> tuple[Any, Masks]:
    """The next frame or frames of a sequence, given the state after those before.

    Frame by frame it answers what `predict` answers for the whole sequence.

    Args:
        generator: forward in time only.
        params: its parameters.
        carry: of `init_carry`, or of the call before.
        stack: `[B, T, H, W, C]`; T = 1 for one frame.

    Returns:
        New carry, and mask probabilities `[B, T, H, W]`.
    """
    variables = {"params": params, STREAM: carry}
    # `mutable` makes `apply` return the collection's new value beside the output.
    output, left = generator.apply(variables, stack, mutable=[STREAM])
    output = cast(GeneratorOutput, output)
    return left.get(STREAM, {}), jax.nn.sigmoid(output.logits)
