from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.tracking.forecast import (
    FORECASTERS,
    ForecastSettings,
    forecast_errors,
    forecast_trace,
)

HORIZONS_S = (0.1, 0.3, 0.5)
EXACT = ForecastSettings(
    window_s=20.0, tap_s=0.1, taps=6, ridge=1e-12, forgetting=1.0, step=1.0
)


def sine(seconds=30.0, step_s=0.1):
    time_s = np.arange(0.0, seconds, step_s)
    phase = 2.0 * np.pi * time_s / 4.0
    return time_s, np.stack([8.0 * np.sin(phase) + 3.0, 2.0 * np.cos(phase)], -1)


def errors(name, time_s, place_mm, truth, settings=EXACT, unscored_s=10.0):
    made = FORECASTERS[name](HORIZONS_S, settings)
    predicted = forecast_trace(made, time_s, place_mm)
    return [
        forecast_errors(predicted[:, i], time_s, h, truth, unscored_s=unscored_s)[0]
        for i, h in enumerate(HORIZONS_S)
    ]


@pytest.mark.parametrize(("name", "most_mm"), [("ridge", 1e-3), ("rls", 1e-3)])
def test_a_sine_is_forecast_exactly(name, most_mm):
    time_s, place_mm = sine()
    for missed in errors(name, time_s, place_mm, (time_s, place_mm)):
        assert len(missed) > 100
        assert missed.max() < most_mm


@pytest.mark.parametrize("name", ["nlms", "kernel_density"])
def test_others_beat_repeating_on_a_sine(name):
    time_s, place_mm = sine(60.0)
    truth = (time_s, place_mm)
    settings = ForecastSettings(tap_s=0.1, taps=6, step=0.5, kernel_mm=0.3)
    found = errors(name, time_s, place_mm, truth, settings, unscored_s=40.0)
    plain = errors("repeat_last", time_s, place_mm, truth, unscored_s=40.0)
    for ours, last in zip(found, plain, strict=True):
        assert ours.mean() < 0.5 * last.mean()


def test_repeating_errs_on_a_ramp_by_speed_times_horizon_and_a_line_not_at_all():
    time_s = np.cumsum(np.random.default_rng(0).uniform(0.05, 0.3, 100))  # uneven
    velocity = np.array([3.0, -4.0])
    place_mm = time_s[:, None] * velocity
    truth = (time_s, place_mm)
    for h, missed in zip(
        HORIZONS_S, errors("repeat_last", time_s, place_mm, truth), strict=True
    ):
        np.testing.assert_allclose(missed, 5.0 * h, rtol=1e-6)
    for missed in errors("linear", time_s, place_mm, truth):
        assert missed.max() < 1e-6


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_shifted_trace_shifts_its_forecast(name):
    time_s, place_mm = sine(15.0)
    make = lambda: FORECASTERS[name](HORIZONS_S, ForecastSettings(tap_s=0.2))
    plain = forecast_trace(make(), time_s, place_mm)
    moved = forecast_trace(make(), time_s, place_mm + np.array([50.0, -20.0]))
    np.testing.assert_allclose(moved - plain, [[[50.0, -20.0]] * 3] * 150, atol=1e-6)


@pytest.mark.parametrize("name", FORECASTERS)
def test_uneven_times_a_still_trace_and_later_frames(name):
    rng = np.random.default_rng(1)
    time_s = np.cumsum(rng.uniform(0.05, 0.4, 120))
    make = lambda: FORECASTERS[name](HORIZONS_S, ForecastSettings())
    still = forecast_trace(make(), time_s, np.ones((120, 2)))
    np.testing.assert_allclose(still, 1.0, atol=1e-9)
    place_mm = rng.normal(size=(120, 2))
    changed = np.concatenate([place_mm[:80], place_mm[80:] + 9.0])
    first = forecast_trace(make(), time_s, place_mm)[:80]
    np.testing.assert_array_equal(first, forecast_trace(make(), time_s, changed)[:80])


def test_a_missing_answer_repeats_the_last_one():
    time_s = np.arange(4) * 0.5
    place_mm = np.array([[np.nan] * 2, [1.0, 2.0], [np.nan] * 2, [3.0, 4.0]])
    made = FORECASTERS["repeat_last"](HORIZONS_S, ForecastSettings())
    found = forecast_trace(made, time_s, place_mm)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1:, 0], [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    nothing = forecast_trace(made, time_s, np.full((4, 2), np.nan))
    assert np.isnan(nothing).all()


def test_frames_without_a_future_or_too_early_are_not_scored():
    time_s = np.arange(10.0)
    place_mm = np.stack([time_s, time_s], -1)
    missed, there = forecast_errors(
        place_mm, time_s, 2.0, (time_s, place_mm), unscored_s=4.0
    )
    np.testing.assert_allclose(missed, [2.0 * np.sqrt(2.0)] * 4)  # frames 4 to 7
    np.testing.assert_allclose(there[:, 0], [6.0, 7.0, 8.0, 9.0])
