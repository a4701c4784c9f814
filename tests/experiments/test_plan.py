"""A plan in miniature: parts that never train, and records of fake results."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import types
from pathlib import Path

import pytest

from configs import paper_all
from fluoro_jax import fingerprint
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import (
    departures,
    from_weights,
    paper_tables,
    plan,
    plan_tables,
    records,
    roles,
)
from fluoro_jax.training.workdir import TRAINERS, note_call, resolve
from fluoro_jax.training.writer import read_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cfg():
    return paper_all.get_config("smoke")


@pytest.fixture
def runs(monkeypatch, tmp_path, results):
    """`reproduce` without training; remembers what was run on whose network."""
    seen = []

    def reproduce(cfg, workdir, *, data_dir, network_of=None, table_only=False):
        owner = network_of[1].name if network_of else None
        seen.append((workdir.name, owner))
        workdir.mkdir(parents=True, exist_ok=True)
        shutil.copy(results.workdir / "metrics.jsonl", workdir)
        return dataclasses.replace(results, workdir=workdir)

    monkeypatch.setattr(plan, "reproduce", reproduce)
    return seen


@pytest.fixture
def no_figures(monkeypatch):
    """Not drawn where a test looks at records alone: each call takes half a second."""
    monkeypatch.setattr(plan.plan_figures, "draw", lambda *_: [])


def call(cfg, folder, *only):
    return plan.reproduce_plan(cfg, folder, only=only, results=folder / "stored")


def test_the_core_runs_in_order_and_once(cfg, runs, tmp_path, capsys):
    call(cfg, tmp_path)
    core = [n for n in cfg.order if cfg.parts[n].core]
    assert [name for name, _ in runs] == core and len(core) == 10
    shown = capsys.readouterr().out
    call(cfg, tmp_path)
    assert len(runs) == 10 and capsys.readouterr().out == shown
    assert (tmp_path / "figures" / "parts.png").stat().st_size > 5000


def test_a_part_brings_those_it_rests_on(cfg, runs, tmp_path):
    call(cfg, tmp_path, "patient_other", "subgroup_ends_frozen")
    assert runs == [
        ("frames", None),
        ("frames_midline", None),
        ("group_frames", None),
        ("best_patient", None),
        ("subgroup_ends_frozen", None),
        ("patient_other", "best_patient"),
    ]


def test_a_beginning_of_names_stands_for_all_of_them(cfg, runs, tmp_path):
    call(cfg, tmp_path, "held_out")
    trained, held_out = runs[:6], runs[6:]
    names = ["frames", "frames_midline", "group_frames"]
    names += ["clinic_short", "frames_log", "clinic"]
    assert trained == [(name, None) for name in names]
    assert [of for _, of in held_out] == ["group_frames"] * 7 + ["clinic"]


def test_a_part_stands_for_itself_alone(cfg):
    parts = plan.read_plan(cfg)
    assert {"frames", "frames_more"} <= set(parts)
    assert [part.name for part in plan.choose(parts, ["frames"])] == ["frames"]


@pytest.mark.usefixtures("no_figures")
def test_another_config_is_run_again_and_so_is_what_rests_on_it(cfg, runs, tmp_path):
    call(cfg, tmp_path, "patient_other")
    other = copy.deepcopy(cfg)
    other.parts.best_patient.run.seed = 3
    call(other, tmp_path, "patient_other")
    assert [name for name, _ in runs] == ["best_patient", "patient_other"] * 2


@pytest.mark.usefixtures("no_figures", "runs")
def test_a_record_of_another_network_is_stale(cfg, tmp_path):
    call(cfg, tmp_path, "patient_other")
    parts, folders = plan.read_plan(cfg), [tmp_path / "results"]
    assert not records.find_all(parts, folders)["patient_other"]["stale"]
    other = dataclasses.replace(parts["patient_other"], of="best_group")
    found = records.find_all(parts | {"patient_other": other}, folders)
    assert found["patient_other"]["stale"] == "tells of best_patient"


@pytest.mark.usefixtures("no_figures")
def test_no_part_starts_from_a_network_that_was_stopped(cfg, runs, tmp_path):
    steps = cfg.parts.best_patient.run.train.num_steps
    for last, again in ((steps - 1, True), (steps, False)):
        call(cfg, tmp_path, "best_patient")
        runs.clear()
        (tmp_path / "best_patient" / "ckpt" / f"{last:08d}").mkdir(parents=True)
        (tmp_path / "results" / "patient_other.json").unlink(missing_ok=True)
        call(cfg, tmp_path, "patient_other")
        assert ("best_patient", None) in runs if again else len(runs) == 1


@pytest.mark.usefixtures("no_figures")
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


@pytest.mark.usefixtures("no_figures")
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
    with pytest.raises(UserError, match="rests on '"):
        plan.read_plan(turned)


def test_every_scale_of_the_plan_is_valid():
    for preset in paper_all.PRESETS:
        parts = plan.read_plan(paper_all.get_config(preset))
        runs = [(fingerprint.config(resolve(p.run)), p.of) for p in parts.values()]
        assert len(runs) == len(set(runs))
        assert all(part.run.choices for part in parts.values())


def old_record(cfg, name):
    """A record as they were before fingerprints: another config key, no code."""
    config = resolve(cfg.parts[name].run)
    config["study"]["num_val"] += 14
    del config["choices"], config["gen_opt"]["schedule"]
    return {"part": name, "title": "old words", "config": config, "config_sha256": "a"}


def store(folder, name, record, table):
    record["table"] = table
    record |= {"curve": [], "train_s": None, "history": [{"commit": "b"}]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record))


def test_stale_records_are_shown_with_what_changed_and_not_run_again(
    cfg, runs, results, tmp_path, capsys
):
    """They were reprinted by the hash of their config alone, or run as if unknown."""
    folder = tmp_path / "stored" / cfg.name
    for name in cfg.order:
        if cfg.parts[name].core:
            store(folder, name, old_record(cfg, name), results.table)
    found = call(cfg, tmp_path)
    assert runs == []
    text = capsys.readouterr().out
    for words in (records.UNRECORDED, "study.num_val 16 -> 2", "--only=NAME"):
        assert words in text
    assert "schedule" not in records.stale_note(found) + "".join(
        record["stale"] for record in found.values()
    )
    record = found["subgroup_frozen"]
    assert "rests on group_frames, which is stale" in record["stale"]
    assert (record["title"], record["role"]) == (
        cfg.parts.subgroup_frozen.title,
        "finetuned",
    )
    assert record["choices"] == ""
    call(cfg, tmp_path, "best_patient")
    assert [name for name, _ in runs] == ["best_patient"]


@pytest.mark.usefixtures("no_figures")
def test_a_change_of_code_makes_a_record_stale_and_of_words_does_not(
    cfg, runs, tmp_path, monkeypatch
):
    call(cfg, tmp_path, "best_patient")
    other = copy.deepcopy(cfg)
    other.parts.best_patient.run.train.log_every = 7
    other.parts.best_patient.run.name = "renamed"
    assert call(other, tmp_path, "best_patient")["best_patient"]["stale"] == ""
    assert len(runs) == 1
    now = records.scoring_files()
    changed = {**now, "sim/body/motion.py": "0" * 16}
    monkeypatch.setattr(records, "scoring_files", lambda: changed)
    record = call(cfg, tmp_path)["best_patient"]
    assert record["stale"] == "code or data: sim/body/motion.py"
    assert [name for name, _ in runs].count("best_patient") == 1
    call(cfg, tmp_path, "best_patient")
    assert [name for name, _ in runs].count("best_patient") == 2


def test_a_run_of_other_code_is_kept_aside_before_it_is_run_again(cfg, tmp_path):
    folder, run = tmp_path / "best_group", cfg.parts.best_group.run
    (folder / "ckpt").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(resolve(run)))
    call = {"code": records.training_files()}
    (folder / "history.jsonl").write_text(json.dumps(call) + "\n")
    assert records.set_aside(folder, run, parents=[]) is None
    call["code"]["training/losses.py"] = "0" * 16
    (folder / "history.jsonl").write_text(json.dumps(call) + "\n")
    there = records.set_aside(folder, run, parents=[])
    assert there == tmp_path / "best_group.before-1" and not folder.exists()
    assert (there / "history.jsonl").exists()


@pytest.mark.parametrize(("weights", "again"), [("as before", False), ("new", True)])
def test_a_child_is_trained_again_only_if_its_parent_has_other_weights(
    tmp_path, monkeypatch, weights, again
):
    child = types.SimpleNamespace(
        name="child", of="", run=None, rests_on=("best_group",), weights=""
    )
    record = {"stale": "code", "rests_on": {"best_group": "as before"}}
    parent = {"part": "best_group", "config": {}}
    parent |= {"table": {"checkpoint": {"weights": weights}}}
    records.write(parent, tmp_path / "results")
    told = []
    monkeypatch.setattr(records, "set_aside", lambda *_, parents: told.append(parents))
    plan._set_aside_stale(child, record, tmp_path)
    assert told == [["best_group"] if again else []]


@pytest.fixture
def weights(monkeypatch):
    """Published weights of any part; remembers which were unpacked."""
    training = {"begun": "then", "step": 4, "wall_s": 7.0}
    names = []

    def unpack(name, run, folder):
        names.append(name)
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        note = {"name": name, "dtype": "bfloat16", "sha256": "0", "training": training}
        (folder / "published.json").write_text(json.dumps(note))

    monkeypatch.setattr(plan.from_weights, "unpack", unpack)
    return names


@pytest.fixture
def cfg_with_weights(cfg):
    """As at `cpu`, where there are some."""
    cfg = copy.deepcopy(cfg)
    cfg.parts.group_frames.weights = "group"
    return cfg


@pytest.mark.usefixtures("no_figures")
def test_published_weights_are_not_trained(cfg_with_weights, runs, weights, tmp_path):
    cfg = cfg_with_weights
    asked = dict(only=["held_out_new"], published=True, results=tmp_path)
    found = plan.reproduce_plan(cfg, tmp_path, **asked)
    assert runs == [("group_frames", None), ("held_out_new", "group_frames")]
    assert weights == ["group"]
    record = found["group_frames"]
    assert record["published"] == {"name": "group", "dtype": "bfloat16", "sha256": "0"}
    assert record["train_s"] == 7.0  # nothing else is known
    words = "published of the run: `group_frames` (`group`, bfloat16, sha256 0)."
    assert words in (tmp_path / "results.md").read_text()
    plan.reproduce_plan(cfg, tmp_path, **asked | {"only": ["group_frames"]})
    assert len(runs) == 2  # its record is current


@pytest.mark.usefixtures("no_figures")
def test_a_run_is_kept_aside_for_weights_and_weights_for_a_run(
    cfg_with_weights, runs, weights, tmp_path
):
    folder = tmp_path / "group_frames"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    asked = dict(only=["group_frames"], results=tmp_path)
    found = plan.reproduce_plan(cfg_with_weights, tmp_path, **asked, published=True)
    assert [name for name, _ in runs] == ["group_frames"] and weights == ["group"]
    assert (tmp_path / "group_frames.before-1" / "config.json").exists()
    assert found["group_frames"]["published"]["name"] == "group"
    cfg_with_weights.parts.group_frames.run.evaluation.bootstrap = 50
    found = plan.reproduce_plan(cfg_with_weights, tmp_path, **asked)
    assert [n for n, _ in runs[1:]] == ["frames", "frames_midline", "group_frames"]
    assert (tmp_path / "group_frames.before-2" / "published.json").exists()
    assert "published" not in found["group_frames"]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("sha256", ["of today", "of before"])
def test_weights_that_are_scored_again_keep_their_folder(
    cfg_with_weights, runs, weights, tmp_path, monkeypatch, sha256
):
    card = types.SimpleNamespace(card={"weights": {"sha256": "0"}})
    monkeypatch.setattr(from_weights, "load", lambda name: card)
    asked = dict(only=["group_frames"], published=True, results=tmp_path)
    plan.reproduce_plan(cfg_with_weights, tmp_path, **asked)
    if sha256 == "of before":
        card.card["weights"]["sha256"] = "1"
    cfg_with_weights.parts.group_frames.run.evaluation.bootstrap = 50
    plan.reproduce_plan(cfg_with_weights, tmp_path, **asked)
    again = sha256 == "of before"
    assert len(runs) == 2 and weights == ["group"] * (1 + again)
    assert (tmp_path / "group_frames.before-1").exists() == again


def test_published_weights_are_scored_by_one_process(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(plan.jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="--published in 2 processes"):
        plan.reproduce_plan(cfg, tmp_path, published=True)


@pytest.mark.usefixtures("no_figures", "runs", "weights")
@pytest.mark.parametrize(
    ("begun", "step"), [("then", 4), ("then", 8), ("at another time", 4)]
)
def test_the_record_of_their_run_keeps_what_it_says_of_training(tmp_path, begun, step):
    calls = [{"time": begun, "to": 2}, {"time": "later", "to": step}]
    kept = dict(history=calls, train_s=9.0, curve=["points"])
    kept |= dict(rests_on={"frames_midline": "1"})
    before = dict(kept, part="group_frames", config={})
    before |= {"table": {"checkpoint": {"weights": "of the run"}}}
    from_weights.unpack("group", None, tmp_path / "group_frames")
    for again in range(2):  # scored once from the run's weights, and once from these
        said = from_weights.told_of_training(tmp_path / "group_frames", before)
        if (begun, step) != ("then", 4):
            assert "of" not in said["published"] and said["train_s"] == 7.0
            return
        assert {key: said[key] for key in kept} == kept
        assert said["published"]["of"] == "of the run"
        now = {"table": {"checkpoint": {"weights": f"rounded {again}"}}}
        before |= said | now
        assert records.networks_of(before) == {"of the run", f"rounded {again}"}


def test_a_run_notes_the_code_that_trains_it(tmp_path):
    note_call(tmp_path, 0, 4)
    (row,) = read_rows(tmp_path / "history.jsonl")
    assert row["code"] == records.training_files() and row["from"] == 0
    for glob in TRAINERS:
        assert fingerprint.files(glob), f"{glob}: no such file"


def test_stored_cpu_records_are_printed_as_stale(tmp_path, runs, monkeypatch):
    # Counted by tracing each network, which takes seconds; no row is asked for it here.
    monkeypatch.setattr(departures, "parameter_count", lambda gen, channels: 10**6)
    cfg = paper_all.get_config("cpu")
    results = ROOT / "docs" / "results"
    found = plan.reproduce_plan(cfg, tmp_path, results=results)
    assert runs == []
    assert found.keys() == {p.stem for p in (results / cfg.name).glob("*.json")}
    if all("code" not in record for record in found.values()):
        assert all(records.UNRECORDED in record["stale"] for record in found.values())


def test_tables_choose_parts_by_fields_and_not_by_names(cfg):
    parts = plan.read_plan(cfg)
    scratch = roles.select(parts, section="subgroup", role="scratch", recipe="ours")
    assert list(scratch) == ["best_subgroup", "subgroup_slow"]
    assert len(roles.select(parts, section="held_out")) == 9
    base = roles.select(parts, section="ablation", role="base")
    assert [part.run.seed for part in base.values()] == [0, 1]
    with pytest.raises(KeyError):
        roles.select(parts, section="subgruop")
    with pytest.raises(KeyError):
        roles.select(parts, rule="scratch")


@pytest.mark.parametrize("field", ["section", "role", "recipe"])
def test_a_part_that_no_table_knows_is_refused(cfg, field):
    other = copy.deepcopy(cfg)
    other.parts.best_subgroup[field] = "scratsh"
    with pytest.raises(UserError, match=f"{field} 'scratsh' of part best_subgroup"):
        plan.read_plan(other)


def test_one_part_trains_on_the_papers_diameters_alone():
    parts = plan.read_plan(paper_all.get_config("cpu"))
    run = parts["group_20_40"].run
    assert (run.data.smallest_mm, run.data.largest_mm) == (20.0, 40.0)
    assert run.study.name == "group" and parts["group_20_40"].paper == "group"


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
