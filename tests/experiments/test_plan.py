"""A plan in miniature: parts that never train, and records of fake results."""

from __future__ import annotations

import copy
import json
import types

import pytest
from fakes import fake_results

from configs import paper_all
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import paper_tables, plan, plan_tables


@pytest.fixture(scope="module")
def cfg():
    return paper_all.get_config("smoke")


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """`reproduce` without training; remembers what was run on whose network."""
    seen = []

    def reproduce(cfg, workdir, *, data_dir, network_of=None, table_only=False):
        owner = network_of[1].name if network_of else None
        seen.append((workdir.name, owner))
        workdir.mkdir(parents=True, exist_ok=True)
        return fake_results(workdir)

    monkeypatch.setattr(plan, "reproduce", reproduce)
    return seen


def call(cfg, folder, *only):
    return plan.reproduce_plan(cfg, folder, only=only, results=folder / "stored")


def test_the_core_runs_in_order_and_once(cfg, runs, tmp_path, capsys):
    call(cfg, tmp_path)
    core = [n for n in cfg.order if cfg.parts[n].core]
    assert [name for name, _ in runs] == core and len(core) == 7
    shown = capsys.readouterr().out
    call(cfg, tmp_path)
    assert len(runs) == 7 and capsys.readouterr().out == shown
    assert (tmp_path / "figures" / "parts.png").stat().st_size > 5000


def test_a_part_brings_those_it_rests_on(cfg, runs, tmp_path):
    call(cfg, tmp_path, "patient_other", "subgroup_ends_frozen")
    assert runs == [
        ("best_group", None),
        ("best_patient", None),
        ("subgroup_ends_frozen", None),
        ("patient_other", "best_patient"),
    ]


def test_a_beginning_of_names_stands_for_all_of_them(cfg, runs, tmp_path):
    call(cfg, tmp_path, "held_out")
    assert len(runs) == 7 and all(o == "best_group" for _, o in runs[1:])


def test_another_config_is_run_again_and_so_is_what_rests_on_it(cfg, runs, tmp_path):
    call(cfg, tmp_path, "patient_other")
    other = copy.deepcopy(cfg)
    other.parts.best_patient.run.seed = 3
    call(other, tmp_path, "patient_other")
    assert [name for name, _ in runs] == ["best_patient", "patient_other"] * 2


def test_stored_results_are_reused_and_broken_ones_are_not(cfg, runs, tmp_path):
    call(cfg, tmp_path / "first", "best_patient")
    stored = tmp_path / "second" / "stored" / cfg.name
    stored.mkdir(parents=True)
    record = (tmp_path / "first" / "results" / "best_patient.json").read_text()
    (stored / "best_patient.json").write_text(record)
    call(cfg, tmp_path / "second", "best_patient")
    assert len(runs) == 1
    (stored / "best_patient.json").write_text(record[:200])
    call(cfg, tmp_path / "second", "best_patient")
    assert len(runs) == 2


def test_records_say_what_ran(cfg, runs, tmp_path):
    call(cfg, tmp_path, "best_patient")
    record = json.loads((tmp_path / "results" / "best_patient.json").read_text())
    assert record["config"]["study"]["name"] == "patient"
    assert set(record["environment"]) >= {"commit", "devices", "time"}
    assert record["table"]["cases"][0]["iou"] is not None
    assert record["curve"][0]["step"] == 1


def test_unknown_parts_are_explained(cfg, tmp_path):
    with pytest.raises(UserError, match="no part 'best_grup'") as caught:
        call(cfg, tmp_path, "best_grup")
    assert "did you mean best_group?" in str(caught.value)


def test_a_part_cannot_rest_on_a_later_one(cfg):
    turned = copy.deepcopy(cfg)
    turned.order = tuple(reversed(cfg.order))
    with pytest.raises(UserError, match="rests on 'best_"):
        plan.read_plan(turned)


def test_every_scale_of_the_plan_is_valid():
    for preset in paper_all.PRESETS:
        parts = plan.read_plan(paper_all.get_config(preset))
        assert len(parts) == len({part.sha256 for part in parts.values()})


def test_easy_and_hard_sets_are_chosen_by_what_covers_them():
    case = lambda number, heart, rib: {
        "set": number,
        "heart_overlap": heart,
        "spine_overlap": 0.0,
        "rib_overlap": rib,
    }
    cases = [case(0, 0.0, 0.3), case(1, 0.5, 0.0), case(2, 0.0, 0.1), case(2, 0.0, 0.0)]
    assert paper_tables.easy_and_hard(cases) == {"easy": 2, "hard": 1}


def test_a_row_that_was_not_run_says_so(cfg):
    fields = dict(title="A part", minutes=9.0, paper="", of="")
    parts = {"a": types.SimpleNamespace(**fields, section="group", recipe="ours")}
    text = plan_tables.to_markdown(cfg, parts, {})
    assert "not run at this scale (about 9 min, `--only=a`)" in text
