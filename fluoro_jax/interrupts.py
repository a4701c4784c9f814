"""Acknowledges Ctrl-C at once and handles it at the next safe point.

A second Ctrl-C ends the process immediately.

Python runs a signal handler between two bytecodes of the main thread, so a press while
XLA compiles (up to a minute) would show nothing. The interpreter's wake-up pipe is
written by the C handler itself; a thread that reads it can answer in the meantime.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

STOPPING = "stopping as soon as the current work allows; press Ctrl-C again to exit now"
SAVING = (
    "stopping after this step or compilation, the state is then saved; press Ctrl-C "
    "again to exit now"
)
INTERRUPTED = 128 + signal.SIGINT  # the shells' code
FLUSH_S = 1.0
TWICE_S = 0.2  # wrappers forward the signal that the terminal has sent already


class _Listener:
    """The thread behind `acknowledged`; one a process."""

    def __init__(self) -> None:
        self.presses, self._pressed_at = 0, 0.0
        self.message = STOPPING
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._write)  # the thread reads the end of the pipe and returns
        self._thread.join()
        os.close(self._read)

    def _listen(self) -> None:
        while data := os.read(self._read, 1):
            number = data[0]
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            now = time.monotonic()
            if self.presses and now - self._pressed_at > TWICE_S:
                leave(128 + number)
            if self.presses:
                continue
            self.presses, self._pressed_at = 1, now
            # Not print: the main thread may hold the stream's lock.
            os.write(2, f"\n{self.message}\n".encode())


_active: _Listener | None = None


@contextlib.contextmanager
def acknowledged() -> Iterator[None]:
    """Answers Ctrl-C on stderr at once; a second press exits with code 130.

    The first press raises KeyboardInterrupt in the main thread as usual; one that
    leaves this context ends the process with "interrupted" and code 130. Nested uses
    share one listener, and outside of the main thread there is no handler to set.

    Raises:
        SystemExit: code 130, after Ctrl-C.
    """
    global _active
    main = threading.current_thread() is threading.main_thread()
    own = _active is None and main
    if own:
        _active = _Listener()
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    finally:
        if own and _active is not None:
            listener, _active = _active, None
            listener.close()


def raise_if_pressed() -> None:
    """Raises KeyboardInterrupt if a press was lost.

    One that arrives inside a destructor or a callback from C is printed as "ignored"
    and dropped by Python; callers check at the end of such stretches (imports).
    """
    if _active is not None and _active.presses:
        raise KeyboardInterrupt


@contextlib.contextmanager
def announcing(message: str) -> Iterator[None]:
    """Uses `message` as the answer to the first press while in this context."""
    if _active is None:
        yield
        return
    before, _active.message = _active.message, message
    try:
        yield
    finally:
        if _active is not None:
            _active.message = before


def exit_with(code: int) -> NoReturn:
    """Ends the process with a code, whatever its threads do.

    After an error a program may still be compiling in a thread (`training.progress`).
    The interpreter's own end stops such a thread inside XLA, which aborts the process
    with code 134 (seen in one of three such errors).
    """
    if code:
        leave(code)
    sys.exit(code)


def leave(code: int) -> NoReturn:
    """Ends the process now, without clean-up; buffered output is written if it can be.

    In a thread with a time limit, because the interrupted main thread may hold the
    lock of a stream.
    """
    flush = threading.Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(FLUSH_S)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
