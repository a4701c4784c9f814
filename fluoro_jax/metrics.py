"""Measures of agreement between predicted and true masks, as pure functions.

Masks are `[..., H, W]`, boolean or in {0, 1} (0.5 and above is inside). Leading
axes are free and stay: one number a mask. NumPy in, NumPy out; the functions that say
so take JAX arrays too.

Conventions, the same everywhere:
    * empty truth: the measure is not defined, the answer is NaN (leave it out, count
      it, and report the false-positive area);
    * empty prediction on a truth that is not empty: IoU and Dice 0, area difference
      100 %, every distance (and the error on each axis) half the frame's diagonal;
    * `pixel_mm` is the (row, column) pitch; distances come in its unit, so the default
      (1, 1) gives pixels and the pitch at the isocentre gives mm at the isocentre.

The outline of a mask is its pixels with a side on the background or on the border of
the frame, and lies on pixel centres (as in MONAI's `get_mask_edges`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

MaskLike = Any  # np.ndarray or jax.Array, [..., H, W]
Pitch = tuple[float, float]


def iou(pred: MaskLike, truth: MaskLike) -> Any:
    """Intersection over union, `[...]` in [0, 1]; NumPy or JAX."""
    xp, pred, truth = _pair(pred, truth)
    both, either = _count(xp, pred & truth), _count(xp, pred | truth)
    score = both / xp.maximum(either, 1.0)
    return xp.where(_count(xp, truth) > 0, score, xp.nan)


def dice(pred: MaskLike, truth: MaskLike) -> Any:
    """Dice's coefficient 2 |A n B| / (|A| + |B|), `[...]` in [0, 1]; NumPy or JAX.

    Equals 2 IoU / (1 + IoU) for each mask, so it is never below IoU (a published row
    with Dice < IoU is a misprint); the NumPy form asserts that identity.
    """
    xp, pred, truth = _pair(pred, truth)
    both = _count(xp, pred & truth)
    total = _count(xp, pred) + _count(xp, truth)
    score = xp.where(_count(xp, truth) > 0, 2.0 * both / xp.maximum(total, 1.0), xp.nan)
    if xp is np:
        overlap = iou(pred, truth)
        identity = 2.0 * overlap / (1.0 + overlap)
        assert np.allclose(score, identity, atol=1e-6, equal_nan=True)
    return score


def area_difference(pred: MaskLike, truth: MaskLike) -> Any:
    """|A_pred - A_truth| / A_truth in per cent, `[...]`; NumPy or JAX."""
    xp, pred, truth = _pair(pred, truth)
    area, true_area = _count(xp, pred), _count(xp, truth)
    share = 100.0 * xp.abs(area - true_area) / xp.maximum(true_area, 1.0)
    return xp.where(true_area > 0, share, xp.nan)


def centroid_px(pred: MaskLike, truth: MaskLike | None = None) -> Any:
    """Centre of mass (row, column) in pixels; NumPy or JAX.

    Args:
        pred: masks `[..., H, W]`.
        truth: None, or masks of the same shape.

    Returns:
        `[..., 2]`: without `truth` the centroid (NaN for an empty mask); with `truth`
        the signed difference centroid(pred) - centroid(truth), where an empty
        prediction has half the frame's diagonal on both axes and an empty truth NaN.
    """
    if truth is None:
        xp, pred, _ = _pair(pred, pred)
        return _centroid(xp, pred)
    xp, pred, truth = _pair(pred, truth)
    shift = _centroid(xp, pred) - _centroid(xp, truth)
    empty = (_count(xp, pred) == 0) & (_count(xp, truth) > 0)
    return xp.where(empty[..., None], half_diagonal(pred.shape[-2:]), shift)


def hd95(pred: MaskLike, truth: MaskLike, pixel_mm: Pitch = (1.0, 1.0)) -> np.ndarray:
    """95th percentile Hausdorff distance, `[...]`, in the unit of `pixel_mm`.

    The larger of the two directed 95th percentiles (linear interpolation) of the
    distances from one outline's pixels to the nearest pixel of the other.
    """

    def worst(there: np.ndarray, back: np.ndarray) -> float:
        return float(max(np.percentile(there, 95), np.percentile(back, 95)))

    return _over_masks(worst, pred, truth, pixel_mm)


def asd(pred: MaskLike, truth: MaskLike, pixel_mm: Pitch = (1.0, 1.0)) -> np.ndarray:
    """Mean distance from the predicted outline to the true one, `[...]`."""
    return _over_masks(lambda there, _: float(there.mean()), pred, truth, pixel_mm)


def assd(pred: MaskLike, truth: MaskLike, pixel_mm: Pitch = (1.0, 1.0)) -> np.ndarray:
    """Symmetric `asd`: the mean over the pixels of both outlines, `[...]`."""

    def both_ways(there: np.ndarray, back: np.ndarray) -> float:
        return float(np.concatenate([there, back]).mean())

    return _over_masks(both_ways, pred, truth, pixel_mm)


def half_diagonal(shape: tuple[int, ...], pixel_mm: Pitch = (1.0, 1.0)) -> float:
    """Half the diagonal of a frame of `shape` (H, W), in the unit of `pixel_mm`."""
    return 0.5 * float(np.hypot(shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]))


def is_empty_prediction(pred: MaskLike, truth: MaskLike) -> Any:
    """Returns True where the prediction is empty and the truth is not, `[...]`."""
    xp, pred, truth = _pair(pred, truth)
    return (_count(xp, pred) == 0) & (_count(xp, truth) > 0)


def false_positive_px(pred: MaskLike, truth: MaskLike) -> Any:
    """Predicted pixels outside the truth, `[...]`; NumPy or JAX."""
    xp, pred, truth = _pair(pred, truth)
    return _count(xp, pred & ~truth)


def _pair(pred: MaskLike, truth: MaskLike) -> tuple[ModuleType, Any, Any]:
    """Both masks as booleans in one array library, shapes checked."""
    traced = isinstance(pred, jax.Array) or isinstance(truth, jax.Array)
    xp = jnp if traced else np
    pred, truth = xp.asarray(pred), xp.asarray(truth)
    if pred.shape != truth.shape or pred.ndim < 2:
        raise ValueError(
            "masks must be [..., H, W] and of one shape, "
            f"got {pred.shape} and {truth.shape}"
        )
    inside = lambda m: m if m.dtype == bool else m >= 0.5
    return xp, inside(pred), inside(truth)


def _count(xp: ModuleType, mask: Any) -> Any:
    dtype = np.float64 if xp is np else np.float32
    return xp.sum(mask, axis=(-2, -1), dtype=dtype)


def _centroid(xp: ModuleType, mask: Any) -> Any:
    """First moments over area, `[..., 2]`; NaN for an empty mask."""
    dtype = np.float64 if xp is np else np.float32
    rows = xp.arange(mask.shape[-2], dtype=dtype)
    cols = xp.arange(mask.shape[-1], dtype=dtype)
    area = _count(xp, mask)
    down = xp.einsum("...hw,h->...", mask.astype(dtype), rows)
    right = xp.einsum("...hw,w->...", mask.astype(dtype), cols)
    middle = xp.stack([down, right], axis=-1) / xp.maximum(area, 1.0)[..., None]
    return xp.where(area[..., None] > 0, middle, xp.nan)


def _over_masks(
    reduce_fn: Callable[[np.ndarray, np.ndarray], float],
    pred: MaskLike,
    truth: MaskLike,
    pixel_mm: Pitch,
) -> np.ndarray:
    """`reduce_fn` of the two sets of outline distances of each pair of masks."""
    _, pred, truth = _pair(np.asarray(pred), np.asarray(truth))
    lead, frame = pred.shape[:-2], pred.shape[-2:]
    pairs = zip(pred.reshape(-1, *frame), truth.reshape(-1, *frame), strict=True)
    answer = np.full(int(np.prod(lead, dtype=int)), np.nan)
    for index, (found, true) in enumerate(pairs):
        if not true.any():
            continue
        if not found.any():
            answer[index] = half_diagonal(frame, pixel_mm)
            continue
        answer[index] = reduce_fn(*_outline_distances(found, true, pixel_mm))
    return answer.reshape(lead)


def _outline_distances(
    pred: np.ndarray, truth: np.ndarray, pixel_mm: Pitch
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each outline's pixels to the other outline: (pred, truth)."""
    # Only the box around both outlines matters, and it is small against the frame.
    rows, cols = np.nonzero(pred | truth)
    box = np.s_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    edge, true_edge = _outline(pred[box]), _outline(truth[box])
    distances = lambda line: np.asarray(
        ndimage.distance_transform_edt(~line, sampling=pixel_mm)
    )
    return distances(true_edge)[edge], distances(edge)[true_edge]


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)
