from __future__ import annotations

from fluoro_jax.experiments.compare import time_left
from fluoro_jax.experiments.compare.time_left import TimeLeft


def test_what_is_left_goes_by_what_is_done(monkeypatch, capsys):
    clock = iter([0.0, 60.0, 180.0])
    monkeypatch.setattr(time_left.time, "perf_counter", lambda: next(clock))
    told = TimeLeft("compare", 6)
    told("clinic", 2)
    told("gain", 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[compare] clinic after 1.0 min; about 2 min left",
        "[compare] gain after 3.0 min; about 0 min left",
    ]
