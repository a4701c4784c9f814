"""A run's folder: what was asked, by which command, on what machine."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import jax

from fluoro_jax.data.ct_bodies import ct_sizes
from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.data.patient_bodies import patient_size
from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import USUAL, files, leaves
from fluoro_jax.io.files import write_text
from fluoro_jax.training.precision import describe_precision

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
    "study.num_test",  # cases of a split follow from their number
    *("choices", "platform", "deterministic"),
)
HISTORY = "history.jsonl"
LOCK = ".lock"
UNPACKED = "published.json"  # of a folder that was made of published weights
CTS = "cts.json"  # bytes of every CT by its name, if CTs train
_held: set[Path] = set()  # locks that this process has
TRAINERS = (  # code that decides, beside the data, what a network learns
    *("models/**/*.py", "data/batches.py", "data/stack.py"),
    *("data/appearance.py", "data/ct_bodies.py", "data/patient_bodies.py"),
    *("training/losses.py", "training/step.py", "training/optim.py"),
    *("training/freeze.py", "training/state.py", "training/parallel.py"),
    *("training/nets.py", "training/parent.py", "training/loop.py"),
    *("training/precision.py", "training/read_forward.py"),
)
PACKAGES = (
    "fluoro_jax jax jaxlib flax optax orbax-checkpoint numpy scipy clu ml-collections"
)


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
    """Makes the folder of a run and keeps other processes from writing in it.

    The lock is the system's (flock on `<workdir>/.lock`), so it ends with the process
    however that ends. A process that holds it may take it again; of a run of several
    processes only the first takes it.

    Raises:
        UserError: if another process holds it (it is named), or the folder cannot be
            written.
    """
    path = (Path(workdir) / LOCK).absolute()
    # Nested use: `cli` holds the lock around `train`, which takes it again. A second
    # flock, on a new handle, would be refused.
    if path in _held or jax.process_index() > 0:
        yield
        return
    # Whether the folder was made here; only then may it go again.
    new = not path.parent.exists()
    with contextlib.ExitStack() as stack:
        with _writable(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            # "a+" makes the file without emptying it: the holder's line in it is what
            # the refused process prints.
            file = stack.enter_context(open(path, "a+"))
        _take(file, path.parent)
        _held.add(path)
        try:
            yield
        finally:
            _held.remove(path)
            # Only with the lock held, and only if nothing but the lock was written.
            if new and [p.name for p in path.parent.iterdir()] == [LOCK]:
                path.unlink()  # a run that was refused leaves no folder
                path.parent.rmdir()


def _take(file: TextIO, workdir: Path) -> None:
    file.seek(0)
    holder = file.read()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file.fileno()).st_nlink:  # removed since it was opened
            # A holder that was refused removed its folder between our open and flock:
            # this lock is on a file that no name leads to.
            raise BlockingIOError
    except BlockingIOError as error:
        raise UserError(
            f"another process works in {workdir} ({holder.strip() or 'unnamed'})",
            needed="one process at a time in a workdir",
            why="two would overwrite each other's checkpoints and rows",
            fix="wait for it or stop it, or choose another --workdir",
        ) from error
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    with _writable(workdir):
        # After the lock is taken: the line names the holder, who may change it.
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {platform.node()}: {command}\n")
        file.flush()


def record(cfg: Any, workdir: Path, *, start: int) -> None:
    """Writes what a valid run is: config, command, environment and history.

    Call it once nothing can be refused any more, so that a refused command leaves a
    workdir that its corrected form is welcome in. Writes config.json (resolved),
    command.txt (one line a call), env.json and, if there are steps to train, a line of
    history.jsonl and the names of the CTs that they are trained on.

    Args:
        cfg: the run's config.
        workdir: of the run; made if missing.
        start: step that the run goes on from.

    Raises:
        UserError: if the folder cannot be written, `data.ct_dir` holds other CTs than
            when the run was begun, or there are steps to train in a folder that was
            made of published weights.
    """
    if jax.process_index() > 0:
        return
    if start < cfg.train.num_steps and (workdir / UNPACKED).exists():
        raise UserError(
            f"{workdir} holds published weights and no run",
            needed="another folder to train in",
            why="weights have no critic and no optimizers to go on with, and what is "
            "said of them would be said of another network",
            fix="another --workdir; --config.init.parent=NAME starts from a folder "
            "beside it",
        )
    with _writable(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if start < cfg.train.num_steps:
            _note_cts(cfg, workdir)  # first: it may refuse
        write_text(workdir / "config.json", json.dumps(resolve(cfg), indent=2) + "\n")
        env = {**environment(), "precision": describe_precision(cfg)}
        write_text(workdir / "env.json", json.dumps(env, indent=2) + "\n")
        with open(workdir / "command.txt", "a") as file:
            file.write(f"{_now()}  {shlex.join([sys.executable, *sys.argv])}\n")
        if start < cfg.train.num_steps:
            note_call(workdir, start, cfg.train.num_steps)


@contextlib.contextmanager
def _writable(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write in {workdir} ({error.strerror})",
            needed="a folder that can be made and written, with free space",
            why="checkpoints, numbers and the report of a run stand in its workdir",
            fix="choose another --workdir, or free some space",
        ) from error


def note_call(workdir: Path, start: int, num_steps: int) -> None:
    """Adds a line to history.jsonl: which command and code train which steps.

    A run that was stopped may go on to another end, and the learning rate's cosine then
    stretches or starts again: only its history tells.
    """
    if jax.process_index() > 0:
        return
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    call = {"time": _now(), "commit": _commit(), "command": command}
    call |= {"from": start, "to": num_steps, "code": files(*RENDERERS, *TRAINERS)}
    # Appended, one line a call: earlier calls are history.
    with open(workdir / HISTORY, "a") as file:
        file.write(json.dumps(call) + "\n")


def _note_cts(cfg: Any, workdir: Path) -> None:
    """Writes which CTs train, or refuses a run that was begun with others."""
    if not cfg.data.ct_dir:
        return
    path, now = (
        workdir / CTS,
        (
            patient_size(cfg.data.ct_dir)
            if cfg.data.bodies == "patient"
            else ct_sizes(cfg.data.ct_dir)
        ),
    )
    then = json.loads(path.read_text()) if path.exists() else now
    if then != now:
        names = sorted(name for name in then | now if then.get(name) != now.get(name))
        more = f" and {len(names) - 5} more" * (len(names) > 5)
        raise UserError(
            f"other CTs in {cfg.data.ct_dir} than {path} names: "
            f"{', '.join(names[:5])}{more}",
            needed="the same files as when the run was begun",
            why="which CT a patient has follows from its place in the list",
            fix="restore the files, or choose another --workdir",
        )
    write_text(path, json.dumps(now, indent=1) + "\n")


def resolve(cfg: Any) -> dict[str, Any]:
    """The config as JSON gives it back: plain dicts, lists, numbers and strings."""
    # Through JSON, so that it equals what is read back: a tuple becomes a list.
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
    check_agrees(stored, resolved, f"{workdir} holds a run of another config")


def check_agrees(stored: dict[str, Any], resolved: dict[str, Any], found: str) -> None:
    """Raises `UserError` that says `found` and how the two configs differ, if so."""
    different = differences(stored, resolved)
    if different:
        shown = "; ".join(f"{k}: {a} there, {b} now" for k, a, b in different[:8])
        more = f"; and {len(different) - 8} more" if len(different) > 8 else ""
        raise UserError(
            f"{found} ({shown}{more})",
            needed="the same config (lengths, cadences, evaluation and numbers of "
            "cases that are not trained on may change)",
            why="its checkpoints belong to the config they were trained with",
            fix="another --workdir for this config, or the old values to go on",
        )


def differences(
    old: dict[str, Any], new: dict[str, Any]
) -> list[tuple[str, object, object]]:
    """(key, old, new) of every leaf that differs and is not free to."""
    flat_old, flat_new = dict(leaves(old)), dict(leaves(new))
    # A simulator trains on no stored case: baselines and strata alone read them.
    simulated = all(x.get("data.source") == "simulator" for x in (flat_old, flat_new))
    free = (*FREE, "study.num_train") if simulated else FREE
    found = []
    for key in sorted(flat_old | flat_new):
        # Keys that older configs lack count with the value that means what was done
        # then.
        missing = USUAL.get(key, "(absent)")
        a, b = flat_old.get(key, missing), flat_new.get(key, missing)
        if a != b and not key.startswith(free):
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
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
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


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
