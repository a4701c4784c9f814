"""Checkpoints that are whole or not there; the only module that imports orbax.

Orbax writes atomically but does not check what it reads: a flipped bit comes back as
another number. So a sha256 of every leaf lies beside the arrays, and a restore takes
the newest checkpoint that agrees with its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from fluoro_jax.errors import UserError
from fluoro_jax.training.state import leaf_digests, to_host
from fluoro_jax.training.workdir import check_agrees

PyTree = Any
STEP_DIGITS = 8  # folder names; every manager of a folder must agree


@dataclasses.dataclass(frozen=True)
class Restored:
    """A checkpoint that was read and verified: NumPy leaves, and its config."""

    step: int
    state: PyTree
    config: dict[str, Any]


class Checkpoints:
    """The folder of a run's checkpoints; use it as a context, leaving it waits.

    Args:
        folder: made if missing; shared by all processes of the run.
        keep: how many of the newest stay; None to read only (nothing in the folder is
            touched, so a training run may be writing at the same time). All processes
            of a run open a folder that they write in; a reader is its process's own.
        say: takes the lines meant for the user.
    """

    def __init__(
        self, folder: Path, *, keep: int | None, say: Callable[[str], None] = print
    ) -> None:
        self.folder, self.writes, self._say = Path(folder), keep is not None, say
        _silence_orbax()
        # All processes write one folder, so names of steps must agree; eight digits
        # sort as text.
        options = ocp.CheckpointManagerOptions(
            step_format_fixed_length=STEP_DIGITS,
            # A reader deletes nothing: a run may be writing in the folder at the same
            # time.
            cleanup_tmp_directories=self.writes,
            read_only=not self.writes,
            preservation_policy=checkpoint_managers.LatestN(keep) if keep else None,
            **({} if self.writes else _of_this_process()),
        )
        with _readable_errors(self.folder):
            self._manager = ocp.CheckpointManager(
                self.folder.absolute(), options=options
            )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except UserError:
            if error is None:  # never hide what went wrong first
                raise
        finally:
            # Closing joins orbax's threads; what they raise then was reported by
            # `wait`.
            with contextlib.suppress(Exception):
                self._manager.close()

    def steps(self) -> list[int]:
        """Steps on disk, oldest first, readable or not."""
        return sorted(self._manager.all_steps())

    def check_config(self, resolved: dict[str, Any]) -> None:
        """Refuses checkpoints of another config, whatever config.json says.

        Of the newest checkpoint that names its config; before arrays are read, since
        those of another network can only be called unreadable.

        Raises:
            UserError: that lists the differences.
        """
        for step in reversed(self.steps()):
            try:
                config = self._meta(step)["config"]
            except (OSError, ValueError, KeyError):
                continue
            whose = (
                f"the checkpoint of step {step} in {self.folder} is of another config"
            )
            check_agrees(config, resolved, whose)
            return

    def save(self, step: int, state: PyTree, config: dict[str, Any]) -> None:
        """Starts to write; the disk's troubles may only show in the next call.

        Args:
            step: names the folder; a step that is there already is left as it is.
            state: fully replicated arrays; copied to the host before this returns.
            config: JSON-able, kept beside the state.

        Raises:
            UserError: if this or the write before it failed.
        """
        # Orbax raises for a step that is there, even with `force`.
        if step in self._manager.all_steps():
            return
        # Copied before this returns: the next update donates, and so frees, the
        # device's arrays.
        host = to_host(state)
        meta = {"config": config, "sha256": leaf_digests(host)}
        self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(host)))
        with _readable_errors(self.folder):
            self._manager.save(
                step,
                # `force`: when to save is the loop's decision, not a policy of orbax.
                force=True,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta)
                ),
            )

    def _check_room(self, needed: int) -> None:
        """Refuses to start a checkpoint that cannot be finished."""
        try:
            # Of the folder's own disk, which need not be the home's.
            free = shutil.disk_usage(self.folder).free
        except OSError:  # what cannot be asked is found out by writing
            return
        if free < needed:
            raise UserError(
                f"no room for a checkpoint in {self.folder}: {free / 1e6:.1f} MB free",
                needed=f"{needed / 1e6:.1f} MB for each checkpoint",
                why="a run that cannot be saved cannot be resumed; older ones are "
                "intact",
                fix="free some space, then run the same command again",
            )

    def wait(self) -> None:
        """Returns when everything is on disk; raises `UserError` if it is not."""
        with _readable_errors(self.folder):
            self._manager.wait_until_finished()

    def restore(self, init_fn: Callable[[], PyTree]) -> Restored | None:
        """The newest checkpoint that reads and verifies, or None in a new folder.

        Unreadable ones are named in one line each and, when this object may write,
        moved aside so that the run can save those steps again.

        Args:
            init_fn: builds a state of the right shapes; traced, never run.

        Raises:
            UserError: if there are checkpoints and none can be read.
        """
        # Targets are NumPy arrays: NumPy comes back, to be placed by
        # `parallel.place_tree`. Without a target orbax answers in dicts and lists.
        like = lambda s: np.zeros(s.shape, s.dtype)
        target = jax.tree.map(like, jax.eval_shape(init_fn))
        bad: list[int] = []
        reason = ""
        # Newest first. `all_steps` lists folders, also those whose files are gone or
        # damaged.
        for step in reversed(self.steps()):
            try:
                found = self._read(step, target)
            except Exception as error:  # orbax raises many kinds
                reason = f"{type(error).__name__}: {_first_line(error)}"
                self._say(f"checkpoint {step} cannot be read ({reason}), trying older")
                bad.append(step)
                continue
            if self.writes:
                # Every process reads for itself; two that fell back to different steps
                # would train apart in silence.
                check_equal(step, "processes read different checkpoints")
            self._set_aside(bad)
            return found
        if bad:
            raise UserError(
                f"no checkpoint in {self.folder} can be read ({reason})",
                needed="one whole checkpoint of this config and version",
                why="training goes on from a checkpoint whose numbers are verified",
                fix=f"rm -r {self.folder}, or another --workdir, to start again",
            )
        return None

    def _read(self, step: int, target: PyTree) -> Restored:
        # Read first: against a wrong shape orbax fills the screen before it raises.
        meta = self._meta(step)
        wanted = meta["sha256"]
        # Names only: a wrong dtype is cast by orbax in silence, and then fails its
        # sha256.
        if set(wanted) != set(leaf_digests(target)):
            raise ValueError("its arrays have other names than this model's")
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        state = self._manager.restore(step, args=args)["state"]
        found = leaf_digests(state)
        wrong = [path for path, value in found.items() if value != wanted[path]]
        if wrong:
            raise ValueError(f"{len(wrong)} arrays differ from their sha256")
        return Restored(step, state, meta["config"])

    def _meta(self, step: int) -> dict[str, Any]:
        folder = self.folder / f"{step:0{STEP_DIGITS}d}"
        return json.loads((folder / "meta" / "metadata").read_text())

    def _set_aside(self, steps: list[int]) -> None:
        if not (steps and self.writes):
            return
        # One process renames; the others wait, or they would list what is about to go.
        if jax.process_index() == 0:
            for step in steps:
                folder = self.folder / f"{step:0{STEP_DIGITS}d}"
                place = folder.with_name(f"unreadable_{folder.name}")
                number = 1
                while place.exists():
                    number += 1
                    place = folder.with_name(f"unreadable_{folder.name}_{number}")
                folder.rename(place)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("unreadable checkpoints set aside")
        # Orbax keeps its list of steps: without this it would refuse to save those
        # again.
        self._manager.reload()


def check_equal(value: Any, otherwise: str) -> None:
    """Compares a value with that of every process of the run, which all must call this.

    Args:
        value: a number, or a sha256 in hexadecimal digits.
        otherwise: the error's message.

    Raises:
        AssertionError: in every process, if two have different values.
    """
    if jax.process_count() == 1:
        return
    if isinstance(value, str):
        value = np.frombuffer(bytes.fromhex(value), np.uint8)
    multihost_utils.assert_equal(np.asarray(value), otherwise)


def _of_this_process() -> dict[str, Any]:
    """Options of a manager that no other process need open; none in a run of one.

    Orbax opens and closes a manager with barriers over its active processes, read-only
    ones too; by default these are all processes of the run.
    """
    me = jax.process_index()
    if jax.process_count() == 1:
        return {}
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"reader{me}"
    )
    return {"multiprocessing_options": alone}


def _silence_orbax() -> None:
    """Drops what orbax prints about errors that `_readable_errors` reports.

    After a failed write tensorstore calls back into an event loop that is closed, once
    an array and up to the process's end: 256 tracebacks around a four-line message.
    """
    logger = logging.getLogger("absl")
    # Every manager of a process comes here; one filter and one hook are enough.
    if _not_of_orbax in logger.filters:
        return
    logger.addFilter(_not_of_orbax)
    show = sys.unraisablehook

    def show_others(found: Any) -> None:
        if str(found.exc_value) != "Event loop is closed":
            show(found)

    sys.unraisablehook = show_others


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


@contextlib.contextmanager
def _readable_errors(folder: Path) -> Iterator[None]:
    """Turns whatever orbax raises while writing into four lines."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            # Of any kind: orbax has several for one full disk.
            f"cannot write checkpoints in {folder} ({_first_line(error)})",
            needed="a folder that can be written, with room for two checkpoints more",
            why="a run that cannot be saved cannot be resumed; older ones are intact",
            fix="free some space or choose another --workdir, then the same command",
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
