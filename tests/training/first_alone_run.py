"""A program of several processes: what process 0 does alone. WORKDIR"""

from __future__ import annotations

import sys
import time

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.training import alone, parallel
from fluoro_jax.training.checkpoint import Checkpoints, check_equal


def make_state():
    return {"w": np.arange(6.0, dtype=np.float32)}


def save(folder, step):
    """As training does it, in all processes."""
    with Checkpoints(folder, keep=2) as checkpoints:
        found = checkpoints.restore(make_state)
        checkpoints.save(step, make_state(), {})
    return found and found.step


def read(folder):
    with Checkpoints(folder, keep=None) as checkpoints:
        found = checkpoints.restore(make_state)
    time.sleep(0.5)  # the others ask more than once
    return found.step


def fail():
    raise ValueError("no table")


def outcome(work):
    """What `work` returns, or the kind of error that it raises."""
    try:
        return work()
    except (ValueError, AssertionError, UserError) as error:
        return type(error).__name__


if __name__ == "__main__":
    parallel.start_processes()
    alone.POLL_S = 0.1
    folder, rank = f"{sys.argv[1]}/ckpt", jax.process_index()
    seen = [
        save(folder, 1),
        alone.first_alone(lambda: read(folder), "reading"),
        alone.first_alone(lambda: read(folder), "reading"),
        # Orbax numbers what a process saves: reading must not put them out of step.
        save(folder, 2),
        read(folder),
        check_equal(7, "different numbers"),
        outcome(lambda: check_equal(rank, "different numbers")),
        outcome(lambda: check_equal(f"{rank:064x}", "different networks")),
        outcome(lambda: alone.first_alone(fail, "test")),
    ]
    print(rank, *seen, flush=True)
