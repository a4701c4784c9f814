from __future__ import annotations

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from skimage.metrics import structural_similarity

from fluoro_jax.training import losses


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 3, 24, 20), np.float32)
    truth[:, :, 6:14, 5:12] = 1.0
    return truth, rng.uniform(0, 1, truth.shape).astype(np.float32)


def test_l1_is_the_mean_distance(pair):
    truth, prob = pair
    expected = np.abs(truth - prob).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(losses.l1(truth, prob), expected, rtol=1e-6)


def test_ssim_is_skimages(pair):
    truth, prob = pair
    similarity = [
        np.mean(
            [
                structural_similarity(
                    t,
                    p,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                    data_range=1.0,
                )
                for t, p in zip(*clips, strict=True)
            ]
        )
        for clips in zip(truth, prob, strict=True)
    ]
    found = losses.ssim_loss(truth, prob)
    np.testing.assert_allclose(found, 1.0 - np.array(similarity), atol=2e-6)


def test_ssim_of_equal_masks_is_zero_in_any_input_precision(pair):
    truth = jnp.asarray(pair[0], jnp.bfloat16)
    found = losses.ssim_loss(truth, truth)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_iou_of_masks_is_one_minus_overlap():
    truth, pred = np.zeros((2, 1, 2, 8, 8), np.float32)
    truth[:, :, :4, :4], pred[:, :, 2:6, :4] = 1.0, 1.0  # 8 shared of 24
    np.testing.assert_allclose(losses.iou_loss(truth, pred), 1 - 8 / 24, rtol=1e-6)


def test_iou_averages_frames_not_pixels():
    truth, pred = np.zeros((2, 1, 2, 8, 8), np.float32)
    truth[0, 0, :1, :1] = pred[0, 0, :1, :1] = 1.0  # small and right: 0
    truth[0, 1] = 1.0  # large and missed: 1
    np.testing.assert_allclose(losses.iou_loss(truth, pred), 0.5, rtol=1e-6)


def test_iou_without_truth_pulls_the_prediction_to_nothing():
    truth = jnp.zeros((1, 1, 8, 8))
    assert float(losses.iou_loss(truth, truth)[0]) == 0.0
    slope = jax.grad(lambda p: losses.iou_loss(truth, p).sum())(truth + 0.1)
    assert np.isfinite(slope).all() and (np.asarray(slope) > 1e-3).all()


def test_cross_entropy_weighs_the_foreground():
    truth = np.zeros((1, 1, 2, 2), np.float32)
    truth[0, 0, 0, 0] = 1.0
    found = losses.cross_entropy(truth, jnp.zeros(truth.shape), 20.0)
    np.testing.assert_allclose(found, np.log(2.0) * (21 + 3) / 4, rtol=1e-6)


def test_cross_entropy_is_least_where_its_docstring_says():
    """The expectation over a truth that is 1 with probability 0.05, weight 20."""
    prob = np.linspace(0.4, 0.65, 251)
    logits = np.log(prob / (1.0 - prob)).reshape(-1, 1, 1, 1)
    one, zero = (
        losses.cross_entropy(np.full(logits.shape, y), logits, 20.0) for y in (1.0, 0.0)
    )
    least = np.argmin(0.05 * np.asarray(one) + 0.95 * np.asarray(zero))
    assert prob[least] == pytest.approx(0.525, abs=0.002)


def test_cross_entropy_is_finite_at_extreme_logits():
    truth = np.ones((1, 1, 2, 2), np.float32)
    found = losses.cross_entropy(truth, jnp.full(truth.shape, -1e4), 0.0)
    np.testing.assert_allclose(found, 1e4, rtol=1e-6)


def test_penalty_of_a_linear_critic_of_slope_five_is_sixteen(pair):
    truth, prob = pair
    weight = np.zeros(truth.shape[1:], np.float32)
    weight[0, 0, 0], weight[1, 2, 3] = 3.0, 4.0
    score_fn = lambda x: jnp.einsum("bthw,thw->b", x, weight)
    mix = jnp.array([0.2, 0.7])
    penalty, slope = losses.gradient_penalty(score_fn, truth, prob, mix)
    np.testing.assert_allclose(slope, 5.0, rtol=1e-6)
    np.testing.assert_allclose(penalty, 16.0, rtol=1e-5)


def test_penalty_of_a_flat_critic_has_a_gradient(pair):
    truth, prob = pair
    score_fn = lambda w: lambda x: w * jnp.sum(x, axis=(1, 2, 3))
    total = lambda w: losses.gradient_penalty(
        score_fn(w), truth, prob, jnp.array([0.5, 0.5])
    )[0].sum()
    assert np.isfinite(jax.grad(total)(0.0))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, dict(l1=0, ssim=0, iou=1, cross_entropy=1, adversarial=0)),
        (9, dict(l1=0, ssim=0, iou=1, cross_entropy=1, adversarial=0)),
        (10, dict(l1=100, ssim=2, iou=3, cross_entropy=0.5, adversarial=0)),
        (20, dict(l1=100, ssim=2, iou=3, cross_entropy=0.5, adversarial=4)),
    ],
)
def test_weights_change_with_the_traced_step(step, expected):
    cfg = ConfigDict(dict(l1=100.0, ssim=2.0, iou=3.0, cross_entropy=0.5))
    cfg.update(adversarial=4.0, warmup_steps=10, adv_start=20, log_iou=0.0)
    found = jax.jit(lambda s: losses.loss_weights(cfg, s))(step)
    assert {k: float(v) for k, v in found.items()} == expected


