"""What a person sees while a run goes on, and how they may stop it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import jax
from tqdm import tqdm

from fluoro_jax.training import memory

LINE_EVERY_S = 30.0  # without a terminal, a line at most so often


class Progress:
    """A bar with time left, loss, validation IoU and millimetres; process 0 only.

    Without a terminal (a log file) it is a line now and then instead.
    """

    def __init__(self, start: int, total: int) -> None:
        self._first = jax.process_index() == 0
        self._bar = tqdm(
            initial=start,
            total=total,
            unit="step",
            disable=None if self._first else True,
        )
        self._total, self._timed = total, (start, time.monotonic())
        self._compiled = False
        self._shown, self._values = 0.0, {}

    def say(self, line: str) -> None:
        """One line for the user, above the bar."""
        if self._first:
            tqdm.write(line)

    def show(self, values: dict[str, float]) -> None:
        """Takes the newest of loss, eval/iou, eval/vertical_mm, eval/horizontal_mm."""
        names = {
            "loss": "loss",
            "eval/iou": "val IoU",
            "eval/vertical_mm": "val vert mm",
        }
        names["eval/horizontal_mm"] = "val horiz mm"
        for key, name in names.items():
            if key in values:
                self._values[name] = f"{values[key]:.3g}"
        self._bar.set_postfix(self._values, refresh=False)

    def advance(self, step: int) -> None:
        """`step` updates are done."""
        self._bar.update(1)
        now = time.monotonic()
        if not self._compiled:  # the first step compiles: it says nothing of the rest
            self._compiled, self._timed, self._shown = True, (step, now), now
            return
        if not (self._bar.disable and now - self._shown > LINE_EVERY_S):
            return
        self._shown = now
        first, begun = self._timed
        left = (now - begun) / (step - first) * (self._total - step)
        numbers = ", ".join(f"{k} {v}" for k, v in self._values.items())
        self.say(f"step {step} of {self._total}, {left / 60:.1f} min left  {numbers}")

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


class FirstCall:
    """Calls an update; before the first time it says that it will be compiled, and then
    how long that took and what memory it needs.
    """

    def __init__(self, name: str, program: Any, say: Callable[[str], None]) -> None:
        """`program` is a `parallel.Program`."""
        self._name, self._program, self._say, self._new = name, program, say, True

    def __call__(self, state: Any, *batches: Any) -> Any:
        """`program(state, *batches)`."""
        if self._new:
            self._new = False
            self._compile(state, *batches)
        return self._program(state, *batches)

    def _compile(self, state: Any, *batches: Any) -> None:
        self._say(f"compiling the {self._name}, once for this size and machine ...")
        begun = time.monotonic()
        beside = self._program.bytes_beside_state(state, *batches)
        self._say(f"  ... {self._name} ready after {time.monotonic() - begun:.0f} s")
        free = memory.free_bytes()
        for line in memory.report(self._name, beside, state, free=free):
            self._say(line)


class StopRequest:
    """SIGTERM and Ctrl-C as a wish to save and leave; a second one is obeyed at once.

    Only in the main thread of a run of one process: several processes could not agree
    on the step, so they end at once and go on from their last checkpoint.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        main = threading.current_thread() is threading.main_thread()
        if main and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
