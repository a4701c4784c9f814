from __future__ import annotations

import jax
import numpy as np
import pytest
from safetensors import safe_open

from fluoro_jax.sim.body.breathing import breathing_signal
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.tracking import forecast_lstm, forecast_lstm_fit
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


def test_the_lstm_forecasts_breaths_that_it_was_not_trained_on():
    known_s, time_s = np.arange(0.0, 15.0, 0.02), np.arange(0.0, 14.0, 0.2)
    missed = {"lstm": [], "repeat_last": []}
    draw = jax.jit(lambda key: breathing_signal(sample_breathing(key, 16.0), known_s))
    for number in range(6):
        inhaled = np.asarray(draw(jax.random.key(500 + number))[0])
        truth = known_s, np.stack([-12.0 * inhaled, 2.0 * inhaled], -1)
        place_mm = np.stack([np.interp(time_s, known_s, x) for x in truth[1].T], -1)
        for name, found in missed.items():
            all_mm = errors(name, time_s, place_mm, truth, unscored_s=2.0)
            found.append([one.mean() for one in all_mm])
    ours, last = (np.mean(missed[name], axis=0) for name in ("lstm", "repeat_last"))
    assert (ours < 0.8 * last).all()


def test_beyond_its_horizons_the_lstm_holds_its_last_displacement():
    places_mm = np.linspace(-7.0, 0.0, forecast_lstm.TAPS)[None]
    at = np.array([0.0, 0.05, 0.1, 1.0, 3.0])
    moved = forecast_lstm.displacements_mm(places_mm, at)[0]
    assert moved[0] == 0.0 and moved[1] == pytest.approx(0.5 * moved[2])
    assert moved[3] == moved[4] > 0.0


def test_the_lstm_is_trained_on_places_and_displacements_of_one_motion():
    seconds = np.arange(1200) / forecast_lstm_fit.RATE_HZ
    line = np.stack([0.5 * seconds])
    drawn = forecast_lstm_fit.examples(
        *(jax.random.key(0), line, forecast_lstm_fit.BACK_S, forecast_lstm.AHEAD_S),
        batch=200,
    )
    places, moved = map(np.asarray, drawn)
    assert places.shape == (200, forecast_lstm.TAPS)
    # Relative to the newest place as measured, whose noise is in all displacements.
    speed = (moved[:, -1] - moved[:, 0]) / 0.9
    low, high = (0.5 * pace for pace in forecast_lstm_fit.SPEED)
    assert low * 0.999 < speed.min() < speed.max() < high * 1.001
    span_s = forecast_lstm.TAP_S * (forecast_lstm.TAPS - 1)
    off = -places[:, 0] - speed * span_s
    assert (
        np.abs(off).mean() > 0.0
        and np.abs(off).max() < 8.0 * forecast_lstm_fit.NOISE[1]
    )
    np.testing.assert_array_equal(places[:, -1], 0.0)


def test_the_lstms_weights_are_those_of_its_form_and_training():
    with safe_open(forecast_lstm.WEIGHTS, "numpy") as file:
        assert file.metadata() == forecast_lstm_fit.MADE_WITH
    shapes = lambda tree: jax.tree.map(np.shape, tree)
    assert shapes(forecast_lstm._weights()) == shapes(forecast_lstm_fit.fit(steps=1))


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
