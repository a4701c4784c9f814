"""Numbers of a run as JSON lines, always, and as TensorBoard events if installed."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluoro_jax.io.files import write_text

EVAL_PREFIX = "eval/"


class Writer:
    """Appends rows `{"step": s, name: value, ...}`; one object per run, process 0.

    A row of step s tells of the updates before step s, so a run resumed at step r
    keeps every row up to r, except the evaluation at r, which it does again.

    Args:
        workdir: holds `metrics.jsonl` and `tb/`.
        resumed_step: the step the run goes on from; 0 for a new one.
    """

    def __init__(self, workdir: Path, *, resumed_step: int = 0) -> None:
        path = Path(workdir) / "metrics.jsonl"
        _forget_from(path, resumed_step)
        # A handle of the system's, opened to append: `write` is one call, so a row of a
        # killed run is whole or missing but for a full disk.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._board = _open_board(Path(workdir) / "tb", resumed_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One row in one system call; a value that is not finite becomes null."""
        # JSON has no NaN.
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        row = json.dumps({"step": step, **finite})
        os.write(self._file, (row + "\n").encode())
        if self._board is not None:
            self._board.add(step, values)

    def close(self) -> None:
        """Writes what TensorBoard still holds back and closes the files."""
        os.close(self._file)
        if self._board is not None:
            self._board.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a half line (the run was killed) is left out."""
    rows = []
    if not path.exists():
        return rows
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def training_seconds(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Time between the logged steps over all calls of a run, None without any.

    From the speed that each row tells; compiling and validation are counted, and so is
    any time that the process stood still.
    """
    total, last = 0.0, 0
    for row in rows:
        if speed := row.get("train/steps_per_s"):
            # The time of the rows since the last one, from their speed: rows themselves
            # have no clock.
            total += (row["step"] - last) / speed
            last = row["step"]
    return round(total, 1) if last else None


def _forget_from(path: Path, step: int) -> None:
    """Drops the rows that the resumed run will write again."""
    if not path.exists():
        return
    # Rows at the resumed step tell of updates before it, and stay; its validation is
    # made again.
    again = lambda row: (
        row["step"] > step
        or (row["step"] == step and any(k.startswith(EVAL_PREFIX) for k in row))
    )
    kept = [json.dumps(row) + "\n" for row in read_rows(path) if not again(row)]
    # Rewritten whole: a run killed here keeps its old rows.
    write_text(path, "".join(kept))


class _Board:
    """TensorBoard's own event writer: no TensorFlow needed."""

    def __init__(self, folder: Path, resumed_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import (
            Event,  # pyright: ignore[reportAttributeAccessIssue]
            SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
        )
        from tensorboard.compat.proto.summary_pb2 import (
            Summary,  # pyright: ignore[reportAttributeAccessIssue]
        )
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._events = EventFileWriter(str(folder))
        if resumed_step:  # tells TensorBoard to drop later points of earlier files
            start = SessionLog(status=SessionLog.START)
            # TensorBoard drops points from the event's step on, so the next step is
            # named.
            self._events.add_event(
                Event(wall_time=time.time(), step=resumed_step + 1, session_log=start)
            )

    def add(self, step: int, values: dict[str, float]) -> None:
        value = self._summary.Value
        points = [value(tag=k, simple_value=v) for k, v in values.items()]
        summary = self._summary(value=points)
        event = self._event(wall_time=time.time(), step=step, summary=summary)
        self._events.add_event(event)

    def close(self) -> None:
        self._events.close()


def _open_board(folder: Path, resumed_step: int) -> _Board | None:
    try:
        return _Board(folder, resumed_step)
    except ImportError:
        # tensorboard is an extra; metrics.jsonl is always written.
        return None
