"""What an update needs of a device's memory, said before it runs for the first time."""

from __future__ import annotations

import os
from typing import Any

import jax

from fluoro_jax.training.state import TrainState

PyTree = Any
MIB = 2**20


def report(
    name: str, beside: int | None, state: TrainState, *, free: int | None
) -> list[str]:
    """Lines for the user: the need, and a warning where it exceeds what is free.

    Args:
        name: of the update.
        beside: bytes it needs on one device besides the state; None if unknown.
        state: already on the devices.
        free: bytes free on one device; None if unknown.
    """
    if beside is None:
        return []
    parts = {
        "generator": state.gen.params,
        "its average": state.ema,
        "critic": state.critic.params,
        "optimisers": (state.gen.opt_state, state.critic.opt_state),
    }
    listed = ", ".join(f"{k} {_bytes(v) / MIB:.1f}" for k, v in parts.items())
    need = f"about {beside / MIB:.0f} MiB"
    devices = f" on each of {jax.device_count()} devices" * (jax.device_count() > 1)
    lines = [
        f"  the {name} needs {need}{devices} beside the state of "
        f"{_bytes(state) / MIB:.1f} MiB ({listed})"
    ]
    if free is not None and beside > free:
        lines.append(
            f"  WARNING: that is more than the {free / MIB:.0f} MiB free; a smaller "
            "data.batch_size with a larger train.accumulate, or gen.remat = True, "
            "needs less"
        )
    return lines


def free_bytes() -> int | None:
    """Memory that one of this process's devices can still take; None if unknown.

    On a CPU the machine's, shared between the devices.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return _free_on_host() // jax.local_device_count()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _free_on_host() -> int:
    """What the kernel could free for us; without Linux's count, all there is.

    `SC_AVPHYS_PAGES` leaves out the files cached in memory, which are most of it.
    """
    try:
        with open("/proc/meminfo") as lines:
            found = [line for line in lines if line.startswith("MemAvailable")]
        return 1024 * int(found[0].split()[1])
    except (OSError, IndexError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _bytes(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
