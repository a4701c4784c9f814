"""Work of process 0 for which the other processes of a run wait."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

# Of JAX's public waits, collectives end after half an hour on a CPU and cannot tell
# that the first process failed.
from jax._src import distributed

from fluoro_jax.errors import UserError

T = TypeVar("T")
POLL_S = 5.0  # how long Ctrl-C may have to wait; the whole wait has no limit
LEAVE_S = 10.0  # for the others to read that process 0 has failed
DONE, FAILED = "done", "failed"
_number = itertools.count()  # of the call: the same in every process


def first_alone(work: Callable[[], T], what: str) -> T | None:
    """Runs `work` in process 0 while the other processes wait, however long it takes.

    All processes of a run must call it, in the same order. In a run of one process it
    is `work()` and nothing else. If process 0 is killed, JAX ends the others.

    Args:
        work: may use the devices of its own process, but nothing that all processes
            must call (`parallel.wait_for_all`, a writing `Checkpoints`).
        what: names the work in the message of a process that waited in vain.

    Returns:
        What `work` returns; None in every process but the first.

    Raises:
        UserError: in the other processes, if `work` raised in the first; that one
            raises what `work` does.
    """
    if jax.process_count() == 1:
        return work()
    key = f"fluoro_jax/first_alone/{next(_number)}"
    if jax.process_index() > 0:
        _wait(key, what)
        return None
    client = _client()
    try:
        result = work()
    except BaseException:  # of any kind: they wait after Ctrl-C too
        # What went wrong first is raised, whatever the others do.
        with contextlib.suppress(Exception):
            client.key_value_set(key, FAILED)
            # This process hosts JAX's coordination service: left at once, it would
            # abort the others before they have read why.
            client.wait_at_barrier(key, round(LEAVE_S * 1000))
        raise
    client.key_value_set(key, DONE)
    return result


def _client() -> Any:
    """This process's client of JAX's coordination service."""
    return distributed.global_state.client


def _wait(key: str, what: str) -> None:
    """Returns when process 0 is done; raises `UserError` if it has failed."""
    client, answer = _client(), ""
    while not answer:
        try:
            answer = client.blocking_key_value_get(key, round(POLL_S * 1000))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
    if answer == DONE:
        return
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.wait_at_barrier(key, round(LEAVE_S * 1000))
    raise UserError(
        f"process 0 failed in its {what}, for which process {jax.process_index()} "
        "waited",
        needed="process 0 to finish: its work is not repeated by the others",
        why="one process writes the tables and the report of a run",
        fix="read the error of process 0, then run the same command again",
    )
