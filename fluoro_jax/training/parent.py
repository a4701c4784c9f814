"""Fine-tuning: the networks of a finished run as the start of another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import complete
from fluoro_jax.io.files import write_text
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.state import TrainState, digest

PyTree = Any
PARENT = "parent.json"  # which weights a run started from


def read_config(workdir: Path) -> dict[str, Any]:
    """Returns the resolved config of the run in `workdir`, with the keys of today.

    Raises:
        UserError: if there is none.
    """
    path = workdir / "config.json"
    try:
        return complete(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(
            f"no run in {workdir} ({error.__class__.__name__}: {path.name})",
            needed="the workdir of the run named by init.parent, beside this one",
            why="fine-tuning starts from that run's networks",
            fix=f"train it first, with --workdir={workdir}",
        ) from error


def from_parent(state: TrainState, parent: TrainState) -> TrainState:
    """A new run's state with the networks of another.

    The generator starts from the parent's averaged weights, which are what was
    evaluated; the critic from the parent's, unless the frame's size differs, of which
    its last layer depends. Optimizers and counts start afresh.

    Args:
        state: before the first update.
        parent: the last state of the parent.

    Raises:
        UserError: if the generators differ in shape.
    """
    if _shapes(state.gen.params) != _shapes(parent.ema):
        raise UserError(
            "the parent's generator has other arrays than this run's",
            needed="the same generator in both configs",
            why="fine-tuning starts from the parent's weights as they are",
            fix="set the values of gen to those of the parent's config",
        )
    gen = dataclasses.replace(state.gen, params=parent.ema)
    # The critic's dense layer depends on the frame's size; the generator is
    # convolutional.
    critic = state.critic
    if _shapes(critic.params) == _shapes(parent.critic.params):
        critic = dataclasses.replace(critic, params=parent.critic.params)
    return dataclasses.replace(state, gen=gen, critic=critic, ema=parent.ema)


def check_parent(workdir: Path, parent: TrainState) -> None:
    """Refuses a run that was begun from other weights than its parent now has.

    Raises:
        UserError: if the parent was trained again since `note_parent`.
    """
    path = workdir / PARENT
    if not path.exists():
        return
    if json.loads(path.read_text())["sha256"] != digest(parent.ema):
        raise UserError(
            f"{workdir} was fine-tuned from other weights than its parent has now",
            needed="the parent's weights as they were, or a new run",
            why="its numbers would be recorded as those of the new parent",
            fix=f"rm -r {workdir}, or another --workdir, to fine-tune again",
        )


def note_parent(workdir: Path, parent: TrainState) -> None:
    """Writes the sha256 of the parent's weights to `PARENT`, for `check_parent`."""
    path = workdir / PARENT
    # Once: a resumed run keeps the note of the weights it began with.
    if jax.process_index() == 0 and not path.exists():
        write_text(path, json.dumps({"sha256": digest(parent.ema)}) + "\n")


def restore_parent(folder: Path, init_fn: Any) -> TrainState:
    """The last state of the run in `folder`; see `Checkpoints.restore`.

    Raises:
        UserError: if it has no readable checkpoint.
    """
    found = None
    if (folder / "ckpt").is_dir():
        # Read only: the parent may be in use, or still training.
        with Checkpoints(folder / "ckpt", keep=None) as checkpoints:
            found = checkpoints.restore(init_fn)
    if found is None:
        raise UserError(
            f"no checkpoint in {folder / 'ckpt'}",
            needed="the finished run named by init.parent, beside this one",
            why="fine-tuning starts from that run's networks",
            fix=f"train it first, with --workdir={folder}",
        )
    return found.state


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
