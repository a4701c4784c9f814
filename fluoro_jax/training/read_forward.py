"""A network that reads a clip both ways in time, as one that reads the past alone.

Training a causal network from the start costs as much as the first did. Instead it may
start from the weights of one that reads both ways: every cell that ran backward then
runs forward too, and the frame after is replaced by the frame before last. The result
is a start, not an equal: what the backward cells learned of later frames is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.config import Config
from fluoro_jax.config_rules import PAST_STACKS

PyTree = Any
GATES = 4  # of a ConvLSTM
# Channels (t-1, t, t+1) of a network that reads ahead, in the places of (t-2, t-1, t):
# the next frame's weights read the frame before last.
PAST_OF_NEIGHBOURS = (2, 0, 1)


def start_causal(params: PyTree, cfg: Config) -> PyTree:
    """Returns a parent's parameters as the start of a run that reads the past alone.

    Args:
        params: of the parent's `Generator`.
        cfg: the run's config; of a run that reads both ways, or whose parent does not,
            the parameters are returned as they are.
    """
    if cfg.gen.bidirectional or not _reads_both_ways(params):
        return params
    params = read_forward(params)
    # A parent that runs both ways cannot have such a stack: configs refuse it.
    if cfg.data.stack in PAST_STACKS:
        params = read_past(params, cfg.gen.patch)
    return params


def read_forward(params: PyTree) -> PyTree:
    """Returns the parameters with both cells of every ConvLSTM running forward.

    A forward-only network with these parameters answers what the given one would answer
    if its backward cells were run forward in time: the recurrent kernel of a layer is
    block-diagonal, one block for each former direction.

    Args:
        params: of a `Generator` with `bidirectional` True.

    Returns:
        Parameters of the same `Generator` with `bidirectional` False.
    """
    if not isinstance(params, Mapping):
        return params
    if "backward_kernel" in params:
        return _one_cell(params)
    return {name: read_forward(branch) for name, branch in params.items()}


def _reads_both_ways(params: PyTree) -> bool:
    paths = jax.tree_util.tree_leaves_with_path(params)
    return any("backward_kernel" in jax.tree_util.keystr(path) for path, _ in paths)


def _one_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """One ConvLSTM of twice the channels from a pair that shares the input."""
    ways = [np.asarray(cell[f"{way}_kernel"]) for way in ("forward", "backward")]
    size, _, width, _ = ways[0].shape
    # Rows: the former direction that is read; columns: gate, then direction.
    kernel = np.zeros((size, size, 2, width, GATES, 2, width), np.float32)
    for i, way in enumerate(ways):
        kernel[:, :, i, :, :, i] = way.reshape(size, size, width, GATES, width)
    return {
        "input_kernel": _gates_first(cell["input_kernel"], width),
        "bias": _gates_first(cell["bias"], width),
        "forward_kernel": jnp.asarray(
            kernel.reshape(size, size, 2 * width, GATES * 2 * width)
        ),
    }


def _gates_first(values: Any, width: int) -> Any:
    """Last axis from (direction, gate, channel) to (gate, direction, channel)."""
    values = np.asarray(values)
    split = values.reshape(*values.shape[:-1], 2, GATES, width)
    return jnp.asarray(np.swapaxes(split, -3, -2).reshape(values.shape))


def read_past(params: PyTree, patch: int) -> PyTree:
    """Returns parameters whose first layer reads (t-2, t-1, t) for (t-1, t, t+1).

    A fourth channel, what moves, stays where it is.

    Args:
        params: of a `Generator` whose `stack` is "edge", "wrap" or "moving".
        patch: pixels a side of its cells, `gen.patch`.
    """
    params = dict(params)
    if patch > 1:
        stem = params["stem"]
        kernel = np.asarray(stem["kernel"])
        cells = kernel.reshape(patch * patch, -1, kernel.shape[-1])
        turned = _reorder(cells, axis=1).reshape(kernel.shape)
        return {**params, "stem": {**stem, "kernel": jnp.asarray(turned)}}
    coarse = dict(params["coarse"])
    first = coarse["down_0"]
    kernel = _reorder(np.asarray(first["conv"]["kernel"]), axis=2)
    conv = {**first["conv"], "kernel": jnp.asarray(kernel)}
    return {**params, "coarse": {**coarse, "down_0": {**first, "conv": conv}}}


def _reorder(values: np.ndarray, *, axis: int) -> np.ndarray:
    order = np.arange(values.shape[axis])
    order[:3] = PAST_OF_NEIGHBOURS
    return np.take(values, order, axis=axis)
