"""Fresh tumours on trained and on new patients: which clips, and the table."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from configs import best_group, best_subgroup, paper_group
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import new_patients as new

STEP = 7


@pytest.fixture
def cfg():
    return best_group.get_config("smoke")


@pytest.fixture
def a_run(monkeypatch):
    """A network that answers half of a square; remembers which patients were drawn."""
    seen = []

    def batch_at(self, index):
        spec, renewals = self._spec, index // self._data.renew_every
        self._new_patient = lambda slot, number: types.SimpleNamespace(number=number)
        seen.append((self._seed, index, self._patient(0, renewals).number, spec.name))
        mask = np.zeros((4, 3, 32, 32), np.float32)
        mask[:, :, 4:8, 4:8] = 1.0
        mask[0] = 0.0  # a tumour that no pixel holds
        return {"frames": mask, "mask": mask}

    monkeypatch.setattr(new.SimulatorSource, "batch_at", batch_at)
    monkeypatch.setattr(new, "restore_generator", lambda *_: (None, None, STEP))
    monkeypatch.setattr(new, "forward", lower_half_empty)
    return seen


def lower_half_empty(generator, mode, params, frames, *, half_cells):
    assert frames.ndim == 4 and not half_cells
    answer = frames.copy()
    answer[..., 6:, :] = 0
    return answer


def test_the_clips_are_fresh_and_the_patients_those_of_training_or_not(
    cfg, a_run, tmp_path, capsys
):
    cfg.train.update(gen_updates=2, accumulate=3)
    cfg.data.update(pool_bodies=2, renew_every=14)
    found = new.evaluate_on_new_patients(FrozenConfigDict(cfg), tmp_path, count="12")
    # Those that training would go on with, 42 to 44, but of the patients of 41: slot 0
    # is renewed at 42, from number 2 to 4. And those of another seed.
    assert a_run == [
        *((cfg.seed, index, 2, "group") for index in (42, 43, 44)),
        *((cfg.seed + new.NEW_SEED, index, 0, "group") for index in (0, 1, 2)),
    ]
    assert found["rows"]["new"] == found["rows"]["trained"]
    row = found["rows"]["new"][0]
    assert row["n"] == 9 and row["iou"] == 0.5 and row["low"] is None
    stored = json.loads((tmp_path / "tables" / "new_patients.json").read_text())
    assert stored["step"] == STEP and stored["config"] == cfg.to_dict()
    assert "| all | 9 | 0.500 | 0 | 0.500 | 9 |" in capsys.readouterr().out


def test_the_table_by_hand(cfg):
    overlap = np.array([0.0, 0.05, 0.5, 0.9] * 5)
    size = np.array([5.0, 12.0, 12.0, 40.0] * 5)
    rows = {row["label"]: row for row in new.table(new.Scored(size, overlap), cfg)}
    assert list(rows) == ["all", "under 10 mm", "10 to 14 mm", "from 28 mm on"]
    assert rows["all"]["n"] == 20 and rows["all"]["lost"] == 0.5
    assert rows["all"]["iou_found"] == pytest.approx(0.7)
    assert rows["all"]["low"] < rows["all"]["iou"] < rows["all"]["high"]
    assert rows["under 10 mm"]["iou_found"] is None
    assert rows["10 to 14 mm"]["lost"] == 0.5 and rows["10 to 14 mm"]["low"] is None
    # No clip whose tumour fills a pixel: no row, and nothing that JSON cannot hold.
    assert new.table(new.Scored(np.array([]), np.array([])), cfg) == []


def test_a_run_that_stopped_before_its_first_step_has_its_first_patients(cfg):
    assert new._LastPool(cfg, 0)._renewals == 0
    clip = next(new._clips(cfg, "trained", 0, 1))
    assert clip[0].shape == clip[1].shape == (10, cfg.study.rows, cfg.study.cols)


def test_what_cannot_be_asked_for_is_refused(cfg, tmp_path):
    for count in ("0", "many", "-3", "1.5"):
        with pytest.raises(UserError, match=f"--count={count}"):
            new.evaluate_on_new_patients(cfg, tmp_path, count=count)
    stored = paper_group.get_config("smoke")
    with pytest.raises(UserError, match='"dataset"'):
        new.evaluate_on_new_patients(stored, tmp_path)
    for given in (best_subgroup.get_config("smoke"), best_group.get_config("smoke")):
        if given.study.name == "group":
            given.data.bodies = "ct"
        with pytest.raises(UserError, match="no new ones"):
            new.evaluate_on_new_patients(given, tmp_path)
    assert not list(tmp_path.iterdir())
