"""Trains the networks of a config; read it top to bottom.

A step is `gen_updates` generator updates and then `critic_updates` critic updates;
update j of either kind reads the `accumulate` micro-batches from number
`(step * micro + j) * accumulate` on. Batches, keys and weights
are functions of the step, so a run that was stopped, killed or moved to another number
of devices goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from fluoro_jax.config import check_devices, check_platform
from fluoro_jax.data.batches import blank_batch, open_batches
from fluoro_jax.data.dataset import import_tfds
from fluoro_jax.data.prefetch import prefetch
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import write_text
from fluoro_jax.stages import timed
from fluoro_jax.training import memory, parallel
from fluoro_jax.training.checkpoint import Checkpoints, check_equal
from fluoro_jax.training.monitor import RunMonitor
from fluoro_jax.training.nets import Nets, build, describe, summary
from fluoro_jax.training.parent import (
    check_parent,
    from_parent,
    note_parent,
    read_config,
    restore_parent,
)
from fluoro_jax.training.progress import FirstCall, StopRequest
from fluoro_jax.training.read_forward import start_causal
from fluoro_jax.training.state import TrainState, digest
from fluoro_jax.training.step import is_short, make_critic_update, make_gen_update
from fluoro_jax.training.validation import Validation
from fluoro_jax.training.workdir import (
    check_same_config,
    locked,
    record,
    resolve,
)

PARAMETERS = "parameters.txt"
STOPPED = "stopped; step {step} is saved, run again to go on"


def train(
    cfg: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    until: float | None = None,
    params: Any = None,
) -> TrainState:
    """Trains to `cfg.train.num_steps`, from the start or from the last checkpoint.

    Args:
        cfg: every value of the run (`configs/base.py`).
        workdir: takes config, environment, numbers and checkpoints.
        data_dir: where datasets stand; by default `<workdir>/data`.
        until: `time.monotonic()` at which to save and return before the last step.
        params: of a generator of the same form, to start from in place of fresh ones; a
            run that goes on has its own.

    Returns:
        The last state, on the devices.

    Raises:
        UserError: another platform than asked for, batch not divisible by the devices,
            more memory needed than is free, a workdir that another process trains in,
            that is of another config or that cannot be written, no readable checkpoint,
            too many updates that were not finite, a generator that has
            collapsed to the empty mask.
        SystemExit: after SIGTERM or Ctrl-C, when the state has been saved.
    """
    use_compilation_cache()
    check_platform(cfg)
    check_devices(cfg.data.batch_size)
    workdir, nets = Path(workdir), build(cfg)
    data_dir = Path(data_dir) if data_dir is not None else workdir / "data"
    # Shapes alone: what cannot fit is refused before a byte is allocated.
    state_shapes = jax.eval_shape(nets.init)
    memory.check(cfg, state_shapes)
    # Checked before the lock, which makes the folder: a refused command leaves none.
    check_same_config(resolve(cfg), workdir)
    parallel.wait_for_all("config checked")
    with (
        locked(workdir),
        Checkpoints(workdir / "ckpt", keep=cfg.train.keep) as checkpoints,
    ):
        check_same_config(resolve(cfg), workdir)  # another process may have been first
        checkpoints.check_config(resolve(cfg))
        found = checkpoints.restore(nets.init)
        # Checkpoints are of states between steps, so the step restored is the next to
        # run.
        start = 0 if found is None else found.step
        _check_length(start, cfg.train.num_steps, workdir)
        parent = _parent(nets, workdir)
        if found is None:
            state = _first_state(nets, parent, params)
        else:
            # Placed as the first state is, so that it can be donated.
            state = parallel.place_tree(found.state)
        _announce(nets, state_shapes, workdir, start)
        if start < cfg.train.num_steps:
            limits: dict[str, Any] = dict(parent=parent, until=until)
            where: dict[str, Any] = dict(checkpoints=checkpoints, data_dir=data_dir)
            state, start = _run(nets, state, start, **where, **limits)
        else:
            # Nothing to train, but the command was asked for and its config may have
            # new lengths.
            record(cfg, workdir, start=start)
    if jax.process_index() == 0:
        print(f"trained to step {start}", flush=True)
        print(f"final checkpoint digest sha256 {digest(state)}", flush=True)
    return state


def _announce(nets: Nets, state: TrainState, workdir: Path, start: int) -> None:
    """One line on what is trained; the tables of parameters go to a file."""
    if jax.process_index() > 0:
        return
    path = workdir / PARAMETERS
    write_text(path, describe(nets) + "\n")
    last = nets.cfg.train.num_steps
    goes = f"trains steps {start} to {last}" if start < last else "trained already"
    print(f"{summary(state)} ({path}); {goes}", flush=True)


def _check_length(start: int, num_steps: int, workdir: Path) -> None:
    if start > num_steps:
        raise UserError(
            f"{workdir} holds a run of {start} steps, train.num_steps is {num_steps}",
            needed=f"at least {start} steps",
            why="a longer run's networks are not those of a shorter one",
            fix="another --workdir for the shorter run, or the longer config",
        )


# The parent's own config builds its networks: this run's need not fit its arrays.
def _parent(nets: Nets, workdir: Path) -> TrainState | None:
    """The last state of the run `init.parent` that stands beside this one, if any."""
    if not nets.cfg.init.parent:
        return None
    folder = workdir.parent / nets.cfg.init.parent
    parent = restore_parent(folder, build(ConfigDict(read_config(folder))).init)
    if jax.process_count() > 1:
        # Every process reads for itself, perhaps while the parent is still trained.
        check_equal(digest(parent), f"processes read different networks in {folder}")
    check_parent(workdir, parent)
    return parent


def _first_state(nets: Nets, parent: TrainState | None, params: Any) -> TrainState:
    """Fresh networks, or the parent's, or these parameters."""
    if parent is None and params is None:
        with timed("initial parameters"):
            return parallel.place(nets.init)
    # Built by one jitted call: run eagerly, `init` compiles every operation alone.
    fresh = jax.jit(nets.init)()
    if parent is None:
        given = dataclasses.replace(fresh, ema=params)
        return parallel.place_tree(from_parent(fresh, given))
    parent = dataclasses.replace(parent, ema=start_causal(parent.ema, nets.cfg))
    return parallel.place_tree(from_parent(fresh, parent))


