"""A first call that compiles in a thread beside other work."""

import numpy as np
from tqdm import tqdm

from fluoro_jax.training import memory
from fluoro_jax.training.progress import FirstCall


class Compiled:
    """A program that needs no memory and answers with its state."""

    def bytes_beside_state(self, state, *batches):
        return 0

    def __call__(self, state, *batches):
        return state


def test_tqdm_has_its_lock_before_the_thread_starts(monkeypatch):
    """Made by two threads at once it stopped a training before its first step."""
    monkeypatch.setattr(memory, "report", lambda beside, state, **_: [])
    monkeypatch.delattr(tqdm, "_lock", raising=False)
    seen = []
    call = FirstCall(
        "update", Compiled(), lambda _: seen.append(hasattr(tqdm, "_lock"))
    )
    call.begin(np.zeros(1))
    assert call(np.zeros(1)) == 0.0
    assert seen and all(seen)
