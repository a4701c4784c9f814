"""Training losses; each returns one float32 per example.

Masks and probabilities are `[B, T, H, W]` in [0, 1]; every loss returns `[B]`. Arrays
that would only broadcast against each other are refused at trace time.
Everything is computed in float32 whatever the networks compute in: the variance in
SSIM is a difference of nearly equal numbers.

Sources: Peng et al. 2022 (IEEE TRPMS), eq. 4-9, for the terms; Wang et al. 2004 for
SSIM; Gulrajani et al. 2017 (arXiv:1704.00028) for the critic; Yu et al. 2016 (UnitBox,
ACM Multimedia) for the logarithm of the IoU, there of boxes. The foreground-weighted
cross-entropy, the warm-up and `log_iou` beside the others are ours: with 1 % foreground
L_1 and L_ssim fall fastest towards an empty mask, where the sigmoid has no gradient
left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real

Array = jax.Array
Clips = Real[jax.Array | np.ndarray, "B T H W"]  # masks or probabilities in [0, 1]
Scores = Float[Array, " B"]

# BASNet's window; the paper gives none.
SSIM_RADIUS = 5  # an 11 x 11 window
SSIM_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for a data range of 1
# Only against 0 / 0: a frame with truth has at least one pixel below the line.
IOU_EPSILON_PX = 1e-6


def l1(truth: Clips, prob: Clips) -> Scores:
    """Returns the mean |y - p| over frames and pixels, `[B]`."""
    truth, prob = _alike(truth, prob)
    return jnp.mean(jnp.abs(truth - prob), axis=(1, 2, 3))


def ssim_loss(truth: Clips, prob: Clips) -> Scores:
    """Returns 1 - structural similarity, averaged over frames, `[B]`.

    An 11 x 11 Gaussian window (sigma 1.5 px) at every place where it lies wholly in
    the frame, population variances: `skimage.metrics.structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.

    Args:
        truth: y, `[B, T, H, W]`, H and W at least 11.
        prob: p, same shape.
    """
    y, p = _alike(truth, prob)
    mu_y, mu_p = _blur(y), _blur(p)
    # E[y^2] - E[y]^2: differences of nearly equal numbers, hence float32 and full
    # products.
    var_y = _blur(y * y) - mu_y * mu_y
    var_p = _blur(p * p) - mu_p * mu_p
    cov = _blur(y * p) - mu_y * mu_p
    top = (2.0 * mu_y * mu_p + SSIM_C1) * (2.0 * cov + SSIM_C2)
    bottom = (mu_y * mu_y + mu_p * mu_p + SSIM_C1) * (var_y + var_p + SSIM_C2)
    return 1.0 - jnp.mean(top / bottom, axis=(1, 2, 3))


def iou_loss(truth: Clips, prob: Clips) -> Scores:
    """Returns 1 - sum(y p) / sum(y + p - y p), averaged over frames, `[B]`.

    A frame without truth has no overlap to measure: there it is S / (S + 1) with
    S = sum(p) in pixels, 0 for an empty prediction and with a gradient towards it.
    """
    return jnp.mean(1.0 - _soft_iou(truth, prob), axis=1)


def log_iou_loss(truth: Clips, prob: Clips) -> Scores:
    """Returns -ln(sum(y p) / sum(y + p - y p)), averaged over frames, `[B]`.

    Over a tumour of N pixels, missed alike with probability p, its slopes along the
    logits sum to -(1 - p) N p / (N p + `IOU_EPSILON_PX`): near -1 down to a p of about
    1e-6 / N (a logit of -17 for 30 pixels), while those of `iou_loss` vanish with p. In
    a frame without truth it is ln(S + 1), S as there.
    """
    return jnp.mean(-jnp.log(_soft_iou(truth, prob)), axis=1)


def cross_entropy(truth: Clips, logits: Clips, foreground_weight: float) -> Scores:
    """Returns the mean of (1 + w y) * cross-entropy over frames and pixels, `[B]`.

    Where the truth is 1 with probability q its minimum is at p / (1 - p) =
    (1 + w) q / (1 - q), and not at q: with w = 20, q = 0.05 is answered by p = 0.525.
    """
    y, z = _alike(truth, logits)
    # From the logit: log(sigmoid(z)) loses all digits where the sigmoid saturates.
    entropy = jax.nn.softplus(z) - y * z
    return jnp.mean((1.0 + foreground_weight * y) * entropy, axis=(1, 2, 3))


def gradient_penalty(
    score_fn: Callable[[Array], Array], real: Clips, fake: Clips, mix: Scores
) -> tuple[Scores, Scores]:
    """Penalises the critic where its slope differs from one.

    gp_i = (s_i - 1)^2,  s_i = ||dD/dx (x_i)||_2,  x_i = m_i r_i + (1 - m_i) f_i

    Args:
        score_fn: D, one score per example `[B, ...] -> [B]`; must not mix examples.
        real: r, true mask sequences `[B, T, H, W]`.
        fake: f, predicted probabilities, same shape.
        mix: m in [0, 1], `[B]`.

    Returns:
        Penalty and slope per example, `[B]` each.

    Raises:
        ValueError: at trace time, if `real` and `fake` differ in shape, if `mix` is
            not `[B]`, or if `score_fn` does not return `[B]`.

    Source:
        Gulrajani et al. 2017, eq. 3, second term. Departure: the floor under the
        root, without which d|g|/dg is NaN at g = 0.
    """
    _check_shapes(real.shape, fake=fake)
    _check_shapes(real.shape[:1], mix=mix)
    mix = mix.reshape(mix.shape + (1,) * (real.ndim - 1))
    blend = mix * real + (1.0 - mix) * fake

    def total(x: Array) -> Array:
        scores = score_fn(x)
        _check_shapes(x.shape[:1], score=scores)
        return scores.sum()

    # The gradient of the sum gives each example its own slope, as no example sees
    # another.
    slope = jax.grad(total)(blend).astype(jnp.float32)
    norm_sq = jnp.sum(jnp.square(slope), axis=tuple(range(1, slope.ndim)))
    # 1e-12: see Source. It is far under one, so the penalty is not changed.
    norm = jnp.sqrt(norm_sq + 1e-12)
    return jnp.square(norm - 1.0), norm


def is_adversarial(loss_cfg: Any, num_steps: int) -> bool:
    """Returns whether the critic's score is ever part of the generator's loss."""
    return loss_cfg.adversarial > 0 and loss_cfg.adv_start < num_steps


def adversarial(fake_score: Scores) -> Scores:
    """Returns L_GAN = -D(G(x)), `[B]` (eq. 4)."""
    return -fake_score.astype(jnp.float32)


def critic_gap(real_score: Scores, fake_score: Scores) -> Scores:
    """Returns D(y) - D(G(x)), `[B]`, which the critic maximises (eq. 4)."""
    _check_shapes(real_score.shape, fake_score=fake_score)
    return real_score.astype(jnp.float32) - fake_score.astype(jnp.float32)


def loss_weights(loss_cfg: Any, step: Array | int) -> dict[str, Array]:
    """Returns the weight of each term at `step`, float32 scalars; it may be traced.

    Below `warmup_steps`: cross-entropy, L_iou and log_iou; from then on the values of
    `loss_cfg`. log_iou, left out if its weight is 0, has that weight throughout; the
    adversarial term counts from `adv_start` on, whatever the rest.
    """
    # `step` is traced: the switch is a `where`, and one program serves the whole run.
    step = jnp.asarray(step)
    warm = step < loss_cfg.warmup_steps
    pick = lambda early, late: jnp.where(warm, jnp.float32(early), jnp.float32(late))
    always = {"log_iou": jnp.float32(loss_cfg.log_iou)} if loss_cfg.log_iou else {}
    return always | {
        "l1": pick(0.0, loss_cfg.l1),
        "ssim": pick(0.0, loss_cfg.ssim),
        "iou": pick(1.0, loss_cfg.iou),
        "cross_entropy": pick(1.0, loss_cfg.cross_entropy),
        "adversarial": jnp.where(
            step < loss_cfg.adv_start, 0.0, jnp.float32(loss_cfg.adversarial)
        ),
    }


def hybrid(
    truth: Clips,
    logits: Clips,
    weights: Mapping[str, Array | float],
    *,
    foreground_weight: float,
) -> tuple[Scores, dict[str, Scores]]:
    """Returns the weighted sum of the terms that need no critic, and the terms.

    Args:
        truth: `[B, T, H, W]` in {0, 1}.
        logits: `[B, T, H, W]`; the probability is their sigmoid.
        weights: as `loss_weights` gives them.
        foreground_weight: w of `cross_entropy`.

    Returns:
        `[B]`, and a dict of `[B]`: l1, ssim, iou, cross_entropy and, if it has a
        weight, log_iou, unweighted.

    Raises:
        ValueError: at trace time, if the two arrays differ in shape.
    """
    truth, logits = _alike(truth, logits)
    prob = jax.nn.sigmoid(logits)
    terms = {
        "l1": l1(truth, prob),
        "ssim": ssim_loss(truth, prob),
        "iou": iou_loss(truth, prob),
        "cross_entropy": cross_entropy(truth, logits, foreground_weight),
    }
    if "log_iou" in weights:
        terms["log_iou"] = log_iou_loss(truth, prob)
    # All are logged, so they are computed at weight 0 too; log_iou, which came later,
    # is not: runs without it keep their program.
    weighted = [weights[name] * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), terms


def _soft_iou(truth: Array | np.ndarray, prob: Array | np.ndarray) -> Array:
    """Overlap of masks and probabilities over their union, `[B, T]`."""
    y, p = _alike(truth, prob)
    both = jnp.sum(y * p, axis=(2, 3))
    either = jnp.sum(y + p - y * p, axis=(2, 3))
    # With 1 pixel in place of the tiny epsilon the loss has a slope towards the empty
    # mask.
    epsilon = jnp.where(jnp.sum(y, axis=(2, 3)) > 0, IOU_EPSILON_PX, 1.0)
    return (both + epsilon) / (either + epsilon)


def _alike(truth: Array | np.ndarray, other: Array | np.ndarray) -> tuple[Array, Array]:
    """Both arrays as float32 `[B, T, H, W]`; refuses shapes that would broadcast."""
    if truth.ndim != 4:
        raise ValueError(f"truth has shape {truth.shape}, not [B, T, H, W]")
    _check_shapes(truth.shape, prediction=other)
    return jnp.asarray(truth, jnp.float32), jnp.asarray(other, jnp.float32)


def _check_shapes(shape: tuple[int, ...], **arrays: Array | np.ndarray) -> None:
    for name, array in arrays.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, needed {shape}")


def _blur(image: Array) -> Array:
    """Gaussian mean over the last two axes where the window fits.

    As products with band matrices: for this size they are ten times faster on a CPU
    than shifted sums and six times than a convolution, and compile ten times faster.
    """
    down, right = (jnp.asarray(_band(n)) for n in image.shape[-2:])
    # In full float32: TensorFloat-32 would round the variances away.
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("vh,...hw->...vw", down, image, precision=exact)
    return jnp.einsum("...hw,vw->...hv", image, right, precision=exact)


def _band(size: int) -> np.ndarray:
    """`[size - 10, size]`: each row is the window, one pixel further than the last."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    window = np.exp(-0.5 * (offsets / SSIM_SIGMA_PX) ** 2)
    window = (window / window.sum()).astype(np.float32)
    band = np.zeros((size - 2 * SSIM_RADIUS, size), np.float32)
    for row in range(len(band)):
        band[row, row : row + window.size] = window
    return band
