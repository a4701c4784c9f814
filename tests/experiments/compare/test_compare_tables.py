from __future__ import annotations

import numpy as np
import pytest
from fake_scenarios import disc_clip, settings

from fluoro_jax.experiments.compare import tune
from fluoro_jax.experiments.compare.follow_clip import track_case
from fluoro_jax.experiments.compare.latency import (
    Forecasts,
    case_errors,
    forecast_errors_of,
    forecast_of,
)
from fluoro_jax.experiments.compare.summary import (
    over_patients,
    patient_values,
    ratio_over_patients,
    summarise_record,
)
from fluoro_jax.experiments.compare.tables import csv_text, flat, markdown
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.forecast import FORECASTERS

EVALUATION = settings().evaluation
NO_FORECASTS = Forecasts("", [], [])


def case(distance_mm, empty=None):
    count = len(distance_mm)
    return {
        "time_s": [0.25 * t for t in range(count)],
        "tracked_mm": [[d, 0.0] for d in distance_mm],
        "distance_mm": distance_mm,
        "empty": empty or [False] * count,
        "compute_ms": [float(t) for t in range(count)],
        "truth_time_s": [0.05 * t for t in range(5 * (count - 1) + 1)],
        "truth_mm": [[0.0, 0.0]] * (5 * (count - 1) + 1),
    }


def record(tracker, cases, scenario="clinic", **more):
    facts = dict(knowledge="nothing", trials=3, causal=True, lookahead_frames=0)
    facts |= dict(tracker=tracker, scenario=scenario, cases=cases)
    return facts | dict(refused=[], failed=[]) | more


def test_a_patients_numbers_leave_out_frame_0_and_frames_without_a_tumour():
    found = patient_values(
        case([99.0, 0.5, 1.5, None, 2.5, 30.0], [False] * 5 + [True])
    )
    assert found["median_mm"] == 2.0
    assert found["within_1mm"] == 25.0
    assert found["within_2mm"] == 50.0
    assert found["within_3mm"] == 75.0
    assert found["missed"] == 25.0
    assert found["p95_mm"] == pytest.approx(np.percentile([0.5, 1.5, 2.5, 30.0], 95))
    assert np.isnan(patient_values(case([1.0, None]))["median_mm"])


def test_few_patients_have_their_range_and_many_an_interval_over_patients():
    few = over_patients([1.0, 2.0, 9.0, np.nan], np.median, EVALUATION)
    assert (few.value, few.low, few.high, few.n) == (2.0, 1.0, 9.0, 3)
    values = list(np.random.default_rng(0).normal(5.0, 1.0, 400))
    many = over_patients(values, np.mean, EVALUATION)
    assert many.low < 5.0 < many.high
    assert many.high - many.low == pytest.approx(4 * 1.0 / 20, rel=0.25)
    none = over_patients([np.nan], np.mean, EVALUATION)
    assert none.n == 0 and np.isnan(none.value)


def test_latency_and_refusals_in_the_table():
    rows = [
        summarise_record(record("one", [case([0.0, 1.0, 2.0])]), EVALUATION),
        summarise_record(
            record(
                *("two", []),
                causal=None,
                refused=[{"case": 0, "why": "an angle (needed: 0)"}],
            ),
            EVALUATION,
        ),
    ]
    assert rows[0]["latency_p99_ms"] == pytest.approx(1.98)
    words = markdown(rows, NO_FORECASTS, settings())
    assert "| clinic | 1.5 / 1.9 | 1.9" not in words
    assert "| clinic | 1.5 / 1.9 | refused |" in words or "1.5 / 2.0" in words
    assert "two refused clips of 1: an angle (needed: 0) (1)." in words
    text = csv_text([flat(row) for row in rows])
    assert len(text.splitlines()) == 3 and csv_text([]) == ""


def test_forecasts_are_of_a_tracker_chosen_before_any_error_is_seen():
    told = {"centroids_delayed": "past truth"}
    rows = lambda *names: [
        {"tracker": n, "causal": n != "late@2", "knowledge": told.get(n, "nothing")}
        for n in names
    ]
    known = ("static_frame0", "mine:Tracker", "late@2", "net@0", "other@0")
    assert forecast_of(rows(*known), "") == "net@0"
    assert forecast_of(rows(*known[:3]), "") == "static_frame0"
    assert forecast_of(rows(*known), "other@0") == "other@0"
    assert forecast_of(rows("late@2", "centroids_delayed"), "") == ""


