"""How many parameters the parts of the networks must have."""

from __future__ import annotations

import jax
from compare import quick_jit


def block(inputs, outputs, size):
    """Kernel, bias, and the norm's scale and shift."""
    return size**2 * inputs * outputs + 3 * outputs


def conv_lstm(channels, size, ways):
    """As many channels out as in, a share for each way."""
    part = channels // ways
    gates = size**2 * channels * 4 * channels + 4 * channels
    return gates + ways * size**2 * part * 4 * part


def parts(params):
    """{"down_0": its number of parameters, ...}"""
    total = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    return {name: total(tree) for name, tree in params.items()}


def spreads(module, params, x):
    """Standard deviation of every block's output and of the logits, by path."""
    wanted = lambda m, _: (m.name or "").startswith(("down_", "up_", "logit"))

    @quick_jit
    def run(params, x):
        kept = module.apply({"params": params}, x, capture_intermediates=wanted)[1]
        return jax.tree.map(lambda y: y.std(), kept["intermediates"])

    found = jax.tree_util.tree_leaves_with_path(run(params, x))
    return {jax.tree_util.keystr(path): float(sd) for path, sd in found}
