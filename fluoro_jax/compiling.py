"""Options of XLA on a CPU: programs that compile sooner, or answer a frame sooner.

`QUICK` is for programs of many small kernels that run for milliseconds or a few hundred
times. Programs that spend their time in large fused kernels, as drawing and projecting
a body do, run up to twice as slowly so and are compiled as usual. `STREAM` is for a
network that sees one frame at a time.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.core import Tracer

from fluoro_jax.devices import current_device

# XLA's emitters of fused kernels compile a module for each kernel. Measured with and
# without in docs/performance.md ("The first ten minutes").
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}
# Convolutions by the library YNNPACK: a frame of the causal network took 0.85 of the
# time without (docs/performance.md, "Streaming").
STREAM = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
    )
}


class QuickToCompile:
    """A jitted or pmapped function, compiled with `QUICK` on a CPU.

    `jax.pmap` takes no compiler options, and `jax.jit` takes them only outside of a
    trace: each program is compiled ahead and kept by the types and devices of its
    arguments. Within a trace the function itself is called.

    Args:
        jitted: has `lower`; without static arguments.
        platform: of its devices; by default JAX's own.
    """

    def __init__(self, jitted: Any, platform: str | None = None) -> None:
        functools.update_wrapper(self, jitted)
        self._jitted, self._platform = jitted, platform
        self._programs: dict[Any, Callable] = {}

    def __call__(self, *args: Any) -> Any:
        """Returns `jitted(*args)`."""
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
            return self._jitted(*args)
        return self.compile(*args)(*args)

    def compile(self, *args: Any) -> Any:
        """Returns the compiled program for these arguments, compiled once."""
        leaves, tree = jax.tree.flatten(args)
        # Arguments that are on no device yet go to the current one, which may change.
        here = current_device()
        key = (tree, here, *(_kind(leaf) for leaf in leaves))
        if key not in self._programs:
            platform = self._platform or here.platform
            options = known_options(QUICK, platform)
            lowered = self._jitted.lower(*args)
            self._programs[key] = lowered.compile(compiler_options=options)
        return self._programs[key]

    def _cache_size(self) -> int:
        # The name that JAX's own jitted functions have for it.
        return len(self._programs)


def _kind(leaf: Any) -> tuple:
    # Not the sharding: a state that an update returns differs there from the first one
    # in name only.
    where = frozenset(leaf.devices()) if isinstance(leaf, jax.Array) else None
    kind = jax.typeof(leaf)
    return kind.shape, kind.dtype, kind.weak_type, where


def known_options(wanted: Mapping[str, Any], platform: str) -> dict[str, Any]:
    """Returns those options that this jaxlib knows and XLA_FLAGS does not set.

    Args:
        wanted: `QUICK` or `STREAM`.
        platform: what the program is for; all options are of "cpu" alone.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if platform != "cpu":
        return {}
    return {
        name: value
        for name, value in wanted.items()
        if name not in given and _is_known(name, value)
    }


@functools.cache
def _is_known(name: str, value: Any) -> bool:
    # XLA refuses every option that it does not know, and options come and go.
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