def test_the_forecast_table_has_ranges_over_cases():
    shape = np.zeros((32, 32), np.float32)
    shape[12:20, 12:20] = 1.0
    static = StaticTracker(shape, place_px=np.array([16.0, 14.0]))
    tracked = track_case(static, disc_clip(frames=60), frame0=True)
    far = {**tracked, "tracked_mm": [[r + 20.0, c] for r, c in tracked["tracked_mm"]]}
    records = [
        record("static_frame0", [tracked]),
        record("net", [{"case": 0, **tracked}, {"case": 1, **far}]),
        record("net", [{"case": 1, **far}], scenario="gain"),
        record("late", [case([0.0] * 60)], causal=False),
    ]
    cfg = settings()
    rows = [summarise_record(one, EVALUATION) for one in records]
    found = forecast_errors_of(records, rows, cfg)
    assert found.tracker == "net"  # not the best
    assert len(found.by_scenario) == 2 * len(FORECASTERS) * 3
    clinic, gain = (
        next(r for r in found.by_scenario if r["scenario"] == s)
        for s in ("clinic", "gain")
    )
    assert clinic["n"] == 2 and gain["n"] == 1
    assert clinic["mean_mm_low"] < clinic["mean_mm"] < clinic["mean_mm_high"]
    assert clinic["mean_mm_high"] == pytest.approx(gain["mean_mm"])
    assert clinic["ratio_low"] <= clinic["ratio"] <= clinic["ratio_high"]
    # Over scenarios within a case first: case 1 counts once, not twice.
    pooled = found.pooled[0]
    assert pooled["n"] == 2 and pooled["mean_mm"] == pytest.approx(clinic["mean_mm"])
    words = markdown(rows[1:2], found, cfg)
    assert "## Error after latency" in words and "kernel_density" in words
    assert "Traces of net," in words and "the range over cases" in words


def test_a_ratio_has_an_interval_over_patients():
    rng = np.random.default_rng(0)
    below = rng.uniform(1.0, 2.0, 40)
    found = ratio_over_patients(list(1.5 * below), list(below), EVALUATION)
    assert found.low == pytest.approx(1.5) and found.high == pytest.approx(1.5)
    noisy = ratio_over_patients(
        list(1.5 * below + rng.normal(0.0, 0.3, 40)), list(below), EVALUATION
    )
    assert noisy.low < 1.5 < noisy.high and noisy.n == 40
    few = ratio_over_patients([1.0, 4.0], [1.0, 2.0], EVALUATION)
    assert (few.low, few.high) == (1.0, 2.0) and few.value == pytest.approx(5.0 / 3.0)


def test_an_exact_trace_costs_what_the_tumour_moves_in_the_delay():
    given = disc_clip(frames=120)
    tracked = track_case(
        StaticTracker(np.ones((32, 32), np.float32), np.array([16.0, 16.0])),
        given,
        frame0=True,
    )
    times = np.array(tracked["time_s"])
    truth_s, truth_mm = np.array(tracked["truth_time_s"]), np.array(tracked["truth_mm"])
    exact = np.stack([np.interp(times, truth_s, truth_mm[:, a]) for a in range(2)], -1)
    tracked["tracked_mm"] = exact.tolist()
    forecast = settings(forecast__unscored_s=15.0).forecast
    last = case_errors("repeat_last", tracked, forecast)
    ridge = case_errors("ridge", tracked, forecast)
    for i in range(3):
        assert last[i]["at_0_mm"] < 0.01
        assert ridge[i]["mean_mm"] < 0.2 * last[i]["mean_mm"]
    assert last[0]["mean_mm"] < last[1]["mean_mm"] < last[2]["mean_mm"]
    tried = list(tune.trials("linear"))
    assert len(tried) == 4
    assert tune.score("linear", tried[0], [tracked], forecast) > 0.0
    assert tune.main(["nowhere"]) == 2


def test_a_tracker_that_is_scored_in_no_frame_says_so():
    row = summarise_record(record("told", [case([None] * 5)]), EVALUATION)
    text = markdown([row], forecast_errors_of([], [row], settings()), settings())
    assert "| clinic | not scored |" in text and "nan" not in text
