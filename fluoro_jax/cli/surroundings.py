"""A command's environment: variables of JAX and XLA, system errors, closed pipes.

Nothing here imports JAX: the variables must be settled before JAX is imported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import leaves
from fluoro_jax.io.memory import not_allocated

# As JAX itself reads the variable.
TRUE = ("1", "true", "t", "yes", "y", "on")
PROBE = "import jax; jax.devices()"
# Importing JAX takes 5 s; the limit is for a machine that is stuck.
PROBE_S = 120
WRITING = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR),  # one in the other's place
    *(errno.ENOENT, errno.ENAMETOOLONG),
)
CLOSED = 141  # what a shell reports of a program that SIGPIPE ended


def prepare() -> None:
    """Settles JAX_ENABLE_X64, the default precision and XLA_FLAGS before JAX starts.

    Raises:
        UserError: if XLA does not know a flag in XLA_FLAGS.
    """
    if os.environ.get("JAX_ENABLE_X64", "").strip().lower() in TRUE:
        os.environ["JAX_ENABLE_X64"] = "0"
        # JAX read the variable at its import: a caller who imported it needs the switch
        # turned.
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_enable_x64", False)
        told = "JAX_ENABLE_X64 is ignored: everything is computed in float32"
        print(told, file=sys.stderr)
    # Simulation and geometry are always exact: an accelerator would round products of
    # float32 numbers to 10 bits. Networks say their own (`training.precision`).
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    if os.environ.get("XLA_FLAGS") and "jax" not in sys.modules:
        _check_flags(os.environ["XLA_FLAGS"])


def settle_flags(cfg: Any) -> None:
    """Adds to XLA_FLAGS what a config, or a run of a plan, asks for."""
    from fluoro_jax.config import DETERMINISTIC, has_deterministic_flag  # 0.1 s

    # XLA reads them when the first device is asked for, not at JAX's import.
    asked = any(v for k, v in leaves(cfg) if k.rpartition(".")[2] == "deterministic")
    if asked and not has_deterministic_flag():
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()


def _check_flags(flags: str) -> None:
    """Asks another process: at an unknown flag XLA aborts the one that it is in."""
    env = dict(
        os.environ, XLA_FLAGS=flags, JAX_PLATFORMS="cpu"
    )  # takes no accelerator's memory
    # The probe must not join, or wait for, the processes of a run.
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        env.pop(name, None)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=env,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # then JAX itself says what is wrong
    found = re.search(r"Unknown flags? in XLA_FLAGS: *(.*)", done.stderr)
    if done.returncode and found:
        # The line may go on in words; flags begin with a dash.
        unknown = " ".join(word for word in found[1].split() if word.startswith("-"))
        raise UserError(
            f"XLA_FLAGS = {flags!r}: unknown {unknown or found[1][:80]}",
            needed="flags that this version of XLA knows, or none",
            why="XLA ends the process at a flag that it does not know",
            fix="correct XLA_FLAGS, or: unset XLA_FLAGS",
        )


def explained(error: Exception) -> UserError | None:
    """Returns a lack of memory, or of a platform, as a user error; None for others."""
    if missing := not_allocated(error):
        return UserError(
            f"out of memory ({missing})",
            needed="free memory for the clip or volume and for the network",
            why="both are held in memory whole while they are worked on",
            fix="close other programs, or cut the clip; on a GPU that others use too: "
            "export XLA_PYTHON_CLIENT_PREALLOCATE=false",
        )
    text = " ".join(str(error).split())
    # Without JAX_PLATFORMS the user named no platform, and the error is the program's.
    if "backend" not in text or "JAX_PLATFORMS" not in os.environ:
        return None
    return UserError(
        f"JAX_PLATFORMS = {os.environ['JAX_PLATFORMS']!r} ({text[:120]})",
        needed="cpu, cuda or tpu, with the extra of that name installed",
        why="JAX finds no such device on this machine",
        fix="unset JAX_PLATFORMS, or JAX_PLATFORMS=cpu; see `fluoro doctor`",
    )


def of_the_system(error: OSError, option: str) -> UserError | None:
    """Returns a full disk or a closed folder as a user error; None for others.

    Args:
        error: of the system.
        option: of the command line, says where the command writes.
    """
    if error.errno not in WRITING:
        return None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    run = option == "--workdir"
    if full:
        fix = "free some space and run the same command again" + "; it goes on" * run
    elif error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
        fix = f"correct that path, or {option}"
    else:
        fix = "move that file or folder away, or change the permissions or " + option
    return UserError(
        f"{os.strerror(error.errno)}: {error.filename or 'while writing'}",
        needed="free space" if full else "a folder that may be read and written",
        why="a run writes its data, checkpoints and report while it goes on"
        if run
        else "results are written to files",
        fix=fix,
    )


def unbroken(work: Callable[[], int | None]) -> int:
    """Runs `work`; returns its exit code, or 141 if stdout was closed (`| head`)."""
    try:
        try:
            # Inside the outer try: a closed pipe may show only when the buffer is
            # flushed.
            return work() or 0
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Else the interpreter tries to write the rest at its end, and complains.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED


def processor_name() -> str:
    """Returns the name of the processor, for a record of times."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1] for line in lines if "model name" in line]
        return names[0].strip()
    except (OSError, IndexError):  # not Linux, or a processor that does not say
        return platform.processor()
