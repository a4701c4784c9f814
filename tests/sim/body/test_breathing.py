import jax
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.sim.body.breathing import (
    Breathing,
    Breaths,
    breathing_signal,
    load_trace,
    trace_names,
)

breathing_signal = jax.jit(breathing_signal)


def test_curve_has_its_landmarks():
    si, ap = breathing_signal(Breathing(period_s=5.0), np.array([0, 1, 2, 3.5, 5.0]))
    np.testing.assert_allclose(si, [0, 0.5, 1, 0.5, 0], atol=1e-5)
    np.testing.assert_allclose(ap, si, atol=1e-6)


def test_curve_is_within_a_twentieth_of_xcat_at_its_ten_phases():
    xcat = [0, 0.19, 0.505, 0.852, 1, 0.937, 0.754, 0.505, 0.255, 0.088]
    si, _ = breathing_signal(Breathing(period_s=5.0), np.arange(10) * 0.5)
    assert np.abs(np.asarray(si) - xcat).max() < 0.05


def test_start_and_lag_shift_the_curves():
    time_s = np.linspace(0, 9, 19)
    plain, _ = breathing_signal(Breathing(period_s=4.0), time_s + 1.0)
    shifted, late = breathing_signal(
        Breathing(period_s=4.0, start=0.25, ap_lag=0.1), time_s
    )
    np.testing.assert_allclose(shifted, plain, atol=1e-5)
    want, _ = breathing_signal(Breathing(period_s=4.0), time_s + 0.6)
    np.testing.assert_allclose(late, want, atol=1e-5)


def test_recorded_trace_replaces_the_curve_and_holds_its_ends():
    b = Breathing(trace=np.array([0.0, 1.0, 0.5]), trace_rate_hz=2.0)
    si, _ = breathing_signal(b, np.array([0.0, 0.25, 0.5, 1.0, 9.0]))
    np.testing.assert_allclose(si, [0, 0.5, 1, 0.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("name", ["quiet", "irregular"])
def test_shipped_traces_are_about_seventy_seconds_of_inhale_positive_motion(name):
    mm, rate_hz = load_trace(name)
    assert rate_hz == pytest.approx(10.0, rel=1e-3)
    assert 69 < len(mm) / rate_hz < 72
    # patients rest at exhale: the median lies in the lower half of the range
    assert 5 < np.ptp(mm) < 40 and np.median(mm) < 0.5 * (mm.max() + mm.min())


def test_unknown_trace_names_the_others():
    with pytest.raises(UserError) as error:
        load_trace("fast")
    assert all(name in str(error.value) for name in trace_names())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_lujans_curve_rests_at_exhale(n):
    time_s = np.linspace(0.0, 4.0, 401)
    si, _ = breathing_signal(Breathing(period_s=4.0, lujan_n=n), time_s)
    want = np.cos(np.pi * (time_s / 4.0 - 0.5)) ** (2 * n)
    np.testing.assert_allclose(si, want, atol=1e-5)
    high = (np.asarray(si) > 0.5).mean()  # half of the time for n = 1, then less
    assert high < 0.51 if n == 1 else high < 0.4


def breaths_of(**change):
    values = dict(
        start_s=[0.0, 4.0, 12.0, 15.0],
        baseline=[0.0, 0.2, 0.1, 0.0],
        amplitude=[1.0, 0.8, 0.5],
        hold_s=[0.0, 4.0, 0.0],
        cough=[0.0, 0.0, 0.0],
    )
    arrays = {k: np.array(v, np.float32) for k, v in {**values, **change}.items()}
    return Breathing(period_s=4.0, breaths=Breaths(**arrays))


def test_breaths_start_at_their_baseline_and_reach_their_height():
    breath = breaths_of()
    si, _ = breathing_signal(breath, breath.breaths.start_s)
    np.testing.assert_allclose(si, [0.0, 0.2, 0.1, 0.0], atol=1e-5)
    tops, _ = breathing_signal(breath, np.array([1.6, 12.0 + 1.2]))
    np.testing.assert_allclose(tops, [1.0 + 0.08, 0.5 + 0.06], atol=1e-5)
    outside, _ = breathing_signal(breath, np.array([-3.0, 99.0]))
    np.testing.assert_allclose(outside, 0.0, atol=1e-5)


@pytest.mark.parametrize("lujan_n", [None, 2])
def test_a_breath_hold_holds(lujan_n):
    breath = breaths_of(baseline=[0.0] * 4).replace(lujan_n=lujan_n)
    top_s = 4.0 + (0.4 if lujan_n is None else 0.5) * 4.0
    si, _ = breathing_signal(breath, top_s + np.linspace(0.01, 3.99, 50))
    np.testing.assert_allclose(si, 0.8, atol=1e-5)
    before, _ = breathing_signal(breath, np.array([top_s - 0.8, top_s + 4.8]))
    assert (np.asarray(before) < 0.75).all()


def test_uneven_breaths_of_one_kind_are_the_periodic_curve():
    breath = breaths_of(
        start_s=[0.0, 4.0, 8.0, 12.0],
        baseline=[0.0] * 4,
        amplitude=[1.0] * 3,
        hold_s=[0.0] * 3,
    ).replace(ap_lag=0.1, start=0.3)
    time_s = np.linspace(0.0, 10.0, 101)
    for got, want in zip(
        breathing_signal(breath, time_s),
        breathing_signal(breath.replace(breaths=None), time_s),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, atol=1e-4)


def test_a_cough_is_short_and_of_its_height():
    time_s = np.linspace(0.0, 15.0, 3001)
    plain, _ = breathing_signal(breaths_of(), time_s)
    coughed, _ = breathing_signal(breaths_of(cough=[0.4, 0.0, 0.0]), time_s)
    extra = np.asarray(coughed - plain)
    assert extra.max() == pytest.approx(0.4, abs=1e-3)
    felt = time_s[extra > 1e-4]
    assert 1.6 < felt.min() < felt.max() < 4.0 and np.ptp(felt) < 0.65


def test_the_curve_never_jumps():
    time_s = np.linspace(0.0, 15.0, 15001)
    si, _ = breathing_signal(breaths_of(cough=[0.4, 0.3, 0.2]), time_s)
    assert np.abs(np.diff(np.asarray(si))).max() < 4e-3
