from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_scenarios import disc_clip, settings, use_discs

from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare import run, scenarios
from fluoro_jax.experiments.compare.entries import Entry, read_entry
from fluoro_jax.experiments.compare.follow_clip import track_case
from fluoro_jax.experiments.compare.run import compare
from fluoro_jax.tracking.baselines.static import StaticTracker

PAGE = Path(__file__).parents[3] / "docs" / "compare.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def trackers(*names):
    return settings(trackers=names)


def test_the_table_its_files_and_the_records_of_a_call(tmp_path, monkeypatch, capsys):
    rendered = use_discs(monkeypatch)
    cfg = trackers("static_frame0", "static_blind")
    table = compare(cfg, tmp_path)
    assert rendered == ["clinic", "gain"]
    assert [(r["scenario"], r["tracker"]) for r in table["rows"]] == [
        (s, t) for s in ("clinic", "gain") for t in ("static_frame0", "static_blind")
    ]
    for row in table["rows"]:
        assert row["n"] == 2 and not row["refused"] and row["causal"]
        assert row["within_1mm"] <= row["within_2mm"] <= row["within_3mm"]
        assert row["median_mm"] <= row["p95_mm"]
        assert row["latency_p99_ms"] > 0.0
    given = {row["tracker"]: row["knowledge"] for row in table["rows"]}
    assert given == {"static_frame0": "frame 0", "static_blind": "nothing"}
    assert {r["horizon_s"] for r in table["forecasts"]} == {0.1, 0.25, 0.5}
    names = {p.name for p in tmp_path.iterdir()}
    assert {"results.md", "results.csv", "results.json", "forest.png"} <= names
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(
        json.dumps(table)
    )
    assert "| clinic |" in capsys.readouterr().out
    assert len(list((tmp_path / "records").glob("*/*.json"))) == 4


def test_a_second_call_reuses_records_and_a_change_makes_them_again(
    tmp_path, monkeypatch
):
    rendered = use_discs(monkeypatch)
    cfg = trackers("static_frame0")
    first = compare(cfg, tmp_path)
    assert compare(cfg, tmp_path) == first
    assert rendered == ["clinic", "gain"]
    (path,) = (tmp_path / "records" / "gain").glob("*.json")
    path.write_text("{")  # as a full disk leaves it
    compare(cfg, tmp_path)
    assert rendered == ["clinic", "gain", "gain"]
    compare(settings(trackers=("static_frame0",), clips__seconds=7.0), tmp_path)
    assert rendered[3:] == ["clinic", "gain"]


def test_only_and_scenarios_choose(tmp_path, monkeypatch):
    rendered = use_discs(monkeypatch)
    table = compare(
        trackers("static_frame0"), tmp_path, only="static_blind", scenarios="gain"
    )
    assert rendered == ["gain"]
    assert [row["tracker"] for row in table["rows"]] == ["static_blind"]
    with pytest.raises(UserError, match="did you mean clinic"):
        compare(trackers("static_frame0"), tmp_path, scenarios="clinc")
    with pytest.raises(UserError, match="static_frame0"):
        compare(trackers("static_frame0"), tmp_path, only="static_fram0")


def test_a_refusal_is_a_row_with_its_reason(tmp_path, monkeypatch, capsys):
    use_discs(monkeypatch, side=30)  # a panel of other pixels than it was trained on
    table = compare(
        trackers("static_blind", "static_frame0"), tmp_path, scenarios="clinic"
    )
    assert [bool(row["refused"]) for row in table["rows"]] == [True, True]
    assert table["rows"][0]["median_mm"] is None
    assert (
        "static_blind refused the clips: a view of 30 x 30" in capsys.readouterr().out
    )


def test_the_pages_own_tracker_enters_the_table(tmp_path, monkeypatch):
    (code,) = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(code.split("class BestMatch")[1].splitlines()) <= 35
    (tmp_path / "my_tracker.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    use_discs(monkeypatch)
    try:
        table = compare(
            trackers("static_frame0"),
            tmp_path / "w",
            only="my_tracker:BestMatch,static_frame0",
            scenarios="clinic",
        )
    finally:
        sys.modules.pop("my_tracker", None)
    ours, static = table["rows"]
    assert (ours["tracker"], ours["knowledge"]) == ("my_tracker:BestMatch", "frame 0")
    assert ours["trials"] == 1
    pixel_mm = 10.0
    assert ours["median_mm"] < pixel_mm < static["p95_mm"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Tracker", "no_such_module"),
        ("math:sine", "sine"),
        ("group-cpu@12", "lookahead of 12"),
        ("group-cpu@some", "look-ahead 'some'"),
        ("grop-cpu", "did you mean group-cpu"),
    ],
)
def test_names_that_no_tracker_has(name, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_entry(name)


def test_weights_by_name_and_look_ahead():
    at_once, late = read_entry("group-cpu@0"), read_entry("group-cpu@whole")
    assert at_once.code == late.code and not at_once.learns
    assert at_once.build(None, None).causal
    assert late.build(None, None).lookahead_frames == 9


def test_frame_0_is_shown_only_to_those_that_are_given_it():
    given = disc_clip()
    shape = np.zeros((32, 32), np.float32)
    shape[:3, :3] = 1.0
    static = StaticTracker(shape, place_px=np.array([1.0, 1.0]))
    blind = track_case(static, given, frame0=False)
    shown = track_case(static, given, frame0=True)
    assert shown["distance_mm"][0] < 1.0 < blind["distance_mm"][0]
    assert len(shown["compute_ms"]) == len(shown["time_s"]) == 24


def test_planning_phases_are_made_once_a_clip_and_a_ct_has_none(tmp_path, monkeypatch):
    made, seen = [], []

    def phases_of_case(case, view, *, phases, voxel_mm):
        made.append((case, phases, voxel_mm))
        return len(made)

    def build(training, patient):
        seen.append(patient)
        shape = np.ones((32, 32), np.float32)
        return StaticTracker(shape, place_px=np.array([16.0, 16.0]))

    given = [dataclasses.replace(disc_clip(i), planning=f"scan {i}") for i in (0, 1)]
    monkeypatch.setattr(run, "scenario_clips", lambda *a, **k: iter(given))
    monkeypatch.setattr(run, "phases_of_case", phases_of_case)
    entries = [Entry(n, "phases", 1, build, False, "") for n in ("one", "other")]
    runner = run.Runner(settings(), tmp_path, None, "")
    records = runner.run(entries, ["clinic"])
    assert made == [("scan 0", 10, 8.0), ("scan 1", 10, 8.0)] and seen == [1, 1, 2, 2]
    assert [len(record["cases"]) for record in records] == [2, 2]
    given[:] = [disc_clip()]
    (refused,) = runner.run([Entry("third", "phases", 1, build, False, "")], ["clinic"])
    assert "without planning phases" in refused["refused"] and not refused["cases"]


def test_seeds_and_scenarios_are_distinct():
    assert len(set(scenarios.SEEDS.values())) == len(scenarios.SEEDS)
    entries = [dataclasses.astuple(s) for s in scenarios.SCENARIOS.values()]
    assert len({str(e) for e in entries}) == len(entries)
    assert run.SCENARIOS is scenarios.SCENARIOS
