"""A tracker fitted to a patient, at a size for tests."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from chest_patient import write_chest_patient
from ml_collections import ConfigDict

from fluoro_jax import zoo
from fluoro_jax.patient import fit as fitting
from fluoro_jax.patient.fit import FitOptions, fit
from fluoro_jax.training.nets import build


@pytest.mark.slow
def test_weights_card_and_table_come_out_of_the_minutes(tmp_path, monkeypatch, capsys):
    """A network of a few channels on 32 x 32 pixels, for no time at all."""
    usual = fitting.fit_config

    def small(options):
        cfg = ConfigDict(usual(options).to_dict())
        cfg.study.update(rows=32, cols=32, num_val=2, voxel_mm=8.0)
        cfg.gen.update(base=4, cap=8, levels=3, refine_levels=2)
        return fitting.validate(cfg)

    monkeypatch.setattr(fitting, "fit_config", small)
    monkeypatch.setattr(fitting, "LAST_MINUTES", 0.0)
    (tmp_path / "patient").mkdir()
    write_chest_patient(tmp_path / "patient")
    table = fit(FitOptions(tmp_path, name="mine", minutes=0.0))
    assert {c["key"] for c in table["columns"]} == {"ours", "static"}
    assert "held out" in capsys.readouterr().out
    name, folder = zoo.find(str(tmp_path))
    tracker = zoo.tracker(name, folder=folder)
    assert name == "mine" and tracker.lookahead_frames == fitting.LOOKAHEAD
    assert not tracker.learned.whole_chest
    assert json.loads((tmp_path / "mine.json").read_text())["training"]["step"] == 0


def test_published_weights_fit_the_network_that_goes_on_from_them(tmp_path):
    (tmp_path / "patient").mkdir()
    options = FitOptions(tmp_path, init="group")
    cfg = fitting.fit_config(options)
    parent = zoo.load("group")
    assert cfg.gen == parent.cfg.gen and cfg.study.rows == parent.cfg.study.rows
    assert cfg.data.bodies == "patient" and cfg.study.name == "clinic"
    state = jax.eval_shape(build(cfg).init)
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
    assert shapes(state.gen.params) == shapes(fitting._first_params(options))
    assert fitting._first_params(FitOptions(tmp_path)) is None


@pytest.fixture
def trials(monkeypatch):
    """Stand-ins for training and tracking; the errors by what a network starts from."""
    errors, trained = {"scratch": 3.0, "group": 2.0}, []

    def train(cfg, folder, *, until, params):
        folder.mkdir(parents=True)
        name = folder.name.removeprefix("trial-")
        (folder / "made").write_text(name)
        trained.append((name, params))

    def judge(method, clips, cfg):
        error = errors[method.tracker]
        return SimpleNamespace(scores=[SimpleNamespace(distance_mm=np.full(4, error))])

    names = lambda cfg, folder: (None, folder.name.removeprefix("trial-"), 7)
    monkeypatch.setattr(fitting, "train", train)
    monkeypatch.setattr(fitting, "fit_config", lambda options: None)
    monkeypatch.setattr(fitting, "_first_params", lambda options: options.init)
    monkeypatch.setattr(fitting, "restore_generator", names)
    monkeypatch.setattr(fitting, "network_tracker", lambda gen, params, *_: params)
    monkeypatch.setattr(fitting, "_clips", lambda cfg, first: [])
    monkeypatch.setattr(fitting, "run_method", judge)
    return errors, trained


@pytest.mark.parametrize("best", ["scratch", "group"])
def test_the_better_of_two_trials_goes_on(best, trials, tmp_path):
    errors, trained = trials
    errors[best] = 1.0
    options = FitOptions(tmp_path, init=fitting.AUTO)
    assert fitting._chosen(options) == best
    assert trained == [("scratch", "scratch"), ("group", "group")]
    assert (tmp_path / "run" / "made").read_text() == best
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [fitting.CHOICE, "run"]
    told = json.loads((tmp_path / fitting.CHOICE).read_text())
    assert told["trials"][best] == {"median_mm": 1.0, "steps": 7}
    # The same command neither tries again nor touches the run.
    assert fitting._chosen(options) == best and len(trained) == 2


def test_a_choice_that_was_cut_off_is_finished(trials, tmp_path):
    _, trained = trials
    (tmp_path / "trial-group").mkdir()
    (tmp_path / fitting.CHOICE).write_text(json.dumps({"init": "group"}))
    assert fitting._chosen(FitOptions(tmp_path, init=fitting.AUTO)) == "group"
    assert (tmp_path / "run").is_dir() and not trained
