"""From frames to cases to an interval. The unit is the case, never the frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from fluoro_jax import metrics
from fluoro_jax.geometry import Geometry

WITHIN_MM = (1, 2, 3)


@dataclass(frozen=True)
class Interval:
    """A mean over `n` cases, its 95 % interval, and the cases' standard deviation.

    NaN throughout if `n` is 0; `sd` is NaN for fewer than two cases.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float = float("nan")


@dataclass(frozen=True)
class FrameScores:
    """Every measure of the `T` frames of one case; NaN where truth is empty.

    Attributes:
        iou, dice: `[T]` in [0, 1].
        area_pct: `[T]` area difference, per cent of the true area.
        shift_px: `[T, 2]` signed centroid error (row, column), mask against mask.
        shift_detector_mm, shift_iso_mm: the same in mm at detector and isocentre.
        shift_exact_mm: `[T, 2]` against the closed-form truth, mm at the isocentre.
        distance_mm: `[T]` Euclidean centroid error in the isocentre plane.
        hd95_mm, asd_mm, assd_mm: `[T]` outline distances, mm at the isocentre.
        lost: `[T]` nothing found although there was something.
        empty_truth: `[T]` nothing there; in no mean.
        false_px: `[T]` predicted pixels outside the truth.
    """

    iou: np.ndarray
    dice: np.ndarray
    area_pct: np.ndarray
    shift_px: np.ndarray
    shift_detector_mm: np.ndarray
    shift_iso_mm: np.ndarray
    shift_exact_mm: np.ndarray
    distance_mm: np.ndarray
    hd95_mm: np.ndarray
    asd_mm: np.ndarray
    assd_mm: np.ndarray
    lost: np.ndarray
    empty_truth: np.ndarray
    false_px: np.ndarray


def score_frames(
    pred: np.ndarray,
    truth: np.ndarray,
    geometry: Geometry,
    *,
    exact_px: np.ndarray | None = None,
) -> FrameScores:
    """Scores the masks of one case.

    Args:
        pred: `[T, H, W]` predicted masks.
        truth: `[T, H, W]` true masks.
        geometry: gives the millimetres.
        exact_px: `[T, 2]` closed-form true centroid, or None (then NaN).

    A lost frame has half the frame's diagonal for every distance, and for the error on
    each axis, in the unit of that distance.
    """
    pitch = np.array([float(p) for p in geometry.pixel_mm])
    shrink = float(geometry.sad_mm) / float(geometry.sdd_mm)
    iso = tuple(pitch * shrink)
    lost = metrics.is_lost(pred, truth)
    far_iso = metrics.half_diagonal(pred.shape[-2:], iso)
    shift = metrics.centroid_px(pred, truth)
    shift_iso = np.where(lost[:, None], far_iso, shift * iso)
    far_detector = far_iso / shrink
    exact = np.full_like(shift, np.nan)
    if exact_px is not None:
        exact = (metrics.centroid_px(pred) - exact_px) * iso
        exact = np.where(lost[:, None], far_iso, exact)
        exact = np.where(np.isnan(shift), np.nan, exact)
    return FrameScores(
        iou=metrics.iou(pred, truth),
        dice=metrics.dice(pred, truth),
        area_pct=metrics.area_difference(pred, truth),
        shift_px=shift,
        shift_detector_mm=np.where(lost[:, None], far_detector, shift * pitch),
        shift_iso_mm=shift_iso,
        shift_exact_mm=exact,
        distance_mm=np.where(lost, far_iso, np.hypot(*shift_iso.T)),
        hd95_mm=metrics.hd95(pred, truth, iso),
        asd_mm=metrics.asd(pred, truth, iso),
        assd_mm=metrics.assd(pred, truth, iso),
        lost=lost,
        empty_truth=np.logical_not(np.any(truth, axis=(1, 2))),
        false_px=metrics.false_positive_px(pred, truth),
    )


