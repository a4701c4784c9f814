from __future__ import annotations

import inspect

import numpy as np
from fake_scenarios import disc_clip

from fluoro_jax.experiments.compare import tune_fields
from fluoro_jax.tracking.baselines.static import StaticTracker


def test_defaults_are_among_the_settings_tried():
    for make, settings in tune_fields.GRIDS.values():
        known = inspect.signature(make).parameters
        default = {key: known[key].default for key in settings[0]}
        assert default in list(settings)


def test_all_trials_are_printed_on_the_beginning_of_each_clip(monkeypatch, capsys):
    clip = tune_fields.beginning(disc_clip(frames=40).clip)
    assert len(clip.frames) == len(clip.mask) == tune_fields.FRAMES
    static = StaticTracker(np.ones((32, 32), np.float32), np.array([16.0, 14.0]))
    grid = (lambda phases, **s: static, ({"one": 1.0}, {"one": 2.0}))
    monkeypatch.setattr(tune_fields, "patients", lambda: [(clip, None)])
    monkeypatch.setattr(tune_fields, "GRIDS", {"still": grid})
    tune_fields.main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].endswith("mm; one 2")
