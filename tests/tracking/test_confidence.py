"""Calibrated confidences, and how they are judged."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.tracking import confidence
from fluoro_jax.tracking.confidence import Calibration, Features
from fluoro_jax.zoo.calibration import read_calibration

RNG = np.random.default_rng(5)
COUNT = len(confidence.NAMES)


def drawn(n=4000, slope=2.0):
    """Feature vectors of which the first decides by a logistic law, and errors."""
    rows = RNG.normal(size=(n, COUNT)) * 3.0 + 1.0
    chance = 1.0 / (1.0 + np.exp(-slope * (rows[:, 0] - 1.0) / 3.0))
    right = RNG.uniform(size=n) < chance
    return rows, np.where(right, 0.5, 5.0), chance


def test_the_law_that_was_drawn_from_is_found():
    rows, error_mm, chance = drawn()
    case = np.arange(len(rows)) // 10
    fitted = confidence.fit_calibration(rows, error_mm, case)
    said = fitted.probabilities(rows)
    assert np.abs(said - chance).mean() < 0.04
    assert confidence.calibration_error(said, error_mm < 2.0) < 0.03
    assert fitted.cases == 400


def test_every_case_weighs_the_same():
    rows = np.zeros((100, COUNT))
    # One case of 99 right answers, one of a single wrong one.
    error_mm = np.r_[np.full(99, 0.1), 9.0]
    case = np.r_[np.zeros(99), 1]
    fitted = confidence.fit_calibration(rows, error_mm, case)
    # The logit at the mean features: as many cases are right as wrong.
    assert fitted.bias == pytest.approx(0.0, abs=1e-5)


def test_no_answer_counts_as_wrong():
    rows, error_mm, _ = drawn(200)
    missing = np.where(error_mm > 2.0, np.nan, error_mm)
    case = np.arange(200)
    a = confidence.fit_calibration(rows, error_mm, case)
    assert a == confidence.fit_calibration(rows, missing, case)


def test_one_kind_of_answers_is_refused():
    with pytest.raises(UserError, match="10 of 10 answers within 2 mm"):
        confidence.fit_calibration(np.zeros((10, COUNT)), np.zeros(10), np.arange(10))


def test_a_calibration_is_read_as_written(tmp_path):
    rows, error_mm, _ = drawn(200)
    fitted = confidence.fit_calibration(rows, error_mm, np.arange(200))
    path = tmp_path / "confidence.json"
    path.write_text(fitted.to_json(), encoding="utf-8")
    assert read_calibration(path) == fitted
    for text in ("", "{}", fitted.to_json().replace('"edge"', '"other"')):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="no calibration"):
            read_calibration(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("mean", bad) for bad in ("123456789", [0.0] * 8, [math.nan] * COUNT)),
        *(("scale", bad) for bad in ([0.0] * COUNT, [1.0], ["x"] * COUNT, None)),
        *(("weights", bad) for bad in ([math.inf] * COUNT, {})),
        *(("bias", bad) for bad in ("x", None, math.nan)),
        *(("limit_mm", bad) for bad in ("x", -1.0)),
        *(("origin", bad) for bad in (3, {}, {"weights": "a", "threshold": "b"})),
        *(("features", bad) for bad in (None, 3, ["area_px"])),
        ("cases", "many"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, key, value):
    rows, error_mm, _ = drawn(200)
    fitted = confidence.fit_calibration(rows, error_mm, np.arange(200))
    path = tmp_path / "confidence.json"
    path.write_text(json.dumps(json.loads(fitted.to_json()) | {key: value}))
    with pytest.raises(UserError, match="no calibration") as error:
        read_calibration(path)
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize("text", ['"abc"', "3", "null", "[]", "[" * 100_000])
def test_what_is_no_calibration_at_all_is_refused(tmp_path, text):
    path = tmp_path / "confidence.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="no calibration"):
        read_calibration(path)


def test_features_are_finite_at_their_ends():
    ends = (
        Features(0.0, 0.0, -1.0, 0.0, 0.0, 0, 0.0, 0, 0.0),
        Features(1.0, 1.0, 1.0, 1.0, 1e9, 10**6, 9.0, 10**6, 1.0),
    )
    for one in ends:
        assert np.isfinite(one.vector()).all()
        assert one.vector().shape == (len(confidence.NAMES),)


@pytest.mark.parametrize("radius_px", [2, 5, 20])
def test_a_disc_is_round_and_its_half_is_not(radius_px):
    rows, cols = np.mgrid[:64, :64] - 32.0
    disc = np.hypot(rows, cols) <= radius_px
    assert confidence.roundness(disc) == pytest.approx(1.0, abs=1e-12)
    assert confidence.roundness(disc & (rows >= 0)) < 0.8


def test_roundness_of_a_bar_is_the_ratio_of_its_sides_whatever_its_place():
    bar = np.zeros((40, 30), bool)
    bar[3:33, 7:17] = True
    assert confidence.roundness(bar) == pytest.approx(1 / 3, abs=1e-12)
    assert confidence.roundness(bar.T) == pytest.approx(1 / 3, abs=1e-12)
    bar[:] = False
    bar[39, 0] = True
    assert confidence.roundness(bar) == 1.0


def test_area_under_curve_by_hand():
    said = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, False, True, False])
    assert confidence.area_under_curve(said, right) == pytest.approx(0.75)
    assert confidence.area_under_curve(np.ones(4), right) == pytest.approx(0.5)
    assert math.isnan(confidence.area_under_curve(said, np.ones(4, bool)))


def test_calibration_error_by_hand():
    said = np.r_[np.full(10, 0.75), np.full(10, 0.25)]
    right = np.r_[np.ones(10, bool), np.zeros(10, bool)]
    assert confidence.calibration_error(said, right) == pytest.approx(0.25)


def test_the_surest_answers_come_first_in_the_risk():
    said, error_mm = np.linspace(1.0, 0.0, 100), np.linspace(0.0, 10.0, 100)
    rows = confidence.risk_coverage(said, error_mm)
    means = [row["mean_mm"] for row in rows]
    assert means == sorted(means)
    assert rows[-1]["coverage"] == 1.0
    assert rows[-1]["mean_mm"] == pytest.approx(5.0)


def test_equal_confidences_share_their_errors_in_any_order():
    said = np.r_[np.full(10, 0.95), np.full(10, 0.85)]
    error_mm = np.r_[np.zeros(5), np.full(5, 4.0), np.full(10, 6.0)]
    rows = confidence.risk_coverage(said, error_mm)
    assert [row["mean_mm"] for row in rows[:10]] == pytest.approx([2.0] * 10)
    assert [row["wrong"] for row in rows[:10]] == pytest.approx([0.5] * 10)
    assert rows[-1]["mean_mm"] == pytest.approx(4.0)
    shuffled = RNG.permutation(20)
    assert confidence.risk_coverage(said[shuffled], error_mm[shuffled]) == rows


def test_a_confidence_is_the_middle_of_its_tenth():
    only_first = (1.0, *[0.0] * (COUNT - 1))
    rule = Calibration((0.0,) * COUNT, (1.0,) * COUNT, only_first, 0.0, 2.0, 30)
    chance = np.array([0.0, 0.03, 0.0999, 0.1001, 0.49, 0.51, 0.92, 1.0])
    rows = np.zeros((len(chance), COUNT))
    with np.errstate(divide="ignore"):
        rows[:, 0] = np.clip(np.log(chance / (1.0 - chance)), -50.0, 50.0)
    want = [0.05, 0.05, 0.05, 0.15, 0.45, 0.55, 0.95, 0.95]
    np.testing.assert_allclose(rule.probabilities(rows), want, atol=1e-12)


def test_conformal_radii_cover_new_cases_as_often_as_promised():
    covered = []
    for _ in range(2000):
        scores = RNG.gamma(2.0, size=31)
        radius = confidence.conformal_radius_mm(scores[:30], alpha=0.1)
        covered.append(scores[30] <= radius)
    assert np.mean(covered) == pytest.approx(28 / 31, abs=0.02)
    assert confidence.conformal_radius_mm([1.0] * 5, alpha=0.1) == math.inf
    assert confidence.conformal_radius_mm([np.nan] * 30, alpha=0.1) == math.inf
