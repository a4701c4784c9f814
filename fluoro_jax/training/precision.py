"""The precision in which the networks compute: the one place that applies it.

`gen.dtype` and `critic.dtype` are the types of the computation; `matmul_precision` is
that of products and convolutions of float32 numbers, which an accelerator computes in
fewer bits unless told otherwise: TF32 has the range of float32 and 10 bits of mantissa
for 23. On a CPU both are the same, bit by bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from fluoro_jax.models.generator import Generator

PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32"}  # ours: JAX's


def at_precision(cfg: Any, function: Callable) -> Callable:
    """Returns `function`, traced at `cfg.matmul_precision` in any thread."""

    # Inside of what is traced: JAX's setting belongs to a thread, and programs are
    # compiled in another one (`progress.FirstCall`). Around the gradient, not the
    # network alone: backward passes of our own are traced after the network returned.
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision(PRECISIONS[cfg.matmul_precision]):
            return function(*args, **kwargs)

    return traced


class PreciseGenerator(Generator):
    """A generator whose `apply` is traced at a precision of its own.

    So validation, evaluation, streaming and the zoo's weights, which all call `apply`,
    need no further care. It hashes by its attributes, so programs of two precisions are
    kept apart.
    """

    matmul_precision: str = "highest"

    @nn.nowrap
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """See `flax.linen.Module.apply`."""
        with jax.default_matmul_precision(PRECISIONS[self.matmul_precision]):
            return super().apply(*args, **kwargs)


def make_generator(cfg: Any) -> Generator:
    """Returns the generator of a config, at its precision."""
    return PreciseGenerator(**cfg.gen, matmul_precision=cfg.matmul_precision)


def precision_name(cfg: Any, net: str = "gen") -> str:
    """Returns float32, tf32 or bfloat16: in what a network's products are computed.

    Args:
        cfg: reads `matmul_precision` and the network's `dtype`.
        net: "gen" or "critic".
    """
    dtype = cfg[net].dtype
    exact = cfg.matmul_precision == "highest" or dtype != "float32"
    return dtype if exact else cfg.matmul_precision


def describe_precision(cfg: Any) -> str:
    """Returns the precision of both networks for a record, as "float32"."""
    gen, critic = precision_name(cfg), precision_name(cfg, "critic")
    return gen if gen == critic else f"{gen}, critic {critic}"
