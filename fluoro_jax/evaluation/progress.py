"""What is being done and how long it took, one line a stage, to stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


@contextlib.contextmanager
def stage(what: str) -> Iterator[None]:
    """Prints `what`, and the seconds it took once it is done."""
    print(f"  {what} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
