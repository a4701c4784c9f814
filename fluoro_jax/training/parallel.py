"""Devices and processes; the only module that uses `pmap`.

The state has no leading device axis: it is placed once, the same on every device of
every process, goes in and comes out whole, and is read with `jax.device_get`. Only the
batch is divided.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from fluoro_jax.compiling import QuickToCompile
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
    # Contiguous shares, in the order of the devices: the same examples on one and on
    # four.
    split = lambda x: np.reshape(x, (len(devices), -1, *np.shape(x)[1:]))
    return jax.device_put(jax.tree.map(split, batch), _over(devices, jax.P(AXIS)))


class Program:
    """`(state, *batches) -> (state, averages)` over all devices; the state is donated.

    Args:
        call: the same, without waiting.
        wait: come back only when the answer is there.
        heaviest: `(state, *batches)` to the compiled program of the call that needs
            most memory, and what it reads besides the state.
    """

    def __init__(self, call: Callable, wait: bool, heaviest: Callable) -> None:
        self._call, self._wait, self._heaviest = call, wait, heaviest

    def __call__(self, state: PyTree, *batches: PyTree) -> tuple[PyTree, PyTree]:
        """One update."""
        answer = self._call(state, *batches)
        return jax.block_until_ready(answer) if self._wait else answer

    def compile(self, state: PyTree, *batches: PyTree) -> Any:
        """Compiles the heaviest program of a call ahead, in most calls the only one."""
        return self._heaviest(state, *batches)[0]

    def bytes_beside_state(self, state: PyTree, *batches: PyTree) -> int | None:
        """Bytes one device needs for a call besides the state; None if XLA won't say.

        Compiles ahead, as `compile` does.
        """
        compiled, others = self._heaviest(state, *batches)
        memory = compiled.memory_analysis()
        if memory is None:
            return None
        # Shards are of one size, so the first stands for any device.
        on_one = lambda leaf: leaf.addressable_shards[0].data.nbytes
        given = sum(on_one(leaf) for leaf in jax.tree.leaves(others))
        # Donated inputs are written over: outputs that alias them need no memory of
        # their own.
        new = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return memory.temp_size_in_bytes + new + given


def p_update(
    update_fn: Callable, *, devices: Devices = None, quick: bool = False
) -> Program:
    """One update from one micro-batch: `update_fn` over all devices.

    On several *virtual* devices of a CPU it waits for each update: with more than one
    under way XLA's collectives block the threads they are waiting for (seen as
    "Termination timeout for all reduce" with 4 devices on 2 cores).

    Args:
        update_fn: `(state, batch)` to the new state and averages, on one device.
        devices: all by default.
        quick: compile with `QuickToCompile`, where one process has all devices.
    """
    # The state goes in and comes out whole (None): XLA keeps one copy a device, and
    # none has a leading axis to take off.
    program = jax.pmap(
        update_fn,
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        # The state alone: batches may be used by the critic's update too.
        donate_argnums=(0,),
        devices=devices,
    )
    # Compiled ahead, pmap's program asks each of several processes for the whole batch.
    if quick and jax.process_count() == 1:
        quickly = QuickToCompile(program, _platform(devices))
        heaviest = lambda state, batch: (quickly.compile(state, batch), batch)
        return Program(quickly, _virtual(devices), heaviest)
    heaviest = lambda state, batch: (program.lower(state, batch).compile(), batch)
    return Program(program, _virtual(devices), heaviest)


def p_accumulated(update: Any, count: int, *, devices: Devices = None) -> Program:
    """One update from `count` micro-batches: the mean of their gradients.

    Each device sums over its micro-batches in calls of one program that has neither a
    loop (convolutions inside XLA's loops took ten times longer on a CPU) nor a
    collective; a second, small one averages over the devices, once, and updates.

    Args:
        update: `training.step.Update`.
        count: micro-batches, at least 2.
        devices: all by default.
    """
    empty, add, finish = accumulating(update, count)
    p_map = functools.partial(jax.pmap, axis_name=AXIS, devices=devices)
    # Only the state comes in whole: each device keeps sums of its own until `finish`.
    p_empty = p_map(empty, in_axes=(None, 0))
    # The sums are donated, so that a step needs one copy of the gradients, not `count`.
    p_add = p_map(add, in_axes=(None, 0, 0), donate_argnums=(2,))
    # The state is donated here, once nothing reads it any more.
    p_finish = p_map(
        finish, in_axes=(None, 0), out_axes=(None, None), donate_argnums=(0,)
    )
    wait = _virtual(devices)

    def call(state: PyTree, *batches: PyTree) -> tuple[PyTree, PyTree]:
        assert len(batches) == count
        sums = p_empty(state, batches[0])
        for batch in batches:
            sums = p_add(state, batch, sums)
        return p_finish(state, jax.block_until_ready(sums) if wait else sums)

    def heaviest(state: PyTree, *batches: PyTree) -> tuple[Any, PyTree]:
        # `add` is the heaviest: `finish` has no activations.
        others = (batches[0], p_empty(state, batches[0]))
        return p_add.lower(state, *others).compile(), others

    return Program(call, wait, heaviest)


def accumulating(update: Any, count: int) -> tuple[Callable, Callable, Callable]:
    """The three parts of `p_accumulated`, each for one device of many.

    Returns:
        `(state, batch)` to sums of nothing; `(state, batch, sums)` to those with one
        micro-batch more; `(state, sums)` of `count` to the new state and averages.
    """

    def empty(state: PyTree, batch: PyTree) -> PyTree:
        shapes = jax.eval_shape(update.gradients, state, batch)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(state: PyTree, batch: PyTree, sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, update.gradients(state, batch))

    def finish(state: PyTree, sums: PyTree) -> tuple[PyTree, PyTree]:
        grads, averages = sums
        # Averages are sums with counts already (`clu.metrics.Average`): only gradients
        # are divided.
        grads = jax.tree.map(lambda g: g / count, grads)
        return update.apply(state, (grads, averages))

    return empty, add, finish


def _platform(devices: Devices) -> str:
    return (devices or jax.devices())[0].platform


def _virtual(devices: Devices) -> bool:
    return len(devices or jax.devices()) > 1 and _platform(devices) == "cpu"


def mean_over_devices(tree: PyTree) -> PyTree:
    """The mean of float32 arrays over all devices; inside an update only.

    As one vector, so that an update waits for the other devices once, however many
    arrays it has (`pmean` of a tree is a collective for each leaf).
    """
    flat, restore = jax.flatten_util.ravel_pytree(tree)
    return restore(jax.lax.pmean(flat, AXIS))


def wait_for_all(name: str) -> None:
    """Returns when every process of the run has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


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
