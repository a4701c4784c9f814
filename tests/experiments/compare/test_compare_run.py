from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from fake_scenarios import FRAME_S, disc_clip, settings, use_discs

from configs.trackers import get_config
from fluoro_jax import fingerprint
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare import run, scenarios
from fluoro_jax.experiments.compare.entries import Entry, read_entry
from fluoro_jax.experiments.compare.follow_clip import track_case
from fluoro_jax.experiments.compare.latency import Forecasts
from fluoro_jax.experiments.compare.records import SOURCES, Records
from fluoro_jax.experiments.compare.run import compare
from fluoro_jax.experiments.compare.summary import summarise_record
from fluoro_jax.experiments.compare.tables import markdown
from fluoro_jax.geometry import square_panel
from fluoro_jax.io.files import digest_of
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.follow import make_plan
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.posterior import PosteriorTracker
from fluoro_jax.tracking.resample import Resampler
from fluoro_jax.tracking.tracker import make_track

PAGE = Path(__file__).parents[3] / "docs" / "compare.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def trackers(*names, **changes):
    return settings(trackers=names, **changes)


def test_the_table_its_files_and_the_records_of_a_call(tmp_path, monkeypatch, capsys):
    rendered = use_discs(monkeypatch)
    cfg = trackers("static_frame0", "static_blind")
    table = compare(cfg, tmp_path)
    assert rendered == ["clinic", "gain"]
    assert [(r["scenario"], r["tracker"]) for r in table["rows"]] == [
        (s, t) for s in ("clinic", "gain") for t in ("static_frame0", "static_blind")
    ]
    for row in table["rows"]:
        assert row["n"] == row["answered"] == row["cases"] == 2 and row["causal"]
        assert not row["refused"] and not row["failed"]
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
    with pytest.raises(UserError, match=r"forecast\.of = 'group@0'"):
        compare(trackers("static_frame0", forecast__of="group@0"), tmp_path)
    with pytest.raises(UserError, match="static_frame0"):
        compare(trackers("static_frame0"), tmp_path, only="static_fram0")


def test_a_refusal_is_a_row_with_its_reason(tmp_path, monkeypatch, capsys):
    use_discs(monkeypatch, side=30)  # a panel of other pixels than it was trained on
    table = compare(
        trackers("static_blind", "static_frame0"), tmp_path, scenarios="clinic"
    )
    assert [bool(row["refused"]) for row in table["rows"]] == [True, True]
    assert table["rows"][0]["median_mm"] is None
    words = "static_blind refused clips of 2: a view of 30 x 30"
    assert words in capsys.readouterr().out
    assert table["rows"][0]["answered"] == 0 and table["rows"][0]["cases"] == 2


class Fragile(StaticTracker):
    """Refuses clips of one frame's brightness and fails on those of another."""

    def step(self, state, frame, time_s):
        if frame[0, 0] > 8.0:
            raise UserError("a bright frame", needed="8", why="-", fix="-")
        if frame[0, 0] < 0.0:
            raise ZeroDivisionError("a dark frame")
        return super().step(state, frame, time_s)


def fragile(corner):
    """Returns an entry, and clips whose corners have the values of `corner`."""
    shape = np.zeros((32, 32), np.float32)
    shape[12:20, 12:20] = 1.0
    tracker = Fragile(shape, place_px=np.array([16.0, 14.0]))
    given = []
    for index, value in enumerate(corner):
        one = disc_clip(index)
        frames = one.clip.frames.copy()
        frames[5:, 0, 0] = value
        clip = dataclasses.replace(one.clip, frames=frames)
        given.append(dataclasses.replace(one, clip=clip))
    build = lambda training, patient: tracker
    return Entry("fragile", "nothing", None, build, False, ""), given


