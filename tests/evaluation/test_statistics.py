from __future__ import annotations

import numpy as np
import pytest
from fakes import clip_of

from fluoro_jax.evaluation.statistics import (
    bootstrap_mean,
    by_patient,
    case_means,
    distance_summary,
    frame_rows,
    score_frames,
    summarise,
    truth_span_mm,
)
from fluoro_jax.geometry import Geometry

# 3 x 2 mm at the detector is 2 x 4/3 mm at the isocentre
VIEW = Geometry(1000.0, 1500.0, 0.0, 30, 40, (3.0, 2.0))
HALF_DIAGONAL_ISO = 0.5 * np.hypot(30 * 2.0, 40 * 4 / 3)


def square(row, col, side=6):
    mask = np.zeros((30, 40))
    mask[row : row + side, col : col + side] = 1
    return mask


@pytest.fixture
def scores():
    truth = np.stack([square(10, 10)] * 3 + [np.zeros((30, 40))])
    pred = np.stack(
        [square(11, 10), square(10, 13), np.zeros((30, 40)), square(0, 0, 2)]
    )
    exact = np.full((4, 2), 12.25)
    return score_frames(pred, truth, VIEW, exact_px=exact)


def test_errors_have_an_axis_a_sign_and_a_unit(scores):
    np.testing.assert_allclose(scores.shift_px[:2], [[1, 0], [0, 3]])
    np.testing.assert_allclose(scores.shift_detector_mm[:2], [[3, 0], [0, 6]])
    np.testing.assert_allclose(scores.shift_iso_mm[:2], [[2, 0], [0, 4]])
    np.testing.assert_allclose(scores.distance_mm[:2], [2, 4])
    # the mask's centroid is at 13.5, 12.5; the closed form was put at 12.25
    np.testing.assert_allclose(scores.shift_exact_mm[0], [2.5, 1 / 3])
    np.testing.assert_allclose(scores.hd95_mm[:2], [2.0, 4.0])


def test_an_empty_prediction_costs_half_the_diagonal_in_each_unit(scores):
    assert list(scores.empty) == [False, False, True, False]
    assert scores.distance_mm[2] == pytest.approx(HALF_DIAGONAL_ISO)
    np.testing.assert_allclose(scores.shift_iso_mm[2], HALF_DIAGONAL_ISO)
    np.testing.assert_allclose(scores.shift_detector_mm[2], 1.5 * HALF_DIAGONAL_ISO)
    np.testing.assert_allclose(scores.shift_px[2], 25.0)
    np.testing.assert_allclose(scores.shift_exact_mm[2], HALF_DIAGONAL_ISO)
    assert scores.iou[2] == 0.0


def test_a_case_is_the_mean_of_its_frames_with_and_without_empty_ones(scores):
    case = case_means(scores)
    assert case["vertical_iso_mm_found"] == pytest.approx(1.0)
    assert case["vertical_iso_mm"] == pytest.approx((2 + HALF_DIAGONAL_ISO) / 3)
    assert case["within_2mm"] == pytest.approx(100 / 3)
    assert case["within_2mm_found"] == pytest.approx(50)
    assert case["empty_predictions"] == 1 and case["frames"] == 4
    assert case["over_10mm"] == pytest.approx(100 / 3)  # the empty prediction alone
    assert case["empty_truth"] == 1 and case["false_px_on_empty"] == 4


def test_frame_rows_are_flat(scores):
    rows = frame_rows(scores)
    assert len(rows) == 4
    assert rows[0]["shift_iso_mm_vertical"] == pytest.approx(2.0)
    assert np.isnan(rows[3]["iou"]) and rows[3]["false_px"] == 4


def test_interval_covers_the_known_mean_at_about_the_stated_rate():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(60):
        sample = rng.exponential(2.0, size=40)
        found = bootstrap_mean(sample, resamples=500, seed=seed)
        assert found.low < found.mean < found.high and found.n == 40
        hits += found.low <= 2.0 <= found.high
    assert hits >= 50  # 57 expected; a 70 % interval would give 42


