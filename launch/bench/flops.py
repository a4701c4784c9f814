"""Floating point operations of the networks, counted by hand from their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict


def unet_gflop(
    params: Mapping[str, Any], pixels: int, frames: int, first: int = 0
) -> float:
    """Returns the operations of one forward pass of a U-Net or the critic's encoder.

    A convolution takes 2 x taps x inputs x outputs operations for each pixel it
    computes (strided, 3 x 3) or reads (transposed). Norms, gates and activations are
    not counted: under 2 % here.

    Args:
        params: of `fluoro_jax.models.unet.UNet` or of the critic.
        pixels: of one frame.
        frames: T times the batch.
        first: level of an "lstm" that has no number (the critic's).

    Returns:
        10^9 operations; forward and backward together are three times that.
    """
    total = 0.0
    for name, part in params.items():
        kind, _, number = name.partition("_")
        level = int(number) if number else first
        leaves: Any = flatten_dict(part).items()
        kernels = [np.prod(v.shape) for k, v in leaves if k[-1].endswith("kernel")]
        places = pixels if kind == "logit" else pixels / 4 ** (level + 1)
        if kind == "score":
            total += 2.0 * float(sum(kernels))
            continue
        total += 2.0 * frames * places * float(sum(kernels))
    return total / 1e9


def generator_gflop(params: Mapping[str, Any], pixels: int, frames: int) -> float:
    """Returns the operations of one forward pass of the generator, 10^9.

    Arguments as of `unet_gflop`.
    """
    return sum(unet_gflop(params[net], pixels, frames) for net in ("coarse", "refine"))
