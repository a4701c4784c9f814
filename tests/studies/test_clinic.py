"""The clinic study: tumours carried by the lung, amplitudes as measured in patients."""

import dataclasses

import jax
import numpy as np
import pytest

from fluoro_jax.sim.tumor.tumor import tumor_path_mm
from fluoro_jax.studies import PRESETS, fresh_tumor, study_case

SPEC = dataclasses.replace(PRESETS["group_quickstart"], name="clinic")


@pytest.fixture(scope="module")
def cases():
    return [study_case(SPEC, "val", index) for index in range(32)]


path_mm = jax.jit(tumor_path_mm)


def path(case):
    one = case.case
    return np.asarray(path_mm(one.tumor, one.breathing, one.time_s, one.anatomy))


def test_lower_tumours_move_as_far_as_measured_and_upper_ones_little(cases):
    """Seppenwoolde et al. 2002: SI 12 +- 6 mm lower, 2 +- 2 mm upper."""
    si = {"upper": [], "lower": []}
    for case in cases:
        si.get(case.labels["lobe"], []).append(case.labels["si_mm"])
    assert 8.0 < np.mean(si["lower"]) < 16.0
    assert np.mean(si["upper"]) < 4.0
    assert max(si["lower"]) < 32.0


def test_the_labels_bound_what_the_frames_show(cases):
    for case in cases:
        span = np.ptp(path(case), axis=0)
        assert span[2] <= case.labels["si_mm"] + 1e-3
        assert case.case.tumor.rides


def test_clips_start_anywhere_and_are_not_one_breath(cases):
    assert not SPEC.periodic
    assert not any(case.case.periodic for case in cases)
    starts = [float(case.case.breathing.start) for case in cases]
    assert np.ptp(starts) > 0.8
    periods = [float(case.case.breathing.period_s) for case in cases]
    assert 2.5 <= min(periods) < 3.5 and 5.0 < max(periods) <= 6.0


def test_a_fresh_tumour_rides_too_and_small_ones_are_as_many_as_asked(cases):
    rng = np.random.default_rng(0)
    draw = lambda even_in: float(
        fresh_tumor(
            rng, cases[0].case, diameter_mm=(10.0, 40.0), even_in=even_in
        ).diameter_mm
    )
    small = lambda even_in: np.mean([draw(even_in) < 20.0 for _ in range(60)])
    assert small("log_diameter") == pytest.approx(0.5, abs=0.2)
    assert small("diameter") == pytest.approx(1.0 / 3.0, abs=0.2)
    assert fresh_tumor(rng, cases[0].case, diameter_mm=(10.0, 20.0)).rides


def test_a_share_of_fresh_tumours_lies_nearest_the_midline(cases):
    def off_mm(share):
        rng = np.random.default_rng(0)
        how = dict(diameter_mm=(20.0, 20.0), midline_share=share)
        drawn = [fresh_tumor(rng, case.case, **how) for case in cases]
        return np.array([abs(tumor.centre_mm[0]) for tumor in drawn])

    usual, half, all_of_them = (off_mm(share) for share in (0.0, 0.5, 1.0))
    # At a share of 0 places are drawn evenly.
    assert np.median(all_of_them) < np.percentile(usual, 10)
    near = half < np.percentile(usual, 10)
    assert 0.25 < near.mean() < 0.75
