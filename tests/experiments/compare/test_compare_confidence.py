"""Fitting and judging a confidence, on discs in place of rendered clips."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from fake_scenarios import disc_clip, settings
from ml_collections import ConfigDict

from configs.trackers import get_config
from fluoro_jax.cli.commands import run
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare import confidence as confidence_of
from fluoro_jax.experiments.compare import judging
from fluoro_jax.experiments.compare.confidence import confidence, origin_of
from fluoro_jax.experiments.compare.judging import TOGETHER, CaseAnswers
from fluoro_jax.tracking.confidence import NAMES, Calibration
from fluoro_jax.tracking.tracker import make_track
from fluoro_jax.zoo.calibration import read_calibration


@dataclasses.dataclass(frozen=True)
class Marks:
    """Marks the disc; or, where the frame says so, faintly something else."""

    causal: bool = True
    lookahead_frames: int = 0

    @property
    def params(self):
        return {"kernel": np.ones(3)}

    @property
    def cfg(self):
        return ConfigDict({"evaluation": {"threshold": 0.5}})

    def init(self, geometry, reference=None, *, periodic=False, domain="log"):
        return (geometry, 0)

    def step(self, state, frame, time_s):
        geometry, count = state
        rows, cols = np.mgrid[: geometry.rows, : geometry.cols]
        ground = 2.0 + 0.02 * rows + 0.1 * np.sin(cols)
        wrong = frame[0, 0] > 5.0
        disc = np.hypot(rows - 26, cols - 26) < 3 if wrong else frame - ground > 0.25
        map_ = np.where(disc, 0.6 if wrong else 0.95, 0.02).astype(np.float32)
        return (geometry, count + 1), make_track(count, map_, geometry)

    def flush(self, state):
        return []


def clips(name, scenario, section, *, ct="", kept=None):
    for index in range(section.cases):
        given = disc_clip(index)
        if index % 2:  # in half of the clips it is wrong for a second
            frames = given.clip.frames.copy()
            frames[8:14, 0, 0] = 9.0
            given = dataclasses.replace(given, clip=given.clip.replace(frames=frames))
        yield given


@pytest.fixture
def on_discs(monkeypatch):
    monkeypatch.setattr(confidence_of, "scenario_clips", clips)
    monkeypatch.setattr(confidence_of, "_tracker", lambda model: Marks())


def test_a_tracker_that_is_faint_where_it_is_wrong_is_told_apart(
    tmp_path, on_discs, capsys
):
    found = confidence(settings(), tmp_path, model="marks")
    fitted = found["scenarios"]["fitted kinds"]
    assert fitted["auc"] == 1.0
    assert fitted["right_pct"] < 100.0
    assert found["gating"]["held when unsure"]["false_beam_on_pct"] is not None
    printed = capsys.readouterr()
    assert "| clinic | 2 |" in printed.out and "min left" in printed.err
    rule = read_calibration(tmp_path / "confidence.json")
    assert rule.cases == 2 * len(confidence_of.FITTED)
    assert rule.origin == origin_of(Marks()) and len(rule.origin.weights) == 64
    other = dataclasses.replace(rule.origin, lookahead_frames=2)
    with pytest.raises(UserError, match="look-ahead 0") as error:
        read_calibration(tmp_path / "confidence.json", other)
    assert len(str(error.value).splitlines()) == 4
    assert "In brackets the range over cases (2 a scenario" in printed.out
    stored = json.loads((tmp_path / "confidence_results.json").read_text())
    told = (tmp_path / "confidence.md").read_text()
    for name in TOGETHER:
        row = stored["scenarios"][name]
        surest, all_ = row["risk_coverage"][0], row["risk_coverage"][-1]
        assert f"{surest['mean_mm']:.2f}; {100.0 * surest['wrong']:.1f}" in told
        assert f"{all_['mean_mm']:.2f}; {100.0 * all_['wrong']:.1f}" in told
        for tenth in row["reliability"]:
            assert f"| {tenth['said']:.2f} | {tenth['found']:.2f} |" in told
    assert stored == json.loads(json.dumps(found))
    assert "real_ct" not in stored["scenarios"]


def case(error_mm, sure=True):
    frames = len(error_mm)
    features = np.full((frames, len(NAMES)), 1.0 if sure else -1.0)
    place = np.stack([np.asarray(error_mm, float), np.zeros(frames)], axis=1)
    return CaseAnswers(
        features,
        np.asarray(error_mm, float),
        np.ones(frames, bool),
        place,
        np.zeros((frames, 2)),
        np.arange(frames) * 0.5,
    )


def judge(rule, tuning, test):
    return judging.judge(rule, tuning, test, settings().evaluation)


def test_figures_have_their_range_over_cases_and_pooled_ones_over_patients():
    good, bad = case([0.5] * 4), case([0.5, 9.0, 9.0, 9.0])
    test = {"clinic": [good, bad], "small": [good, bad], "gain": [good]}
    found = judge(rule(), {"clinic": [good, bad]}, test)["scenarios"]
    clinic = found["clinic"]
    assert clinic["right_pct"] == 62.5
    assert (clinic["right_pct_low"], clinic["right_pct_high"]) == (25.0, 100.0)
    assert clinic["auc_low"] == clinic["auc_high"] == 0.5  # of the one that has both
    pooled = found["fitted kinds"]
    assert pooled["cases"] == 4 and pooled["right_pct_low"] == 25.0
    assert found["gain"]["auc"] is None and found["gain"]["auc_low"] is None


def test_many_cases_have_an_interval():
    rng = np.random.default_rng(0)
    cases = [case(np.where(rng.uniform(size=20) < 0.7, 0.5, 9.0)) for _ in range(40)]
    row = judge(rule(), {"clinic": cases}, {"clinic": cases})["scenarios"]["clinic"]
    low, high = row["right_pct_low"], row["right_pct_high"]
    assert low < row["right_pct"] < high
    # Of a mean over 800 answers with a share of 0.7: 2 x 1.96 x 1.6 per cent.
    assert high - low == pytest.approx(6.4, rel=0.4)


def rule():
    size = len(NAMES)
    return Calibration((0.0,) * size, (1.0,) * size, (1.0,) * size, 0.0, 2.0, 20)


def test_the_conformal_radius_is_of_tuning_cases_and_judged_on_test_cases():
    tuning = {"clinic": [case([k / 10.0] * 4) for k in range(19)]}
    test = {"clinic": [case([0.5] * 4), case([9.0] * 4)]}
    held = judge(rule(), tuning, test)["conformal"]
    assert held["radius_mm"] == pytest.approx(1.7)  # the 18th of 19: ceil(20 x 0.9)
    assert held["coverage"] == 0.5 and held["calibration_cases"] == 19


def test_a_held_beam_is_not_on_where_the_answer_is_unsure():
    # The tracker says it is at home, and is 9 mm off.
    far = dataclasses.replace(case([9.0] * 10, sure=False), place_mm=np.zeros((10, 2)))
    test = {"clinic": [far]}
    found = judge(rule(), {"clinic": [case([1.0] * 4)]}, test)["gating"]
    assert found["not held"]["duty_cycle_pct"] == 100.0
    assert found["held when unsure"]["duty_cycle_pct"] == 0.0


@pytest.mark.parametrize("model", ["static_frame0", "my_module:MyTracker"])
def test_a_tracker_without_a_map_is_refused(tmp_path, model):
    with pytest.raises(UserError, match=f"{model} is no network"):
        confidence(get_config("smoke"), tmp_path, model=model)


def test_an_unanswered_frame_is_covered_by_no_radius():
    silent = case([np.nan] * 4)
    tuning = {"clinic": [case([1.0] * 4) for _ in range(10)] + [silent] * 9}
    held = judge(rule(), tuning, {"clinic": [silent, case([1.0] * 4)]})["conformal"]
    assert held["radius_mm"] is None and held["coverage"] == 0.5


def test_refused_clips_are_told_and_the_rest_is_judged(
    tmp_path, on_discs, monkeypatch, capsys
):
    def refusing(name, *args, **keys):
        for index, given in enumerate(clips(name, *args, **keys)):
            refused = name == "gantry" or (name, index) == ("gain", 0)
            view = dataclasses.replace(given.clip.geometry, gantry_deg=90.0)
            turned = given.clip.replace(geometry=view)
            yield dataclasses.replace(given, clip=turned) if refused else given

    def answers_of(tracker, given):
        if given.clip.geometry.gantry_deg:
            raise UserError("a turned view", needed="0", why="-", fix="-")
        return answers(tracker, given)

    answers = confidence_of.answers_of
    monkeypatch.setattr(confidence_of, "answers_of", answers_of)
    monkeypatch.setattr(confidence_of, "scenario_clips", refusing)
    found = confidence(settings(), tmp_path, model="marks")
    why = "a turned view (needed: 0)"
    assert found["refused"] == {
        "gain": f"1 of 2 clips, {why}",
        "gantry": f"2 of 2 clips, {why}",
    }
    assert found["scenarios"]["gain"]["cases"] == 1
    assert "gantry" not in found["scenarios"]
    printed = capsys.readouterr()
    assert "| gantry | refused: 2 of 2 clips, a turned view" in printed.out
    assert "gantry, judged seeds after" in printed.err


def test_a_network_that_refuses_every_clip_is_told(tmp_path, on_discs, monkeypatch):
    def answers_of(tracker, given):
        raise UserError("0.2 s", needed="0.5 s", why="-", fix="-")

    monkeypatch.setattr(confidence_of, "answers_of", answers_of)
    with pytest.raises(UserError, match=r"refuses every clip: 2 of 2 clips, 0\.2 s"):
        confidence(settings(), tmp_path, model="marks")


def test_a_refused_case_leaves_the_others_their_numbers():
    good, bad = case([0.5] * 4), case([9.0] * 4)
    test = {"clinic": [None, bad], "small": [good, bad]}
    found = judge(rule(), {"clinic": [good, None, bad]}, test)
    assert found["conformal"]["calibration_cases"] == 2
    pooled = found["scenarios"]["fitted kinds"]
    assert (pooled["right_pct_low"], pooled["right_pct_high"]) == (0.0, 100.0)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_the_verb_reaches_it(tmp_path, capsys):
    words = ["--config=configs/trackers.py:smoke", f"--workdir={tmp_path}"]
    assert run("confidence", [*words, "--model=nowhere@0"]) == 2
    assert "nowhere" in capsys.readouterr().err
