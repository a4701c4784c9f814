from __future__ import annotations

import dataclasses
import json

import numpy as np
from fake_scenarios import disc_clip

from configs.trackers import get_config
from fluoro_jax.experiments.compare import tune_rivals
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.tune import GRIDS, at_edge, traces, trials
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.baselines.tune import errors_mm, tune


def test_it_tries_clips_like_those_of_the_table_from_the_tuning_seeds():
    table = get_config("cpu").clips.to_dict()
    assert tune_rivals.CLIPS["seeds"] == "tuning"
    for key, value in tune_rivals.CLIPS.items():
        if key not in ("seeds", "cases"):
            assert table[key] == value
    assert set(tune_rivals.SCENARIOS_TRIED) <= set(SCENARIOS)
    training = get_config("cpu").training
    assert (tune_rivals.TRAINING.name, tune_rivals.TRAINING.seed) == (
        training.study,
        training.seed,
    )


def test_every_clip_is_of_another_patient(monkeypatch):
    asked = []

    def scenario_clips(name, scenario, clips, *, indices):
        asked.append((name, *indices))
        return iter([disc_clip(indices[0])])

    monkeypatch.setattr(tune_rivals, "scenario_clips", scenario_clips)
    clips = tune_rivals.tuning_clips()
    assert asked == [(n, i) for i, n in enumerate(tune_rivals.SCENARIOS_TRIED)]
    assert len(clips) == len(asked) and clips[0].frames.ndim == 3


def test_traces_are_those_that_the_table_forecasts(tmp_path):
    rows = [{"scenario": name} for name in ("clinic", "setup", "real_ct")]
    config = {"clips": {"seeds": "tuning"}}
    table = dict(config=config, rows=rows, forecast_of="a@0")
    (tmp_path / "results.json").write_text(json.dumps(table))
    for scenario in ("clinic", "setup", "real_ct", "gain"):  # gain: of another call
        folder = tmp_path / "records" / scenario
        folder.mkdir(parents=True)
        for name in ("a@0", "a@0+followed"):
            cases = [f"{name} in {scenario}"]
            record = dict(tracker=name, scenario=scenario, cases=cases)
            (folder / f"{name.replace('@', '-')}.json").write_text(json.dumps(record))
    cases, read = traces(tmp_path)
    assert cases == ["a@0 in clinic"] and read.clips.seeds == "tuning"


def test_training_tumours_move_within_the_chest():
    paths_mm = tune_rivals.training_paths_mm(2)
    assert paths_mm.shape == (2, 10, 3)
    moved_mm = np.ptp(paths_mm, axis=1)
    assert moved_mm[:, 1].max() > 2.0 and moved_mm.max() < 60.0


def test_all_trials_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(tune_rivals, "tuning_clips", lambda: [disc_clip().clip])
    monkeypatch.setattr(tune_rivals, "training_paths_mm", lambda: np.zeros((1, 2, 3)))
    static = StaticTracker(np.ones((32, 32), np.float32), np.array([16.0, 14.0]))
    grid = (lambda arrays, **s: static, ({"one": 1}, {"one": 2}))
    monkeypatch.setattr(tune_rivals, "GRIDS", {"still": grid})
    tune_rivals.main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("still: ") and "one 1" in lines[0]


@dataclasses.dataclass(frozen=True)
class WrongAtFirst(StaticTracker):
    """Answers beside frame 0's tumour, and never again."""

    def step(self, state, frame, time_s):
        state, track = super().step(state, frame, time_s)
        away = np.array([5.0, 0.0]) if track.frame == 0 else 0.0
        return state, dataclasses.replace(track, centroid_px=track.centroid_px + away)


def test_frame_0_which_is_shown_is_not_scored():
    clip = disc_clip(amplitude_px=0.0).clip
    build = lambda: WrongAtFirst(np.ones((32, 32), np.float32), np.array([16.0, 14.0]))
    assert errors_mm(build(), clip)[0] > 10.0
    (trial,) = tune(build, [{}], [clip])
    assert trial.p95_mm < 1e-6


def test_a_best_setting_at_the_edge_of_its_grid_is_told():
    assert at_edge("linear", {"line_s": 0.25}) == []
    assert at_edge("linear", {"line_s": 0.1}) == ["line_s"]
    assert len(list(trials("ridge"))) == 54
    assert all(len(values) >= 2 for grid in GRIDS.values() for values in grid.values())
