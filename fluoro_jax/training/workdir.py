"""A run's folder: what was asked, by which command, on what machine."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import ABSENT, files
from fluoro_jax.io.files import write_text

# A run may go on with other values of these. Only num_steps touches an update: the
# cosine of the learning rate stretches or shrinks to the new end.
FREE = (
    "train.num_steps",
    "train.log_every",
    "train.eval_every",
    "train.save_every",
    "train.keep",
    "train.max_skipped",
    "train.collapse_after",
    "evaluation.",
    "choices",
)
HISTORY = "history.jsonl"
TRAINERS = (  # code that decides, beside the data, what a network learns
    *("models/**/*.py", "data/batches.py", "data/stack.py"),
    *("training/losses.py", "training/step.py", "training/optim.py"),
    *("training/freeze.py", "training/state.py", "training/parallel.py"),
    *("training/nets.py", "training/parent.py", "training/loop.py"),
)
PACKAGES = (
    "fluoro_jax jax jaxlib flax optax orbax-checkpoint numpy scipy clu ml-collections"
)


def open_workdir(cfg: Any, workdir: str | Path) -> Path:
    """Makes the folder of a run, or checks that it belongs to this config.

    Writes config.json (resolved), command.txt (one line a call) and env.json.

    Raises:
        UserError: if the folder cannot be written, or holds a run of another config.
    """
    workdir, resolved = Path(workdir), resolve(cfg)
    check_same_config(resolved, workdir)
    if jax.process_count() > 1:  # all have looked before one writes
        multihost_utils.sync_global_devices("config checked")
    if jax.process_index() > 0:
        return workdir
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_text(workdir / "config.json", json.dumps(resolved, indent=2) + "\n")
        write_text(workdir / "env.json", json.dumps(environment(), indent=2) + "\n")
        with open(workdir / "command.txt", "a") as file:
            file.write(f"{_now()}  {shlex.join([sys.executable, *sys.argv])}\n")
    except OSError as error:
        raise UserError(
            f"cannot write in {workdir} ({error.strerror})",
            needed="a folder that can be made and written, with free space",
            why="checkpoints, numbers and the report of a run stand in its workdir",
            fix="choose another --workdir, or free some space",
        ) from error
    return workdir


def note_call(workdir: Path, start: int, num_steps: int) -> None:
    """Adds a line to history.jsonl: who trains from which step to which, by what code.

    A run that was stopped may go on to another end, and the learning rate's cosine then
    stretches or starts again: only its history tells.
    """
    if jax.process_index() > 0:
        return
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    call = {"time": _now(), "commit": _commit(), "command": command}
    call |= {"from": start, "to": num_steps, "code": files(*RENDERERS, *TRAINERS)}
    with open(workdir / HISTORY, "a") as file:
        file.write(json.dumps(call) + "\n")


def resolve(cfg: Any) -> dict[str, Any]:
    """The config as JSON gives it back: plain dicts, lists, numbers and strings."""
    return json.loads(json.dumps(cfg.to_dict()))


def check_same_config(resolved: dict[str, Any], workdir: Path) -> None:
    """Raises `UserError` that lists the differences if `workdir` is another run's."""
    path = workdir / "config.json"
    try:
        stored = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error})",
            needed="the config that an earlier call wrote there",
            why="a run only goes on with the config it was begun with",
            fix=f"restore the file, or choose another --workdir than {workdir}",
        ) from error
    different = differences(stored, resolved)
    if different:
        shown = "; ".join(f"{k}: {a} there, {b} now" for k, a, b in different[:8])
        more = f"; and {len(different) - 8} more" if len(different) > 8 else ""
        raise UserError(
            f"{workdir} holds a run of another config ({shown}{more})",
            needed="the same config (only lengths, cadences and evaluation may change)",
            why="its checkpoints belong to the config they were trained with",
            fix="another --workdir for this config, or the old values to go on",
        )


def differences(
    old: dict[str, Any], new: dict[str, Any]
) -> list[tuple[str, object, object]]:
    """(key, old, new) of every leaf that differs and is not free to."""
    flat_old, flat_new = dict(_leaves(old)), dict(_leaves(new))
    found = []
    for key in sorted(flat_old | flat_new):
        missing = ABSENT.get(key, "(absent)")
        a, b = flat_old.get(key, missing), flat_new.get(key, missing)
        if a != b and not key.startswith(FREE):
            found.append((key, a, b))
    return found


def environment() -> dict[str, Any]:
    """Versions, devices and the commit: enough to know what ran."""
    versions = {}
    for name in PACKAGES.split():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "time": _now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": versions,
        "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
        "processes": jax.process_count(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the package's own checkout, "+" if edited; None where unknown."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    call = lambda *args: subprocess.run(
        [*git, *args], capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()
    try:
        if not call("ls-files", __file__):  # installed inside somebody else's checkout
            return None
        edited = "+" if call("status", "--porcelain", "-uno") else ""
        return call("rev-parse", "HEAD") + edited
    except (OSError, subprocess.SubprocessError):
        return None


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
