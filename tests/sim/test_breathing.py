import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.sim.breathing import (
    Breathing,
    breathing_signal,
    load_trace,
    trace_names,
)


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
    # people rest at exhale: the median lies in the lower half of the range
    assert 5 < np.ptp(mm) < 40 and np.median(mm) < 0.5 * (mm.max() + mm.min())


def test_unknown_trace_names_the_others():
    with pytest.raises(UserError) as error:
        load_trace("fast")
    assert all(name in str(error.value) for name in trace_names())
