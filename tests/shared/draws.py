"""Parameters of networks, drawn without compiling their `init`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


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
        return jnp.asarray(values.astype(leaf.dtype))  # cast on the host: no program

    return jax.tree_util.tree_map_with_path(draw, made)
