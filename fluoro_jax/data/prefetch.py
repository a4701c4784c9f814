"""Micro-batches made one step ahead, by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from fluoro_jax.data.batches import Batch, BatchSource


class Prefetcher:
    """Placed batches from `start` on, made one step ahead by a thread.

    Iterates for ever; an exception of the thread is raised by the next call of
    `next`. Close it, or use it as a context.

    Args:
        source: makes the batches.
        start: number of the first micro-batch.
        place_fn: puts a batch on the devices; runs in the thread.
        depth: batches that may wait.
    """

    def __init__(
        self,
        source: BatchSource,
        start: int,
        place_fn: Callable[[Batch], Any],
        *,
        depth: int = 2,
    ) -> None:
        # Bounded: batches lie on the device, and each that waits takes memory there.
        self._ready: queue.Queue = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(source, start, place_fn), daemon=True
        )
        self._thread.start()

    def _work(self, source: BatchSource, index: int, place_fn: Callable) -> None:
        while not self._stop.is_set():
            # BaseException: whatever ends the thread must reach `next`, which would
            # wait for ever.
            try:
                item = (place_fn(source.batch_at(index)), None)
            except BaseException as error:  # handed over, raised by the consumer
                item = (None, error)
            index += 1
            self._put(item)
            if item[1] is not None:
                return

    def _put(self, item: tuple) -> None:
        # With a timeout, so that a full queue cannot hold `close` up.
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __iter__(self) -> Prefetcher:
        return self

    def __next__(self) -> Any:
        if self._stop.is_set():
            # Batches may still wait in the queue; after `close` none is handed out.
            raise StopIteration
        batch, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        return batch

    def close(self) -> None:
        """Stops and joins the thread; further `next` ends the iteration."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prefetch(
    source: BatchSource, start: int, place_fn: Callable[[Batch], Any]
) -> Prefetcher:
    """Iterator of `place_fn(source.batch_at(i))` for i = start, start + 1, ..."""
    return Prefetcher(source, start, place_fn)