def test_interval_of_a_normal_sample_is_the_textbook_one():
    sample = np.random.default_rng(4).normal(5.0, 2.0, size=200)
    found = bootstrap_mean(sample, resamples=4000)
    half = 1.96 * sample.std(ddof=1) / np.sqrt(200)
    assert found.low == pytest.approx(sample.mean() - half, abs=0.05)
    assert found.high == pytest.approx(sample.mean() + half, abs=0.05)
    assert found == bootstrap_mean(sample, resamples=4000)


def test_skew_moves_the_bca_interval_up():
    sample = np.array([0.0] * 15 + [1.0] * 4 + [20.0])
    found = bootstrap_mean(sample, resamples=4000)
    assert found.high - found.mean > 1.5 * (found.mean - found.low)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0] * 6, (3.0, 3.0, 3.0, 6)),
        ([1.0, 3.0], (2.0, 1.0, 3.0, 2)),
        ([4.0], (4.0, 4.0, 4.0, 1)),
        ([4.0, np.nan], (4.0, 4.0, 4.0, 1)),
    ],
)
def test_degenerate_samples_give_numbers_and_no_warning(values, expected):
    found = bootstrap_mean(np.array(values), resamples=100)
    assert (found.mean, found.low, found.high, found.n) == expected


def test_three_almost_equal_cases_and_none():
    found = bootstrap_mean(np.array([1.0, 1.0, 2.0]), resamples=100)
    assert np.isfinite([found.low, found.high]).all()
    none = bootstrap_mean(np.array([np.nan]), resamples=100)
    assert none.n == 0 and np.isnan(none.mean)


def test_median_and_range_of_the_cases_are_kept():
    found = bootstrap_mean(np.array([1.0, 5.0, 2.0, np.nan]), resamples=100)
    assert (found.median, found.least, found.most) == (2.0, 1.0, 5.0)


def test_what_leads_a_table():
    found = distance_summary([1.0, 2.0, 3.0, 14.0, float("nan")])
    assert found["median_mm"] == 2.5 and (found["missed"], found["n"]) == (1, 4)
    assert found["p90_mm"] == pytest.approx(3.0 + 0.7 * 11.0)
    assert found["p95_mm"] == pytest.approx(3.0 + 0.85 * 11.0)
    assert distance_summary([float("nan")])["median_mm"] is None


def test_the_truths_range_is_within_a_patient_where_patients_are_known():
    # VIEW of the fakes has 10 mm a pixel; the path is 4 px down and 1 px across
    clips = [clip_of(8, 8, 3), clip_of(8, 8, 3), clip_of(20, 18, 3)]
    np.testing.assert_allclose(truth_span_mm(clips), [160, 110], atol=1e-6)
    np.testing.assert_allclose(
        truth_span_mm(clips, np.array([0, 0, 1])), [40, 10], atol=1e-6
    )


def test_an_interval_over_patients_counts_each_patient_once():
    values = np.repeat([0.0, 1.0, 2.0, 3.0], 10)
    cases = [{"iou": v, "none": np.nan} for v in values]
    patients = np.repeat(np.arange(4), 10)
    found = summarise(cases, resamples=500, seed=0, patients=patients)
    alike = summarise(cases, resamples=500, seed=0)
    assert found["iou"].n == 4 and alike["iou"].n == 40
    assert found["iou"].mean == pytest.approx(alike["iou"].mean)
    wide = lambda interval: interval.high - interval.low
    assert wide(found["iou"]) > 2.0 * wide(alike["iou"])
    assert found["none"].n == 0
    assert len(by_patient(cases, np.zeros(40))) == 40


def test_the_unit_is_the_case():
    cases = [{"iou": 0.5}, {"iou": 0.7}, {"iou": 0.9}, {"iou": float("nan")}]
    summary = summarise(cases, resamples=100, seed=0)
    assert summary["iou"].mean == pytest.approx(0.7) and summary["iou"].n == 3
    assert summarise([], resamples=100, seed=0) == {}
