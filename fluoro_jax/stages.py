"""Prints the stages of a command and records the seconds that each took.

A stage within another pauses the outer one, so the seconds of all stages of the main
thread add up to the time passed. A stage in another thread is listed as done beside.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

BESIDE = " (beside other stages)"
_spent: dict[str, float] = {}
_stack = threading.local()


@contextlib.contextmanager
def timed(part: str) -> Iterator[None]:
    """Adds the seconds spent inside, without those of inner stages, to `part`."""
    main = threading.current_thread() is threading.main_thread()
    part = part if main else part + BESIDE
    open_stages = _stack.__dict__.setdefault("open", [])
    now = time.perf_counter()
    if open_stages:
        _add(open_stages[-1], now)
    open_stages.append([part, now])
    try:
        yield
    finally:
        now = time.perf_counter()
        _add(open_stages.pop(), now)
        if open_stages:
            open_stages[-1][1] = now


@contextlib.contextmanager
def stage(what: str, *, part: str | None = None) -> Iterator[None]:
    """Prints `what` to stderr, then the seconds it took; counts them as `part`."""
    print(f"  {what} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with timed(part or what):
        yield
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


def reset() -> None:
    """Forgets all stages."""
    _spent.clear()


def split(total_s: float) -> dict[str, float]:
    """Returns seconds by stage, longest first, and what is left of `total_s`."""
    found = dict(sorted(_spent.items(), key=lambda item: -item[1]))
    beside = sum(s for part, s in found.items() if part.endswith(BESIDE))
    found["everything else"] = total_s - (sum(found.values()) - beside)
    return {part: round(seconds, 1) for part, seconds in found.items()}


def describe(total_s: float) -> str:
    """Returns `split` as lines for the user."""
    lines = [f"where {total_s:.0f} s went:"]
    lines += [f"  {seconds:6.1f} s  {part}" for part, seconds in split(total_s).items()]
    return "\n".join(lines)


def _add(entry: list, now: float) -> None:
    part, since = entry
    _spent[part] = _spent.get(part, 0.0) + now - since
