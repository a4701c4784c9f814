from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fluoro_jax.training import writer


def written(folder, resumed_step=0, rows=()):
    out = writer.Writer(folder, resumed_step=resumed_step)
    for step, values in rows:
        out.write(step, values)
    out.close()
    return writer.read_rows(folder / "metrics.jsonl")


def test_a_resumed_run_has_no_row_twice(tmp_path):
    first = [(s, {"train/loss": float(s)}) for s in (1, 2, 3)]
    first += [(2, {"eval/iou": 0.5}), (3, {"eval/iou": 0.6})]
    written(tmp_path, rows=first)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "tra')  # killed here
    rows = written(tmp_path, 2, [(2, {"eval/iou": 0.7}), (3, {"train/loss": 9.0})])
    assert rows == [
        {"step": 1, "train/loss": 1.0},
        {"step": 2, "train/loss": 2.0},
        {"step": 2, "eval/iou": 0.7},
        {"step": 3, "train/loss": 9.0},
    ]


def test_a_number_that_is_none_is_null(tmp_path):
    rows = written(tmp_path, rows=[(1, {"a": float("nan"), "b": float("inf"), "c": 1})])
    assert rows == [{"step": 1, "a": None, "b": None, "c": 1}]


def test_tensorboard_reads_the_events(tmp_path):
    written(tmp_path, rows=[(1, {"train/loss": 3.0}), (2, {"train/loss": 2.0})])
    written(tmp_path, 1, [(2, {"train/loss": 1.5})])
    board = EventAccumulator(str(tmp_path / "tb")).Reload()
    points = [(p.step, p.value) for p in board.Scalars("train/loss")]
    assert points[0] == (1, 3.0) and points[-1] == (2, 1.5)


def test_without_tensorboard_the_lines_are_still_written(tmp_path, monkeypatch):
    def absent(*_):
        raise ImportError

    monkeypatch.setattr(writer, "_Board", absent)
    assert written(tmp_path, rows=[(1, {"a": 1.0})]) == [{"step": 1, "a": 1.0}]
    assert not (tmp_path / "tb").exists()


@pytest.mark.parametrize("resumed_step", [0, 5])
def test_a_new_folder_needs_nothing(tmp_path, resumed_step):
    assert written(tmp_path, resumed_step) == []
