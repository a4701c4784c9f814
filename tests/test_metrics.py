from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fluoro_jax import metrics


def box(shape, top, left, height, width):
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def outline_by_hand(mask):
    """Pixels of the mask with a four-neighbour outside it (the border is outside)."""
    rows, cols = mask.shape
    found = []
    for r in range(rows):
        for c in range(cols):
            around = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            inside = [0 <= i < rows and 0 <= j < cols and mask[i, j] for i, j in around]
            if mask[r, c] and not all(inside):
                found.append((r, c))
    return np.array(found, float)


def distances_by_hand(pred, truth, pixel_mm):
    a, b = outline_by_hand(pred) * pixel_mm, outline_by_hand(truth) * pixel_mm
    gaps = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return gaps.min(1), gaps.min(0)


def test_shifted_square_has_closed_form_values():
    pred, truth = box((20, 20), 5, 5, 4, 4), box((20, 20), 5, 7, 4, 4)
    assert metrics.iou(pred, truth) == pytest.approx(8 / 24)
    assert metrics.dice(pred, truth) == pytest.approx(16 / 32)
    assert metrics.area_difference(pred, truth) == 0.0
    np.testing.assert_allclose(metrics.centroid_px(pred), [6.5, 6.5])
    np.testing.assert_allclose(metrics.centroid_px(pred, truth), [0.0, -2.0])
    assert metrics.false_positive_px(pred, truth) == 8


def test_area_difference_is_relative_to_truth():
    assert metrics.area_difference(
        box((9, 9), 1, 1, 2, 3), box((9, 9), 1, 1, 2, 2)
    ) == pytest.approx(50.0)


def test_shift_of_a_line_gives_its_distance_in_the_right_unit():
    pred, truth = box((30, 30), 10, 5, 1, 20), box((30, 30), 14, 5, 1, 20)
    for measure in (metrics.hd95, metrics.asd, metrics.assd):
        assert measure(pred, truth) == pytest.approx(4.0)
        assert measure(pred, truth, (0.4, 0.3)) == pytest.approx(1.6)
    turned = measure(pred.T, truth.T, (0.4, 0.3))
    assert turned == pytest.approx(1.2)  # swapped spacing would give 1.6


def test_asd_is_directed_and_assd_is_not():
    pred, truth = box((30, 30), 10, 10, 3, 3), box((30, 30), 5, 5, 15, 15)
    assert metrics.asd(pred, truth) != pytest.approx(metrics.asd(truth, pred))
    assert metrics.assd(pred, truth) == pytest.approx(metrics.assd(truth, pred))


@pytest.mark.parametrize("pixel_mm", [(1.0, 1.0), (0.4, 0.3)])
def test_distances_equal_brute_force(pixel_mm):
    rng = np.random.default_rng(3)
    for _ in range(10):
        pred, truth = rng.random((2, 14, 11)) > 0.7
        there, back = distances_by_hand(pred, truth, np.array(pixel_mm))
        np.testing.assert_allclose(metrics.asd(pred, truth, pixel_mm), there.mean())
        both = np.concatenate([there, back]).mean()
        np.testing.assert_allclose(metrics.assd(pred, truth, pixel_mm), both)
        worst = max(np.percentile(there, 95), np.percentile(back, 95))
        np.testing.assert_allclose(metrics.hd95(pred, truth, pixel_mm), worst)


masks = hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_dice_iou_identity_and_range(truth, seed):
    pred = np.random.default_rng(seed).random(truth.shape) > 0.5
    overlap, score = metrics.iou(pred, truth), metrics.dice(pred, truth)
    if not truth.any():
        assert np.isnan(overlap) and np.isnan(score)
        return
    assert 0.0 <= overlap <= score <= 1.0
    assert score == pytest.approx(2 * overlap / (1 + overlap))
    assert metrics.iou(truth, truth) == 1.0


def test_empty_prediction_has_half_the_diagonal_as_its_error():
    truth, nothing = box((30, 40), 3, 3, 4, 4), np.zeros((30, 40), bool)
    assert metrics.iou(nothing, truth) == 0.0
    assert metrics.dice(nothing, truth) == 0.0
    assert metrics.area_difference(nothing, truth) == 100.0
    assert metrics.is_empty_prediction(nothing, truth)
    np.testing.assert_allclose(metrics.centroid_px(nothing, truth), [25.0, 25.0])
    for measure in (metrics.hd95, metrics.asd, metrics.assd):
        assert measure(nothing, truth) == pytest.approx(25.0)
        assert measure(nothing, truth, (2.0, 2.0)) == pytest.approx(50.0)


def test_empty_truth_is_nan_and_its_false_positives_are_counted():
    pred, nothing = box((8, 8), 1, 1, 2, 2), np.zeros((8, 8), bool)
    for measure in (metrics.iou, metrics.dice, metrics.hd95, metrics.asd):
        assert np.isnan(measure(pred, nothing))
        assert np.isnan(measure(nothing, nothing))
    assert np.isnan(metrics.centroid_px(pred, nothing)).all()
    assert np.isnan(metrics.centroid_px(nothing)).all()
    assert metrics.false_positive_px(pred, nothing) == 4
    assert not metrics.is_empty_prediction(nothing, nothing)


def test_leading_axes_stay_and_each_mask_is_on_its_own():
    rng = np.random.default_rng(0)
    pred, truth = rng.random((2, 2, 3, 12, 10)) > 0.6
    for measure in (metrics.iou, metrics.dice, metrics.hd95, metrics.asd):
        whole = measure(pred, truth)
        assert whole.shape == (2, 3)
        assert whole[1, 2] == pytest.approx(measure(pred[1, 2], truth[1, 2]))
    assert metrics.centroid_px(pred).shape == (2, 3, 2)


def test_jax_and_numpy_agree_under_jit():
    rng = np.random.default_rng(1)
    pred, truth = rng.random((2, 4, 12, 10)) > 0.6
    truth[0] = False
    for measure in (metrics.iou, metrics.dice, metrics.centroid_px):
        traced = jax.jit(measure)(jnp.asarray(pred), jnp.asarray(truth))
        np.testing.assert_allclose(traced, measure(pred, truth), rtol=1e-5)


def test_soft_masks_are_cut_at_one_half_and_shapes_checked():
    soft = np.array([[0.2, 0.9], [0.5, 0.4]])
    assert metrics.iou(soft, np.array([[0, 1], [1, 0]])) == 1.0
    with pytest.raises(ValueError, match=r"\[..., H, W\]"):
        metrics.iou(np.zeros((4, 4)), np.zeros((4, 5)))
