"""Fresh tumours on trained and on new patients: which clips, and the table."""

from __future__ import annotations

import json

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
        self._new_patient = lambda slot, number: number
        drawn = [self._patient(slot=0, renewals=0) for _ in range(4)]
        seen.append((self._seed, index, sorted(drawn)))
        mask = np.zeros((4, 3, 32, 32), np.float32)
        mask[:, :, 4:8, 4:8] = 1.0
        mask[0] = 0.0  # a tumour that no pixel holds
        return {"frames": mask, "mask": mask}

    monkeypatch.setattr(new.SimulatorSource, "batch_at", batch_at)
    monkeypatch.setattr(new, "restore_generator", lambda *_: (None, None, STEP))
    monkeypatch.setattr(new, "forward", lower_half_empty)
    return seen


def lower_half_empty(generator, mode, params, frames, *, half_cells):
    assert frames.ndim == 4 and half_cells
    answer = 0.4 * frames  # over the config's threshold, and under the usual one
    answer[..., 6:, :] = 0
    return answer


def test_the_clips_are_fresh_and_the_patients_those_of_training_or_not(
    cfg, a_run, tmp_path, capsys
):
    cfg.train.update(gen_updates=2, accumulate=3)
    cfg.data.update(pool_bodies=2, renew_every=14)
    cfg.evaluation.update(half_cells=True, threshold=0.3)
    found = new.evaluate_on_new_patients(FrozenConfigDict(cfg), tmp_path, count="12")
    # Those that training would go on with, 42 to 44, of all patients until 41: two, and
    # two renewals since. And as many of another seed.
    assert a_run == [
        *((cfg.seed, index, [0, 1, 2, 3]) for index in (42, 43, 44)),
        *((cfg.seed + new.NEW_SEED, index, [0, 1, 2, 3]) for index in (42, 43, 44)),
    ]
    assert found["rows"]["new"] == found["rows"]["trained"]
    row = found["rows"]["new"][0]
    assert row["n"] == 9 and row["iou"] == 0.5 and row["low"] is None
    printed = capsys.readouterr().out
    assert "Whole masks at p >= 0.3; up to 4 clips each of another" in printed
    stored = json.loads((tmp_path / "tables" / "new_patients.json").read_text())
    assert stored["step"] == STEP and stored["config"] == cfg.to_dict()
    assert "| all | 9 | 0.500 | 0 | 0.500 | 9 |" in printed


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


def test_real_clips_of_both_kinds_differ(cfg):
    first = lambda kind: next(new._clips(cfg, kind, 0, 1))[0]
    trained, others = first("trained"), first("new")
    assert trained.shape == others.shape == (10, cfg.study.rows, cfg.study.cols)
    assert np.abs(trained - others).max() > 0.1


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


def test_a_file_in_the_folders_place_is_told_before_the_work(cfg, a_run, tmp_path):
    (tmp_path / "tables").write_text("not a folder")
    with pytest.raises(FileExistsError):
        new.evaluate_on_new_patients(FrozenConfigDict(cfg), tmp_path, count="12")
    assert not a_run


def test_sizes_are_printed_in_their_order(cfg):
    row = dict(n=1, iou=0.5, low=None, high=None, lost=0.0, iou_found=0.5)
    large, small = (
        {**row, "label": label} for label in ("from 28 mm on", "14 to 20 mm")
    )
    rows = {"trained": [large], "new": [small]}
    found = {"config": cfg.to_dict(), "step": STEP, "patients": 9, "rows": rows}
    text = new.markdown(found)
    assert text.index("14 to 20 mm") < text.index("from 28 mm on")