def test_a_refused_and_a_failed_clip_leave_the_others_answers(
    tmp_path, monkeypatch, capsys
):
    entry, given = fragile([2.0, 9.0, -1.0, 2.0])
    asked = []

    def scenario_clips(*_, indices, **__):
        asked.append(list(indices))
        return (given[i] for i in indices)

    monkeypatch.setattr(run, "scenario_clips", scenario_clips)
    cfg = settings(clips__cases=4)
    (record,) = run.Runner(cfg, tmp_path, None, "").run([entry], ["clinic"])
    assert [one["case"] for one in record["cases"]] == [0, 3]
    assert record["refused"] == [{"case": 1, "why": "a bright frame (needed: 8)"}]
    why = "ZeroDivisionError: a dark frame"
    assert record["failed"] == [{"case": 2, "why": why}]
    told = capsys.readouterr().err
    assert f"fragile failed on clinic, case 2: {why}" in told
    assert "test_compare_run.py:" in told
    row = summarise_record(record, cfg.evaluation)
    assert (row["answered"], row["cases"], row["median_mm"].n) == (2, 4, 2)
    words = markdown([row], Forecasts("", [], []), cfg)
    assert "(2 of 4) |" in words and "| fragile | 2 of 4 |" in words
    assert "fragile refused clips of 4: a bright frame (needed: 8) (1)." in words
    assert f"fragile failed on clips of 4: {why} (1)." in words
    # What failed is tried again; what was answered or refused is not.
    given[2] = given[0]
    (record,) = run.Runner(cfg, tmp_path, None, "").run([entry], ["clinic"])
    assert asked == [[0, 1, 2, 3], [2]]
    assert [one["case"] for one in record["cases"]] == [0, 2, 3]


def test_what_a_missing_library_refused_is_tried_again(tmp_path, monkeypatch):
    entry, given = fragile([2.0])
    missing = [True]

    def build(training, patient):
        if missing:
            cause = ImportError("cv2")
            words = dict(needed="an extra", why="it matches", fix="install it")
            raise UserError("no cv2", **words) from cause
        return entry.build(training, patient)

    monkeypatch.setattr(run, "scenario_clips", lambda *_, indices, **__: given)
    needing = dataclasses.replace(entry, build=build)
    go = lambda: run.Runner(settings(clips__cases=1), tmp_path, None, "").run(
        [needing], ["clinic"]
    )
    (record,) = go()
    assert not record["refused"]
    assert record["failed"] == [{"case": 0, "why": "no cv2 (needed: an extra)"}]
    missing.clear()
    (record,) = go()
    assert not record["failed"] and [one["case"] for one in record["cases"]] == [0]


def test_a_call_that_was_stopped_goes_on_within_a_scenario(tmp_path, monkeypatch):
    entry, given = fragile([2.0] * 5)
    asked = []

    def scenario_clips(*_, indices, **__):
        asked.append(list(indices))
        for i in indices:
            if i == 2 and len(asked) == 1:
                raise KeyboardInterrupt
            yield given[i]

    monkeypatch.setattr(run, "scenario_clips", scenario_clips)
    go = lambda cases: run.Runner(settings(clips__cases=cases), tmp_path, None, "").run(
        [entry], ["clinic"]
    )[0]
    with pytest.raises(KeyboardInterrupt):
        go(4)
    assert len(go(4)["cases"]) == 4 and len(go(5)["cases"]) == 5
    assert [one["case"] for one in go(3)["cases"]] == [0, 1, 2]
    assert asked == [[0, 1, 2, 3], [2, 3], [4]]


def test_a_tracker_that_cannot_be_built_is_built_once(tmp_path, monkeypatch):
    built = []

    def build(training, patient):
        built.append(1)
        raise RuntimeError("out of memory")

    use_discs(monkeypatch)
    entry = Entry("broken", "nothing", None, build, False, "")
    (record,) = run.Runner(settings(), tmp_path, None, "").run([entry], ["clinic"])
    assert len(record["failed"]) == 2 and built == [1]


def test_a_record_is_of_the_cts_content(tmp_path):
    entry, _ = fragile([2.0])
    ct = tmp_path / "ct.mha"
    ct.write_bytes(b"one")
    identity = lambda part: Records(settings(), tmp_path, str(ct)).open(entry, part)[
        "identity"
    ]
    first, other = identity("real_ct"), identity("clinic")
    ct.write_bytes(b"two")
    assert identity("real_ct") != first and identity("clinic") == other
    ct.write_bytes(b"one")
    assert identity("real_ct") == first
    digests = [digest_of(ct), digest_of(tmp_path), digest_of(tmp_path / "none")]
    assert len(set(digests)) == 3 and digests[2] == ""


