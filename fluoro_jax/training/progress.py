"""Shows the progress of a run, and handles requests to stop it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any

import jax
from tqdm import tqdm

from fluoro_jax import interrupts
from fluoro_jax.stages import timed
from fluoro_jax.training import memory

LINE_EVERY_S = 30.0  # without a terminal, a line at most so often


class Progress:
    """Shows a bar with time left, loss, validation IoU and errors; process 0 only.

    Without a terminal (a log file) it prints a line now and then instead.

    Args:
        start: first step.
        total: last step.
        until: `time.monotonic()` at which the run ends before its last step, or None.
    """

    def __init__(self, start: int, total: int, until: float | None = None) -> None:
        self._first = jax.process_index() == 0
        self._bar = tqdm(
            initial=start,
            total=total,
            unit="step",
            # None lets tqdm decide: no bar where stderr is no terminal. Other processes
            # never show one.
            disable=None if self._first else True,
        )
        self._total, self._timed = total, (start, time.monotonic())
        self._until = until
        self._compiled = False
        self._shown, self._values = 0.0, {}

    def say(self, line: str) -> None:
        """Prints one line for the user, above the bar."""
        # `write` goes above the bar; `print` would tear it.
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
        # `refresh` would draw the bar, which `advance` does anyway.
        self._bar.set_postfix(self._values, refresh=False)

    def advance(self, step: int) -> None:
        """Records that `step` updates are done."""
        self._bar.update(1)
        now = time.monotonic()
        if not self._compiled:  # the first step compiles: it says nothing of the rest
            self._compiled, self._timed, self._shown = True, (step, now), now
            return
        if not (self._bar.disable and now - self._shown > LINE_EVERY_S):
            return
        self._shown = now
        first, begun = self._timed
        # Over all steps since the first one: the mean is steadier than the last step's
        # time.
        left = (now - begun) / (step - first) * (self._total - step)
        if self._until is not None:
            left = min(left, max(self._until - now, 0.0))
        numbers = ", ".join(f"{k} {v}" for k, v in self._values.items())
        self.say(f"step {step} of {self._total}, {left / 60:.1f} min left  {numbers}")

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


class FirstCall:
    """Calls an update, and announces what its first call compiles.

    Args:
        name: of the update.
        program: a `parallel.Program`.
        say: takes the lines meant for the user.
        expected_s: seconds that compiling may take on two CPU cores.
        cfg: the run's config, for advice where memory is short.
    """

    def __init__(
        self,
        name: str,
        program: Any,
        say: Callable[[str], None],
        *,
        expected_s: float = 0.0,
        cfg: Any = None,
    ) -> None:
        self._cfg = cfg
        self._name, self._program, self._say = name, program, say
        self._expected_s = expected_s
        self._ready: Future[None] | None = None

    def begin(self, state: Any, *batches: Any) -> None:
        """Starts to compile for these arguments in a thread, beside other work."""
        ready: Future[None] = Future()
        self._ready = ready
        # tqdm makes its lock on first use, and two threads that do so at once, this one
        # and a progress bar of the main one, wait for each other for ever (seen).
        tqdm.get_lock()
        run = lambda: _settle(ready, lambda: self._compile(state, *batches))
        # A daemon: the exit need not wait for XLA's compiler, which cannot be stopped.
        threading.Thread(target=run, daemon=True).start()

    def __call__(self, state: Any, *batches: Any) -> Any:
        """Returns `program(state, *batches)`."""
        if self._ready is None:
            self._ready = Future()
            _settle(self._ready, lambda: self._compile(state, *batches))
        # Waiting is timed only where there is any, or every call would be a stage.
        if self._ready.done():
            self._ready.result()
        else:
            with timed("waiting for a program to compile"):
                self._ready.result()
        return self._program(state, *batches)

    def _compile(self, state: Any, *batches: Any) -> None:
        about = f"about {self._expected_s:.0f} s on two CPU cores, less when cached"
        told = f" ({about})" * bool(self._expected_s)
        self._say(f"compiling the {self._name}{told} ...")
        begun = time.monotonic()
        with timed("compiling the updates"):
            beside = self._program.bytes_beside_state(state, *batches)
        ready = f"{self._name} ready after {time.monotonic() - begun:.0f} s"
        free = memory.free_bytes()
        first, *more = memory.report(beside, state, free=free, cfg=self._cfg) or [""]
        self._say(f"  ... {ready}{first and f'; {first}'}")
        for line in more:
            self._say(line)


def _settle(future: Future[None], work: Callable[[], None]) -> None:
    """Runs `work`; the future ends with it, or with what it raises."""
    try:
        work()
    except BaseException as error:
        # Of any kind: in the main thread it may be Ctrl-C, which `result` raises again.
        future.set_exception(error)
    else:
        future.set_result(None)


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a request to save and exit.

    The first is acknowledged at once and handled after the current step or compilation;
    the second exits immediately. Only in the main thread of a run of one process:
    several processes could not agree on the step, so they end at once and resume from
    their last checkpoint.

    Args:
        until: `time.monotonic()` at which the run ends as if asked to, or None.
    """

    def __init__(self, until: float | None = None) -> None:
        self.signal: int | None = None
        self._until = until
        self._before: dict[int, Any] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> StopRequest:
        # A press before the handlers are in place would otherwise be forgotten.
        interrupts.raise_if_pressed()
        main = threading.current_thread() is threading.main_thread()
        if main and jax.process_count() == 1:
            self._stack.enter_context(interrupts.announcing(interrupts.SAVING))
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    @property
    def late(self) -> bool:
        """Returns whether the run's time is up."""
        return self._until is not None and time.monotonic() >= self._until

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        # At once: a second signal is no request any more.
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
        self._stack.close()
