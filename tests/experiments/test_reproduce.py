from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import config, fake_results

from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.evaluate import identity
from fluoro_jax.experiments import reproduce as module
from fluoro_jax.report.figures import Figure


@pytest.fixture
def calls(monkeypatch):
    """`reproduce` without training, simulating or drawing; counts evaluations."""
    seen = {"weights": np.zeros(2), "evaluated": 0}

    def evaluate(cfg, workdir, *, data_dir, restored, trained_on, published):
        seen["evaluated"] += 1
        results = fake_results(workdir)
        results.table.update(identity(cfg, restored[1], 7))
        return results

    def draw(results, folder):
        folder.mkdir(exist_ok=True)
        (folder / "a.png").write_bytes(b"\x89PNG")
        return [Figure(folder / "a.png", "a", "b")]

    section = {"words": "", "rows": [], "figures": []}
    monkeypatch.setattr(module, "train", lambda *a, **k: None)
    monkeypatch.setattr(
        module, "restore_generator", lambda *a: (None, {"w": seen["weights"]}, 7)
    )
    monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(module, "track_recorded", lambda runs, cfg: None)
    monkeypatch.setattr(module, "study_figures", draw)
    monkeypatch.setattr(module, "recorded_section", lambda *a: section)
    return seen


def test_second_call_reuses_and_prints_the_same(calls, tmp_path, capsys):
    first = module.reproduce(config(), tmp_path)
    shown = capsys.readouterr().out
    second = module.reproduce(config(), tmp_path)
    assert calls["evaluated"] == 1
    assert capsys.readouterr().out == shown
    assert f"report: {tmp_path / 'report.html'}" in shown and "| IoU |" in shown
    assert first.report == second.report and first.report.exists()


def test_other_weights_or_config_are_evaluated_again(calls, tmp_path):
    module.reproduce(config(), tmp_path)
    calls["weights"] = np.ones(2)
    module.reproduce(config(), tmp_path)
    assert calls["evaluated"] == 2
    cfg = config()
    cfg.evaluation.threshold = 0.4
    module.reproduce(cfg, tmp_path)
    assert calls["evaluated"] == 3


def test_a_key_that_changes_no_number_evaluates_nothing_again(calls, tmp_path):
    module.reproduce(config(), tmp_path)
    cfg = config()
    cfg.name, cfg.choices = "renamed", "test"
    cfg.train.log_every = 3
    module.reproduce(cfg, tmp_path)
    assert calls["evaluated"] == 1


@pytest.mark.parametrize("name", ["report.html", "figures/a.png", "evaluation.json"])
def test_a_missing_piece_is_made_again(calls, tmp_path, name):
    module.reproduce(config(), tmp_path)
    (tmp_path / name).unlink()
    module.reproduce(config(), tmp_path)
    assert calls["evaluated"] == 2 and (tmp_path / name).exists()


def test_half_written_record_is_not_trusted(calls, tmp_path):
    module.reproduce(config(), tmp_path)
    (tmp_path / "evaluation.json").write_text('{"sha256": "')
    module.reproduce(config(), tmp_path)
    assert calls["evaluated"] == 2


def test_results_carry_the_table(calls, tmp_path):
    results = module.reproduce(config(), tmp_path)
    assert {f.name for f in dataclasses.fields(results)} >= {"table", "report"}
    assert results.table["n_cases"] == 4
    stored = module.tables.read_table(tmp_path / "tables")
    assert stored["precision"] == "float32"


def test_evaluating_again_outdates_the_report(tmp_path, monkeypatch):
    """Or the next `reproduce` would take tables without the recorded clip for whole."""
    (tmp_path / module.DONE).write_text("{}")
    scored = SimpleNamespace(table=identity(config(), np.zeros(2), 7))
    monkeypatch.setattr(module, "evaluate", lambda *args, **named: scored)
    monkeypatch.setattr(module.published, "reference", lambda cfg: None)
    monkeypatch.setattr(module.tables, "to_markdown", lambda table, short: "")
    assert module.evaluate_run(config(), tmp_path) is scored
    assert scored.table["precision"] == "float32"
    assert not (tmp_path / module.DONE).exists()


def test_scoring_validation_cases_leaves_the_finished_report(tmp_path, monkeypatch):
    (tmp_path / module.DONE).write_text("{}")
    seen = {}

    def evaluate(cfg, workdir, **named):
        seen.update(named)
        return SimpleNamespace(table={})

    monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(module.tables, "to_markdown", lambda table, short: "")
    module.evaluate_run(config(), tmp_path, split="val")
    assert seen["split"] == "val"
    assert seen["published"] is module.tables.NOTHING_PUBLISHED
    assert (tmp_path / module.DONE).exists()


def test_training_cases_are_not_scored(tmp_path):
    with pytest.raises(UserError, match="not trained on"):
        module.evaluate_run(None, tmp_path, split="train")