def case_means(scores: FrameScores) -> dict[str, float]:
    """One number a case: the mean over its frames with a tumour in them.

    Returns:
        `name` over those frames, `name_found` over the ones that are not lost; errors
        as mean absolute values, `vertical_*` and `horizontal_*`; `within_<n>mm` in per
        cent (a lost frame is outside); `lost` and `empty_truth` counted, `frames`.
    """
    seen = ~scores.empty_truth
    columns = _columns(scores)
    case = {name: _mean(values[seen]) for name, values in columns.items()}
    found = seen & ~scores.lost
    case |= {f"{name}_found": _mean(v[found]) for name, v in columns.items()}
    case["lost"] = float(scores.lost.sum())
    case["empty_truth"] = float(scores.empty_truth.sum())
    case["false_px_on_empty"] = float(scores.false_px[scores.empty_truth].sum())
    case["frames"] = float(len(seen))
    return case


def bootstrap_mean(
    values: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over cases with a BCa bootstrap 95 % interval.

    Args:
        values: `[n]`, one number a case; NaN cases are left out.
        resamples: bootstrap resamples.
        seed: of the resampling; the same values give the same interval.

    Returns:
        The interval. All values equal: that value. Fewer than three cases: the range
        of the values, which is all one can honestly say. Where BCa has no answer (a
        jackknife without spread), the percentile interval.

    Source:
        Efron 1987, J Am Stat Assoc 82:171, as in `scipy.stats.bootstrap`.
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if n > 1 else float("nan")
    if n < 3 or np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, float(values.min()), float(values.max()), n, sd)
    # An outlier among equals has a jackknife that divides by zero; asked for, not a bug
    with np.errstate(all="ignore"):
        for method in ("BCa", "percentile"):
            low, high = _bootstrap(values, method, resamples, seed)
            if np.isfinite([low, high]).all():
                break
    return Interval(mean, low, high, n, sd)


def by_person(
    cases: Sequence[Mapping[str, float]], people: np.ndarray | None
) -> list[dict[str, float]]:
    """Means of each person's cases, in the order of their numbers.

    Cases of one person are alike, so an interval over people takes one number of each.

    Args:
        cases: of `case_means`.
        people: `[n]` number of each case's person; None or a single person leaves the
            cases as they are.
    """
    if people is None or len(np.unique(people)) == 1:
        return [dict(case) for case in cases]
    columns = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a person without any number
        return [
            {n: float(np.nanmean(v[people == person])) for n, v in columns.items()}
            for person in np.unique(people)
        ]


def summarise(
    cases: Sequence[Mapping[str, float]],
    *,
    resamples: int,
    seed: int,
    people: np.ndarray | None = None,
) -> dict[str, Interval]:
    """`bootstrap_mean` of every number of `case_means`.

    Args:
        cases: of `case_means`.
        resamples: bootstrap resamples.
        seed: of the resampling.
        people: see `by_person`; the interval is then over people.
    """
    cases = by_person(cases, people)
    names = cases[0].keys() if cases else ()
    return {
        name: bootstrap_mean(
            np.array([case[name] for case in cases]), resamples=resamples, seed=seed
        )
        for name in names
    }


def frame_rows(scores: FrameScores) -> list[dict[str, float]]:
    """One flat record a frame, for a CSV."""
    flat: dict[str, np.ndarray] = {}
    for item in fields(scores):
        values = getattr(scores, item.name)
        if values.ndim == 1:
            flat[item.name] = values
            continue
        flat[f"{item.name}_vertical"] = values[:, 0]
        flat[f"{item.name}_horizontal"] = values[:, 1]
    count = len(scores.lost)
    return [{k: float(v[t]) for k, v in flat.items()} for t in range(count)]


def _columns(scores: FrameScores) -> dict[str, np.ndarray]:
    columns = {
        name: getattr(scores, name)
        for name in ("iou", "dice", "area_pct", "distance_mm")
    }
    columns |= {n: getattr(scores, n) for n in ("hd95_mm", "asd_mm", "assd_mm")}
    for unit in ("px", "detector_mm", "iso_mm", "exact_mm"):
        error = np.abs(getattr(scores, f"shift_{unit}"))
        columns[f"vertical_{unit}"], columns[f"horizontal_{unit}"] = error.T
    for limit in WITHIN_MM:
        inside = (scores.distance_mm <= limit) & ~scores.lost
        columns[f"within_{limit}mm"] = 100.0 * inside
    return columns


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _bootstrap(
    values: np.ndarray, method: str, resamples: int, seed: int
) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        answer = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = answer.confidence_interval
    return float(low), float(high)
