"""Random numbers, and what it means for two trees to be equal."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

# For networks so small that compiling them well takes longer than running them.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_params(net, *inputs):
    """Parameters of a network, drawn by NumPy: its own `init` takes long to compile.

    Kernels have a variance of one over their inputs, scales are one, and biases small.
    """
    made = jax.eval_shape(net.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape)
        if len(leaf.shape) > 1:
            values /= np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            values = 0.1 * values + (path[-1].key == "scale")
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, made)


def close(ours, theirs, rtol=2e-4):
    """Equal to `rtol` of the largest value of each leaf, which must not be zero."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        most = float(jnp.abs(b).max())
        assert most > 1e-6
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * most)
