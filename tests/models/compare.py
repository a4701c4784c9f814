"""Random numbers, and what it means for two trees to be equal."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from draws import random_params as random_params

# For networks so small that compiling them well takes longer than running them.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def normal(seed, *shape):
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return jnp.asarray(drawn)


def close(ours, theirs, rtol=2e-4):
    """Equal to `rtol` of the largest value of each leaf, which must not be zero."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        most = float(np.abs(np.asarray(b)).max())
        assert most > 1e-6
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * most)