def test_the_files_that_make_a_ct_and_its_phases_decide_records():
    assert set(SOURCES) >= {"io/ct.py", "io/registration.py", "clip.py"}
    assert all(fingerprint.files(source) for source in SOURCES)


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
        ("group@12", "lookahead of 12"),
        ("group@some", "look-ahead 'some'"),
        ("grop", "did you mean group"),
        ("group@0+followd", "answer 'followd'"),
        ("group@0+mask+frame0", "answer 'mask+frame0'"),
    ],
)
def test_names_that_no_tracker_has(name, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_entry(name)


def test_weights_by_name_and_look_ahead():
    at_once, late = read_entry("group@0"), read_entry("group@whole")
    assert at_once.code == late.code and not at_once.learns
    assert at_once.build(None, None).causal
    assert late.build(None, None).lookahead_frames == 9


def test_a_network_may_be_given_frame_0_to_start_from():
    plain, given = read_entry("group@0"), read_entry("group@0+frame0")
    assert (plain.knowledge, given.knowledge) == ("nothing", "frame 0")
    assert isinstance(given.build(None, None), PosteriorTracker)
    assert "causal-cpu@0+frame0" in get_config("cpu").trackers


COARSE = TrainingDomain(
    *(square_panel(16), FRAME_S, False, 0.0, 5.0, 100.0, False),
    angles_deg=(0.0,),
)


@dataclasses.dataclass(frozen=True)
class Listens:
    """Keeps what `init` was told; marks what is bright in pixels of twice the size."""

    told: list
    learned: TrainingDomain = COARSE
    causal: bool = True
    lookahead_frames: int = 0

    def init(self, geometry, reference=None, *, periodic=False, domain="log"):
        self.told.append(reference)
        return geometry, 0

    def step(self, state, frame, time_s):
        geometry, count = state
        bright = 0.9 * (frame > np.percentile(frame, 90))
        late = count - self.lookahead_frames
        track = make_track(late, bright, geometry) if late >= 0 else None
        return (geometry, count + 1), track

    def flush(self, state):
        geometry, count = state
        nothing = np.zeros((16, 16))
        owed = range(max(count - self.lookahead_frames, 0), count)
        return [make_track(t, nothing, geometry) for t in owed]


def test_of_the_truth_a_network_sees_the_mask_of_frame_0_in_its_own_pixels():
    clip, told = disc_clip().clip, []
    track_case(Listens(told), disc_clip(), frame0=True)
    assert len(told) == 2  # compiled once on a state that is thrown away
    for frame, mask in told:
        assert frame.shape == mask.shape == (16, 16)
        np.testing.assert_allclose(
            centroid_px(mask), (clip.centroid_px[0] - 0.5) / 2.0, atol=0.3
        )
        assert mask.sum() == pytest.approx(clip.mask[0].sum() / 4.0, rel=0.2)
    told.clear()
    track_case(Listens(told), disc_clip(), frame0=False)
    assert told == [None, None]


def test_what_a_network_begins_with_is_made_before_the_first_frame_is_timed():
    told = []
    plan = make_plan(Listens(told), disc_clip().clip)
    answers = plan.run()
    assert len(told) == 1
    next(answers)
    assert len(told) == 1


def test_latency_counts_resampling_and_not_the_answers_after_the_last_frame(
    monkeypatch,
):
    late = dataclasses.replace(Listens([]), causal=False, lookahead_frames=2)
    plain = track_case(late, disc_clip(), frame0=False)
    assert len(plain["compute_ms"]) == len(plain["time_s"]) == 24
    frames_of = Resampler.frames

    def slow(self, frames):
        time.sleep(0.02)
        return frames_of(self, frames)

    monkeypatch.setattr(Resampler, "frames", slow)
    assert min(track_case(late, disc_clip(), frame0=False)["compute_ms"]) > 20.0


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
        return types.SimpleNamespace(moved=lambda shift_mm: len(made))

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
    assert made == [("scan 0", 10, 8.0), ("scan 1", 10, 8.0)]
    assert seen == [1, 1, 2, 2]
    assert [len(record["cases"]) for record in records] == [2, 2]
    given[:] = [disc_clip()] * 2
    (refused,) = runner.run([Entry("third", "phases", 1, build, False, "")], ["clinic"])
    assert "without planning phases" in refused["refused"][0]["why"]
    assert not refused["cases"]


def test_seeds_and_scenarios_are_distinct():
    assert len(set(scenarios.SEEDS.values())) == len(scenarios.SEEDS)
    entries = [dataclasses.astuple(s) for s in scenarios.SCENARIOS.values()]
    assert len({str(e) for e in entries}) == len(entries)
    assert run.SCENARIOS is scenarios.SCENARIOS
