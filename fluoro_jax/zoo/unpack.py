"""Published weights as the folder of a finished run, to be scored or started from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from fluoro_jax.errors import refuse
from fluoro_jax.io.files import write_text
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.nets import build
from fluoro_jax.training.parent import from_parent
from fluoro_jax.training.workdir import UNPACKED as NOTE
from fluoro_jax.training.workdir import check_agrees, resolve
from fluoro_jax.zoo.registry import load


def unpack(
    name: str, cfg: Any, workdir: str | Path, *, folder: str | Path | None = None
) -> None:
    """Writes weights as a run's last checkpoint, with its config and `NOTE`.

    Of a run's folder it lacks what weights do not hold: the critic and the optimizers
    are fresh, and there are no numbers of training. Weights published in bfloat16 are
    those of the run rounded.

    Args:
        name: of the weights.
        cfg: config of the run; of the weights' config only what a run may change when
            it goes on, as `evaluation`, may differ.
        workdir: made if missing.
        folder: where the weights lie, if not in the package.

    Raises:
        UserError: as `registry.load`, a config of another run or length, or a folder
            that holds a run or other weights.
    """
    workdir, weights = Path(workdir), load(name, folder=folder)
    check_agrees(
        resolve(weights.cfg), resolve(cfg), f"the weights {name} are of another config"
    )
    training = weights.card["training"]
    note = {"name": name, "training": training, **weights.card["weights"]}
    if training["step"] != cfg.train.num_steps:
        refuse(
            f"the weights {name} are of step {training['step']}",
            f"train.num_steps = {training['step']}, here it is {cfg.train.num_steps}",
            "their numbers would be recorded as those of another length",
            "train it, without the published weights",
        )
    _check_free(workdir, note["sha256"])
    workdir.mkdir(parents=True, exist_ok=True)
    # First, so that no part of the folder passes as a run's.
    write_text(workdir / NOTE, json.dumps(note, indent=1) + "\n")
    fresh = jax.jit(build(cfg).init)()
    # `load` has checked their shapes, so this does not refuse them as a parent's.
    state = from_parent(fresh, dataclasses.replace(fresh, ema=weights.params))
    with Checkpoints(workdir / "ckpt", keep=1) as checkpoints:
        checkpoints.save(training["step"], state, resolve(cfg))
    # Last of all: a folder with it is whole, and this call may be repeated until then.
    write_text(workdir / "config.json", json.dumps(resolve(cfg), indent=2) + "\n")


def _check_free(workdir: Path, sha256: str) -> None:
    there = unpacked(workdir)
    taken = (workdir / "ckpt").exists() or (workdir / "config.json").exists()
    if there["sha256"] != sha256 if there else taken:
        refuse(
            f"{workdir} holds {'other weights' if there else 'a run'}",
            "a new folder, or one of these weights",
            "its checkpoints would be overwritten or taken for others",
            "name another folder",
        )


def unpacked(workdir: str | Path) -> dict[str, Any] | None:
    """Returns what `NOTE` says in a folder of `unpack`; None in any other.

    Returns:
        name, training (as in the card), and dtype, sha256 and more of the weights'
        file.
    """
    try:
        return json.loads((Path(workdir) / NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