def _validates(cfg: Any, until: float | None) -> bool:
    """Whether the run comes to a validation, whose clips take time to render."""
    # One that ends by the clock and validates at its last step alone never does.
    return until is None or cfg.train.eval_every < cfg.train.num_steps


# The order of a step: validate and save the state *before* it, then batches, updates,
# log. So the validation at r is of the weights in checkpoint r, and a resumed run
# repeats it. Where there is rendering to wait for, the generator compiles beside it in
# a thread. `record` comes once nothing can be refused any more. Step `last` only
# validates and saves.
def _run(
    nets: Nets,
    state: TrainState,
    start: int,
    *,
    checkpoints: Checkpoints,
    data_dir: Path,
    parent: TrainState | None,
    until: float | None,
) -> tuple[TrainState, int]:
    """Trains from `start` on: evaluate, save, next batches, updates, log."""
    cfg, last, count = nets.cfg, nets.cfg.train.num_steps, nets.cfg.train.accumulate
    micro = max(cfg.train.gen_updates, cfg.train.critic_updates)
    due = lambda step, every: step > 0 and (step % every == 0 or step == last)
    first = jax.process_index() == 0
    p_gen, p_critic = _programs(nets, tqdm.write if first else lambda line: None)
    validates = first and _validates(cfg, until)
    _begin(p_gen, state, cfg, validates)
    source = open_batches(cfg, data_dir)
    validate = Validation(cfg, nets.gen, data_dir) if validates else None
    workdir = checkpoints.folder.parent
    if parent is not None:
        note_parent(workdir, parent)
    record(cfg, workdir, start=start)
    with contextlib.ExitStack() as stack:
        monitor = stack.enter_context(RunMonitor(cfg, workdir, start, until))
        stop = stack.enter_context(StopRequest(until))
        made = prefetch(source, start * micro * count, parallel.shard)
        batches = stack.enter_context(made)
        stack.enter_context(timed("training"))
        for step in range(start, last + 1):
            if validate is not None and due(step, cfg.train.eval_every):
                with timed("validation"):
                    monitor.evaluated(step, validate(state.ema))
            ends = stop.late or step == last
            asked = stop.signal  # once: it may come between the save and the leaving
            if ends or asked or due(step, cfg.train.save_every):
                checkpoints.save(step, state, resolve(cfg))
            if ends:
                break
            if asked:
                _leave(checkpoints, monitor, step, asked)
            group = [[next(batches) for _ in range(count)] for _ in range(micro)]
            judged = cfg.train.critic_updates * (step >= cfg.loss.critic_start)
            calls = [(p_gen, several) for several in group[: cfg.train.gen_updates]]
            calls += [(p_critic, several) for several in group[:judged]]
            state = _updates(state, calls, monitor)
            monitor.progress.advance(step + 1)
            if due(step + 1, cfg.train.log_every):
                monitor.log(step + 1, state.skipped)
    return state, step


