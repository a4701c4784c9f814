"""Estimates and reports the memory of a run before it is taken.

`check` refuses sizes that cannot fit from shapes alone, before anything is allocated;
`report` tells what XLA says of a compiled update before its first call; `explained`
says what to change where memory ran out all the same.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import jax

from fluoro_jax.errors import UserError
from fluoro_jax.io.memory import free_bytes as free_on_machine
from fluoro_jax.io.memory import not_allocated
from fluoro_jax.models.unet import widths
from fluoro_jax.sim.body.solids import body_grid
from fluoro_jax.training.state import TrainState

PyTree = Any
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Need:
    """One thing that a run holds in memory.

    Attributes:
        what: in words.
        bytes: a lower bound, for one process.
        key: config key that it depends on most.
        power: its bytes grow with this power of the key's value.
    """

    what: str
    bytes: int
    key: str
    power: float = 1.0


def check(cfg: Any, state: PyTree, *, free: int | None = None) -> None:
    """Refuses a run that needs more memory than is free; allocates nothing.

    The estimate is a lower bound from shapes, so what passes may still not fit, and
    what is refused cannot.

    Args:
        cfg: the run's config.
        state: shapes of the training state, as `jax.eval_shape` gives them.
        free: bytes; by default what this process can still take. With an accelerator
            that is its memory for what lies there, and the machine's for the rest.

    Raises:
        UserError: names the largest part and a value that fits.
    """
    local = jax.local_devices()
    # All of this process's devices together: on a CPU they share the machine's memory.
    devices = _on_devices(cfg, state, len(local))
    if local[0].platform == "cpu":
        _compare(
            cfg, devices + _on_host(cfg), _free_on_host() if free is None else free
        )
        return
    one = free_bytes() if free is None else free
    if one is not None:
        _compare(cfg, devices, one * len(local))
    _compare(cfg, _on_host(cfg), _free_on_host() if free is None else free)


def _on_devices(cfg: Any, state: PyTree, devices: int) -> list[Need]:
    """Returns the lower bounds of the memory on this process's devices together."""
    share = cfg.data.batch_size // jax.process_count()
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    _, shape = body_grid(cfg.study.voxel_mm)
    nets = sum(_activations(cfg, net) for net in ("coarse", "refine"))
    # 5/4: an update adds the gradients, a quarter of the generator's four copies
    # (parameters, average, Adam's two moments). 5 clips an example of a batch: frames,
    # mask, and three stacked channels.
    needs = [
        Need("the training state", held * devices * 5 // 4, "gen.base", 2),
        Need("a body's voxels", 3 * 4 * math.prod(shape), "study.voxel_mm", -3),
        Need("activations of the generator", nets * share, "data.batch_size"),
        Need("a batch", share * 5 * _clip_bytes(cfg), "data.batch_size"),
    ]
    if cfg.data.source == "simulator":
        pool = cfg.data.pool_bodies * _clip_bytes(cfg)
        needs.append(Need("the pool of bodies", pool, "data.pool_bodies"))
    return needs


def _on_host(cfg: Any) -> list[Need]:
    """Decoded cases: float32 frames, and the uint16 and uint8 that they come from."""
    study = cfg.study
    cases = study.num_val + study.num_train * (cfg.data.source == "dataset")
    key = "study.num_train" if study.num_train >= study.num_val else "study.num_val"
    # 4 bytes of float32 a pixel, and the 2 + 1 that it is decoded from: 7/4.
    return [Need("the study's cases", cases * _clip_bytes(cfg) * 7 // 4, key)]


def _clip_bytes(cfg: Any) -> int:
    study = cfg.study
    return 4 * study.num_frames * study.rows * study.cols


def _activations(cfg: Any, net: str) -> int:
    """Bytes that one example's backward pass keeps of a U-Net, counted low.

    Of each level the outputs of the convolution and of the norm, down and up, and of a
    ConvLSTM four gates and two states; with remat one output a level.
    """
    gen, study = cfg.gen, cfg.study
    levels = gen.levels if net == "coarse" else gen.refine_levels
    pixels, values = study.num_frames * study.rows * study.cols, 0.0
    for level, channels in enumerate(widths(levels, gen.base, gen.cap)):
        # Level i has half the rows and columns of the one before, from half on at level
        # 0.
        bottom = level == levels - 1
        memory = gen.lstm != "none" and (bottom or (net, gen.lstm) == ("coarse", "all"))
        kept = 1 if gen.remat else 4 + 6 * memory
        values += kept * channels * pixels / 4 ** (level + 1)
    return int(values) * (2 if gen.dtype == "bfloat16" else 4)


def _compare(cfg: Any, needs: list[Need], free: int) -> None:
    total = sum(need.bytes for need in needs)
    if total <= free:
        return
    largest = max(needs, key=lambda need: need.bytes)
    section, name = largest.key.split(".")
    now = cfg[section][name]
    # 95 % of what is left (ours), and never less than a quarter of all: the hint should
    # fit and still be a usable size.
    left = 0.95 * max(free - (total - largest.bytes), free / 4)
    # bytes ~ value^power, solved for the value.
    fits = now * (left / largest.bytes) ** (1 / largest.power)
    raise UserError(
        f"{largest.key} = {now} needs {_gib(largest.bytes)} for {largest.what}, and "
        f"the run {_gib(total)} in all",
        needed=f"at most the {_gib(free)} of memory that is free",
        why="a run that takes all memory stalls the machine or is killed",
        fix=f"--config.{largest.key}={_rounded(cfg, largest.key, fits)}, or smaller "
        "frames (study.rows, study.cols)",
    )


def _rounded(cfg: Any, key: str, value: float) -> float:
    """`value` as the key takes it, rounded towards less memory."""
    if key == "study.voxel_mm":
        return math.ceil(10 * value) / 10
    # A batch is divided among devices, and channels into groups of the norm.
    step = {"data.batch_size": jax.device_count(), "gen.base": cfg.gen.group_size}
    size = step.get(key, 1)
    return max(size, int(value) // size * size)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / MIB:.0f} MiB"


def explained(error: BaseException, cfg: Any) -> UserError | None:
    """Returns the user's error for a run that ran out of memory, None for others."""
    found = not_allocated(error)
    if not found:
        return None
    return UserError(
        f"out of memory with data.batch_size = {cfg.data.batch_size} of "
        f"{cfg.study.rows} x {cfg.study.cols} pixels ({found})",
        needed="an update that fits into the memory of each device",
        why="activations of all clips of a batch are held at once",
        # Half: what was missing in all, the error does not say.
        fix=f"{less_memory(cfg, 0.5)}; with another --workdir, as the config differs",
    )


def less_memory(cfg: Any, share: float) -> str:
    """Returns flags with which an update needs about `share` of its memory.

    The same clips in more parts, where batch and devices can be divided so; else
    activations that are computed twice, or fewer channels.
    """
    batch, devices = cfg.data.batch_size, jax.device_count()
    for parts in range(2, batch // devices + 1):
        if batch % (parts * devices) == 0 and 1.0 / parts <= share:
            return (
                f"--config.data.batch_size={batch // parts} "
                f"--config.train.accumulate={cfg.train.accumulate * parts} (as many "
                "clips an update)"
            )
    if not cfg.gen.remat:
        return "--config.gen.remat=True"
    base = _rounded(cfg, "gen.base", cfg.gen.base * math.sqrt(share))
    return f"--config.gen.base={base}, or smaller frames (study.rows, study.cols)"


def report(
    beside: int | None, state: TrainState, *, free: int | None, cfg: Any = None
) -> list[str]:
    """Returns lines for the user: the need, and a warning if it exceeds what is free.

    Args:
        beside: bytes an update needs on one device besides the state; None if unknown.
        state: already on the devices.
        free: bytes free on one device; None if unknown.
        cfg: the run's config, for flags that fit.
    """
    if beside is None:
        return []
    parts = {
        "generator": state.gen.params,
        "its average": state.ema,
        "critic": state.critic.params,
        "optimizers": (state.gen.opt_state, state.critic.opt_state),
    }
    listed = ", ".join(f"{k} {_bytes(v) / MIB:.1f}" for k, v in parts.items())
    need = f"about {beside / MIB:.0f} MiB"
    devices = f" on each of {jax.device_count()} devices" * (jax.device_count() > 1)
    lines = [
        f"it needs {need}{devices} beside the state of "
        f"{_bytes(state) / MIB:.1f} MiB ({listed})"
    ]
    if free is not None and beside > free:
        less = (
            "a smaller data.batch_size with a larger train.accumulate, or gen.remat = "
            "True, needs less"
            if cfg is None
            else f"next: {less_memory(cfg, free / beside)}"
        )
        lines.append(
            f"  WARNING: that is more than the {free / MIB:.0f} MiB free; {less}"
        )
    return lines


def free_bytes() -> int | None:
    """Returns the memory that one of this process's devices can still take, or None.

    On a CPU the machine's, shared between the devices.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return _free_on_host() // jax.local_device_count()
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    # What the allocator may take less what it has: XLA preallocates, so the driver's
    # own count of free memory says nothing.
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _free_on_host() -> int:
    """Returns the bytes left to this process; a number that fits all if unknown."""
    free = free_on_machine()
    return sys.maxsize if free is None else free


def _bytes(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