def test_hybrid_is_the_weighted_sum_of_its_terms(pair):
    truth, prob = pair
    logits = jnp.log(prob / (1 - prob))
    weights = dict(l1=100.0, ssim=1.0, iou=2.0, cross_entropy=0.5)
    total, terms = losses.hybrid(truth, logits, weights, foreground_weight=20.0)
    expected = sum(weights[k] * np.asarray(terms[k]) for k in weights)
    assert total.shape == (2,)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(terms["l1"], losses.l1(truth, prob), rtol=1e-4)


def test_log_iou_is_the_logarithm_of_the_overlap_of_a_frame(pair):
    truth, prob = pair[0][:, :1], pair[1][:, :1]
    overlap = 1.0 - np.asarray(losses.iou_loss(truth, prob))
    np.testing.assert_allclose(
        losses.log_iou_loss(truth, prob), -np.log(overlap), rtol=1e-5
    )
    np.testing.assert_allclose(losses.log_iou_loss(truth, truth), 0.0, atol=1e-6)


def test_log_iou_without_truth_is_the_logarithm_of_what_is_predicted():
    truth, prob = np.zeros((1, 1, 24, 20), np.float32), np.full((1, 1, 24, 20), 0.01)
    found = losses.log_iou_loss(truth, prob.astype(np.float32))
    np.testing.assert_allclose(found, np.log(1.0 + 4.8), rtol=1e-5)


@pytest.mark.parametrize("logit", [-4.0, -8.0, -12.0, -17.0, -25.0])
def test_of_a_missed_tumour_log_iou_keeps_its_slope_and_iou_does_not(pair, logit):
    truth = jnp.asarray(pair[0][:1, :1])
    p = float(jax.nn.sigmoid(logit))

    def slopes(loss):
        of = lambda z: loss(truth, jax.nn.sigmoid(z))[0]
        return jax.grad(of)(jnp.full(truth.shape, logit))

    on_tumour = lambda grads: -float(jnp.sum(grads * truth))
    both = p * float(truth.sum())
    # The epsilon against 0 / 0 ends it at last.
    expected = (1 - p) * both / (both + losses.IOU_EPSILON_PX)
    assert on_tumour(slopes(losses.log_iou_loss)) == pytest.approx(expected, rel=1e-2)
    assert on_tumour(slopes(losses.iou_loss)) < p


def test_hybrid_adds_log_iou_where_it_has_a_weight(pair):
    truth, logits = pair[0], jnp.asarray(pair[1])
    none = dict(l1=0.0, ssim=0.0, iou=0.0, cross_entropy=0.0)
    total, terms = losses.hybrid(
        truth, logits, none | {"log_iou": 0.5}, foreground_weight=1.0
    )
    expected = losses.log_iou_loss(truth, jax.nn.sigmoid(logits))
    np.testing.assert_allclose(total, 0.5 * expected, rtol=1e-6)
    np.testing.assert_allclose(terms["log_iou"], expected, rtol=1e-6)
    assert "log_iou" not in losses.hybrid(truth, logits, none, foreground_weight=1.0)[1]


@pytest.mark.parametrize("step", [0, 9, 10, 30])
def test_log_iou_counts_from_the_first_step_on(step):
    cfg = ConfigDict(dict(l1=1.0, ssim=1.0, iou=1.0, cross_entropy=1.0, log_iou=0.25))
    cfg.update(adversarial=1.0, warmup_steps=10, adv_start=20)
    assert float(losses.loss_weights(cfg, step)["log_iou"]) == 0.25


# Without the tests' own checks of annotations, which would be the first to refuse.
bare = inspect.unwrap
PAIRED = {
    "l1": bare(losses.l1),
    "ssim": bare(losses.ssim_loss),
    "iou": bare(losses.iou_loss),
    "log_iou": bare(losses.log_iou_loss),
    "cross_entropy": functools.partial(
        bare(losses.cross_entropy), foreground_weight=1.0
    ),
    "hybrid": functools.partial(
        bare(losses.hybrid),
        weights=dict.fromkeys(("l1", "ssim", "iou", "cross_entropy"), 1.0),
        foreground_weight=1.0,
    ),
}


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("shape", [(1, 3, 24, 20), (2, 1, 24, 20), (2, 3, 1, 1)])
def test_arrays_that_would_broadcast_are_refused_when_traced(name, shape):
    truth, other = jnp.zeros((2, 3, 24, 20)), jnp.zeros(shape)
    for pair in ((truth, other), (other, truth)):
        with pytest.raises(ValueError, match="has shape"):
            jax.eval_shape(PAIRED[name], *pair)
    jax.eval_shape(PAIRED[name], truth, truth)


def test_a_critic_s_scores_and_weights_are_one_an_example(pair):
    truth, prob = pair
    score, mix = lambda x: jnp.sum(x, axis=(1, 2, 3)), jnp.array([0.3, 0.9])
    penalty, gap = bare(losses.gradient_penalty), bare(losses.critic_gap)
    for wrong in (
        lambda: penalty(score, truth, prob[:1], mix),
        lambda: penalty(score, truth, prob, mix[:1]),
        lambda: penalty(jnp.sum, truth, prob, mix),
        lambda: gap(mix, mix[:1]),
    ):
        with pytest.raises(ValueError, match="has shape"):
            jax.eval_shape(wrong)
