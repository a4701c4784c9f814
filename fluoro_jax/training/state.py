"""The training state, one pytree of arrays, and its start."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from fluoro_jax.data.stack import stack_channels

Array = jax.Array
PyTree = Any


@struct.dataclass
class NetState:
    """The training state of one of the two networks.

    Attributes:
        params: its parameters, float32.
        opt_state: the state of its optimizer.
        updates: int32 scalar, updates tried so far (skipped ones count).
    """

    params: PyTree
    opt_state: optax.OptState
    updates: Array


@struct.dataclass
class TrainState:
    """Arrays only: no keys, no functions, no optimizer.

    Attributes:
        gen: the generator.
        critic: the critic.
        ema: moving average of the generator's parameters; what is evaluated.
        skipped: int32 scalar, updates that were not finite and changed nothing.
    """

    gen: NetState
    critic: NetState
    ema: PyTree
    skipped: Array


def stream(seed: int, name: str, step: Array | int) -> Array:
    """Derives a PRNG key from (seed, name, step), so checkpoints need no key."""
    # crc32, not `hash`: Python salts the hashes of strings in every process. Shifted to
    # 31 bits, since a Python number from 2^31 on is no int32.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()) >> 1)
    return jax.random.fold_in(key, step)


def per_example(key: Array, ids: Array) -> Array:
    """One key per example from its global id `[B]`: the same on any device count."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)


def init_state(
    cfg: Any,
    gen: nn.Module,
    critic: nn.Module,
    *,
    gen_tx: optax.GradientTransformation,
    critic_tx: optax.GradientTransformation,
) -> TrainState:
    """The state before the first update, a pure function of the config.

    Args:
        cfg: seed, study.{num_frames, rows, cols}, data.stack.
        gen: `[B, T, H, W, C] -> GeneratorOutput`, C = stack_channels(data.stack).
        critic: `[B, T, H, W] -> [B]`.
        gen_tx: the generator's optimizer.
        critic_tx: the critic's optimizer.
    """
    # One example: shapes of parameters do not depend on the batch.
    clip = (1, cfg.study.num_frames, cfg.study.rows, cfg.study.cols)
    stack = (*clip, stack_channels(cfg.data.stack))
    gen_params = gen.init(stream(cfg.seed, "gen", 0), jnp.zeros(stack))["params"]
    critic_params = critic.init(stream(cfg.seed, "critic", 0), jnp.zeros(clip))
    critic_params = critic_params["params"]
    zero = jnp.zeros((), jnp.int32)
    return TrainState(
        gen=NetState(gen_params, gen_tx.init(gen_params), zero),
        critic=NetState(critic_params, critic_tx.init(critic_params), zero),
        ema=gen_params,
        skipped=zero,
    )


def to_host(tree: PyTree) -> PyTree:
    """A copy in host memory, NumPy leaves (0-d ones too)."""
    # `np.array` copies: `device_get` may hand out the device's own buffer on a CPU,
    # which a donation then overwrites.
    return jax.tree.map(np.array, jax.device_get(tree))


def leaf_digests(tree: PyTree) -> dict[str, str]:
    """sha256 of dtype, shape and bytes of every leaf, by its path."""
    digests = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        leaf = np.ascontiguousarray(leaf)
        # Type and shape too: the same bytes may be other numbers.
        kind = f"{leaf.dtype.str}{leaf.shape}".encode()
        whole = hashlib.sha256(kind + leaf.tobytes()).hexdigest()
        digests[jax.tree_util.keystr(path)] = whole
    return digests


def digest(tree: PyTree) -> str:
    """One sha256 over all leaves and their paths: equal states, equal digests."""
    whole = hashlib.sha256()
    # Sorted by path, so that the order of a container's fields does not matter.
    for path, leaf in sorted(leaf_digests(tree).items()):
        whole.update(f"{path}:{leaf}\n".encode())
    return whole.hexdigest()
