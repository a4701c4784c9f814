"""Devices and processes: the only place that knows `pmap`.

The state has no leading device axis: it is placed once, the same on every device of
every process, goes in and comes out whole, and is read with `jax.device_get`. Only the
batch is divided.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from fluoro_jax.errors import UserError

PyTree = Any
Build = Callable[..., PyTree]
Devices = Sequence[jax.Device] | None  # None: all there are

AXIS = "batch"


def place(init_fn: Build, *args: Any, devices: Devices = None) -> PyTree:
    """`init_fn(*args)`, built on every device (of every process) at once.

    The buffers belong to the result alone, so it may be donated.
    """
    where = _over(devices or jax.devices(), jax.P())
    # Runs once, so compile it without optimisation: the random bits of 60 kernels took
    # XLA 42 s on a CPU with it and 7 s without.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(init_fn, out_shardings=where, compiler_options=options)(*args)


def place_tree(tree: PyTree, *, devices: Devices = None) -> PyTree:
    """A tree of host arrays, the same in every process, on every device."""
    copy = lambda leaves: jax.tree.map(jnp.copy, leaves)
    return place(copy, tree, devices=devices)


def shard(batch: PyTree, *, devices: Devices = None) -> PyTree:
    """This process's examples `[b, ...]` to `[local devices, b / devices, ...]`."""
    devices = devices or jax.local_devices()
    split = lambda x: np.reshape(x, (len(devices), -1, *np.shape(x)[1:]))
    return jax.device_put(jax.tree.map(split, batch), _over(devices, jax.P(AXIS)))


def p_update(update_fn: Callable, *, devices: Devices = None) -> Callable:
    """`(state, batch) -> (state, averages)` over all devices; the state is donated.

    On several *virtual* devices of a CPU it waits for each update: with more than one
    under way XLA's collectives block the threads they are waiting for (seen as
    "Termination timeout for all reduce" with 4 devices on 2 cores).
    """
    program = jax.pmap(
        update_fn,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,),
        devices=devices,
    )
    devices = devices or jax.devices()
    if len(devices) == 1 or devices[0].platform != "cpu":
        return program
    return lambda state, batch: jax.block_until_ready(program(state, batch))


def mean_over_devices(tree: PyTree) -> PyTree:
    """The mean of float32 arrays over all devices; inside an update only.

    As one vector, so that an update waits for the other devices once, however many
    arrays it has (`pmean` of a tree is a collective for each leaf).
    """
    flat, restore = jax.flatten_util.ravel_pytree(tree)
    return restore(jax.lax.pmean(flat, AXIS))


def start_processes(*, detect: bool = False) -> bool:
    """Joins the other processes of a run; call before anything else touches JAX.

    Reads JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    Without the first, `detect=True` lets JAX ask the cluster (Slurm, TPU, MPI).

    Returns:
        True if processes were joined, False for a run of one process.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not address and not detect:
        return False
    if not address:
        jax.distributed.initialize()
        return True
    try:
        count = int(os.environ["JAX_NUM_PROCESSES"])
        index = int(os.environ["JAX_PROCESS_ID"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"JAX_COORDINATOR_ADDRESS = {address} without its companions ({error})",
            needed="JAX_NUM_PROCESSES and JAX_PROCESS_ID, whole numbers",
            why="each process must know how many there are and which one it is",
            fix="export all three, or none for a run of one process",
        ) from error
    jax.distributed.initialize(address, count, index)
    return True


def _over(
    devices: Sequence[Any], spec: jax.sharding.PartitionSpec
) -> jax.sharding.NamedSharding:
    return jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.asarray(devices), (AXIS,)), spec
    )
