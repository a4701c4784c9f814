import dataclasses

import jax
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.sim.body import fit_traces
from fluoro_jax.sim.body.breathing import breathing_signal, load_trace
from fluoro_jax.sim.body.irregular_breathing import Irregularity, sample_breathing

breathing_signal = jax.jit(breathing_signal)
draw = jax.jit(sample_breathing, static_argnames=("duration_s", "irregularity"))


@pytest.fixture(scope="module")
def patients():
    """400 patients for two minutes."""
    keys = jax.random.split(jax.random.key(0), 400)
    return jax.device_get(jax.jit(jax.vmap(lambda k: sample_breathing(k, 120.0)))(keys))


def test_periods_and_amplitudes_have_the_fitted_mean_and_sd(patients):
    rules, breaths = Irregularity(), patients.breaths
    log_period = np.log(patients.period_s)
    assert log_period.mean() == pytest.approx(rules.log_period_s[0], abs=0.02)
    assert log_period.std() == pytest.approx(rules.log_period_s[1], rel=0.1)
    lengths = np.diff(breaths.start_s, axis=1)
    ratio = lengths.mean() / patients.period_s.mean()
    assert ratio == pytest.approx(1.0, abs=0.01)
    assert breaths.amplitude.mean() == pytest.approx(1.0, abs=0.01)
    for values, (mean, sd) in (
        (np.log(lengths), rules.log_period_sd),
        (np.log(breaths.amplitude), rules.log_amplitude_sd),
        (breaths.baseline, rules.log_baseline_sd),
    ):
        within = np.log(values.std(axis=1, ddof=1))
        # the median does not see where `most_sd` cuts
        assert np.median(within) == pytest.approx(mean, abs=0.12)
        low, middle = np.percentile(within, (16, 50))
        assert middle - low == pytest.approx(sd, rel=0.2)


def test_neighbouring_breaths_are_alike_as_fitted(patients):
    x = patients.breaths.baseline / patients.breaths.baseline.std(axis=1, keepdims=True)
    found = np.mean(x[:, 1:] * x[:, :-1])
    assert found == pytest.approx(Irregularity().baseline_memory, abs=0.06)


def test_chest_lags_behind_as_fitted(patients):
    mean, sd = Irregularity().chest_lag
    assert patients.ap_lag.mean() == pytest.approx(mean, abs=2e-3)
    assert patients.ap_lag.std() == pytest.approx(sd, rel=0.1)


def test_any_frame_rate_reads_the_same_breath():
    breath = draw(jax.random.key(3), duration_s=30.0)
    slow, _ = breathing_signal(breath, np.arange(0, 30, 0.5))
    fast, _ = breathing_signal(breath, np.arange(0, 30, 0.0625))
    np.testing.assert_array_equal(slow, fast[::8])


def test_a_longer_record_begins_alike_and_keys_differ():
    first = draw(jax.random.key(3), duration_s=30.0)
    longer = draw(jax.random.key(3), duration_s=1500.0)
    other = draw(jax.random.key(4), duration_s=30.0)
    time_s = np.linspace(0, 20, 101)
    si = [np.asarray(breathing_signal(b, time_s)[0]) for b in (first, longer, other)]
    np.testing.assert_allclose(si[0], si[1], atol=1e-5)
    assert np.abs(si[0] - si[2]).max() > 0.1


def test_the_record_is_full_finite_and_never_stops(patients):
    time_s = np.linspace(0.0, 120.0, 601)
    si, ap = jax.vmap(lambda b: breathing_signal(b, time_s))(patients)
    assert np.isfinite(si).all() and np.isfinite(ap).all()
    assert (patients.breaths.start_s[:, -1] > 120.0).all()
    assert (patients.breaths.start_s[:, 0] < -patients.ap_lag * patients.period_s).all()
    still = np.asarray(si).reshape(400, -1)[:, -60:].std(axis=1)
    assert still.min() > 0.05


def test_holds_and_coughs_come_as_often_as_asked():
    rules = Irregularity(hold_rate=0.25, hold_s=(8.0, 9.0), cough_rate=0.5)
    b = draw(jax.random.key(1), duration_s=1500.0, irregularity=rules).breaths
    held = np.asarray(b.hold_s) > 0.0
    assert 0.18 < held.mean() < 0.32 and b.hold_s.max() <= 9.0
    assert np.diff(b.start_s)[held].min() > 8.0
    assert 0.42 < (np.asarray(b.cough) > 0.0).mean() < 0.58
    plain = draw(jax.random.key(1), duration_s=1500.0).breaths
    assert not plain.hold_s.any() and not plain.cough.any()


def test_no_length_of_time_is_refused():
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="more than 0 s"):
            sample_breathing(jax.random.key(0), wrong)


def test_the_fit_finds_what_was_put_in():
    """Breaths drawn with known spreads, sampled like a recording, and read back."""
    rules = dataclasses.replace(
        Irregularity(),
        log_period_sd=(np.log(0.15), 0.0),
        log_amplitude_sd=(np.log(0.2), 0.0),
        log_baseline_sd=(np.log(0.05), 0.0),
    )
    breath = draw(jax.random.key(7), duration_s=1500.0, irregularity=rules)
    si, ap = breathing_signal(breath, np.arange(0, 1500.0, 0.1))
    found = fit_traces.statistics(12.0 * np.asarray(si, float))
    assert found["period_s"] == pytest.approx(float(breath.period_s), rel=0.03)
    assert found["period_sd"] == pytest.approx(0.15, rel=0.15)
    assert found["amplitude_mm"] == pytest.approx(12.0, rel=0.05)
    assert found["amplitude_sd"] == pytest.approx(0.2, rel=0.15)
    assert found["baseline_sd"] == pytest.approx(0.05, rel=0.2)
    lag = fit_traces.lag_cycles(
        np.asarray(si[:3000]), np.asarray(ap[:3000]), float(breath.period_s)
    )
    assert lag == pytest.approx(float(breath.ap_lag), abs=0.02)


def test_the_fit_reads_recordings_as_published(tmp_path, capsys):
    mm, _ = load_trace("irregular")
    lines = ['"Frame";"Timestamp";"x";"y";"z"']
    lines += [
        f"{i};{100 * i};0;0,5;{v:.2f}".replace(".", ",") for i, v in enumerate(mm)
    ]
    for who in ("1536-LAC", "1536-UCC", "1541-LAC", "1541-UCC"):
        name = tmp_path / f"20120510{who}-1-LT-70-6.csv"
        name.write_text("\r\n".join([*lines, "0;0;0;0;0"]))
    got = fit_traces.read_trace(name)
    np.testing.assert_allclose(got, (mm - mm.mean())[: len(got)], atol=0.02)
    assert fit_traces.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("201205101536 LAC breaths=")
    printed = dict(line.rsplit(maxsplit=2)[::2] for line in lines[4:])
    assert printed["chest lag, cycles"] == "0.000" and "log period_s" in printed
    assert fit_traces.main([]) == 2
