"""A tracker fitted to a patient, at a size for tests."""

from __future__ import annotations

import json

import pytest
from chest_patient import write_chest_patient
from ml_collections import ConfigDict

from fluoro_jax import zoo
from fluoro_jax.patient import fit as fitting
from fluoro_jax.patient.fit import FitOptions, fit


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