def _begin(p_gen: FirstCall, state: TrainState, cfg: Any, validates: bool) -> None:
    """Compiles the generator's update in a thread, beside rendering if there is any."""
    # A patient's own tracker validates on simulated clips.
    stored = validates and cfg.data.bodies != "patient"
    if stored or cfg.data.source == "dataset":
        import_tfds()
    if cfg.train.accumulate == 1 and jax.process_count() == 1:
        p_gen.begin(state, parallel.shard(blank_batch(cfg)))


def _leave(
    checkpoints: Checkpoints, monitor: RunMonitor, step: int, number: int
) -> NoReturn:
    checkpoints.wait()
    monitor.progress.say(STOPPED.format(step=step))
    raise SystemExit(128 + number)


def _updates(
    state: TrainState, calls: list[tuple[FirstCall, list]], monitor: RunMonitor
) -> TrainState:
    """Runs the updates of one step in turn, without implicit transfers."""
    # An array of the host that slipped in raises: copied in silence, it would cost a
    # transfer at every update.
    with jax.transfer_guard("disallow"):
        for update, several in calls:
            state, averages = update(state, *several)
            monitor.collect(averages)
    return state


# Two programs, not one step: the critic's is not even compiled where no critic is used.
def _programs(nets: Nets, say: Callable[[str], None]) -> tuple[FirstCall, FirstCall]:
    """The two compiled updates, each announcing its first call."""
    cfg, nets_of = nets.cfg, (nets.cfg, nets.gen, nets.critic)
    count = cfg.train.accumulate
    compiled = (
        functools.partial(parallel.p_update, quick=is_short(cfg))
        if count == 1
        else functools.partial(parallel.p_accumulated, count=count)
    )
    gen_update = make_gen_update(*nets_of, nets.gen_tx)
    critic_update = make_critic_update(*nets_of, nets.critic_tx)
    # Measured on two cores of an AVX2 machine (EPYC, Zen 3): 52 s for 5 + 3 levels and
    # 28 s for a critic of 3; the number of programs grows with the levels.
    gen_s = 6.5 * (cfg.gen.levels + cfg.gen.refine_levels)
    critic_s = 9.0 * cfg.critic.levels
    first = functools.partial(FirstCall, say=say, cfg=cfg)
    return (
        first("generator update", compiled(gen_update), expected_s=gen_s),
        first("critic update", compiled(critic_update), expected_s=critic_s),
    )


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless JAX was already told where.

    The folder is $JAX_COMPILATION_CACHE_DIR or, under $XDG_CACHE_HOME, `fluoro_jax`.
    """
    # Set by the user, through the variable or in code: left as it is.
    if jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(home / "fluoro_jax" / "xla"))
