"""From frames to cases to an interval. The unit is the case, never the frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

from fluoro_jax import metrics
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry

WITHIN_MM = (1, 2, 3)
MISSED_MM = 10.0  # a distance beyond it is a miss, whatever the IoU
# Under so many cases no interval is printed: at 7 or 8 skewed cases the nominal 95 %
# bootstrap interval covers the true mean about 70 % of the time.
FEW = 15


@dataclass(frozen=True)
class Interval:
    """A mean over `n` cases, its 95 % interval, and how the cases are spread.

    Attributes:
        mean, low, high: the mean and its interval; not printed under `FEW` cases.
        n: number of cases; if it is 0, everything else is NaN.
        sd: the cases' standard deviation, NaN for fewer than two.
        median, least, most: of the cases; printed where there are few.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float = float("nan")
    median: float = float("nan")
    least: float = float("nan")
    most: float = float("nan")


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
        empty: `[T]` empty prediction although the truth is not empty.
        empty_truth: `[T]` no tumour in the frame; in no mean.
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
    empty: np.ndarray
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

    An empty prediction has half the frame's diagonal for every distance, and for the
    error on each axis, in the unit of that distance.
    """
    pitch = np.array([float(p) for p in geometry.pixel_mm])
    # Rays diverge: what lies in the isocentre plane is SDD / SAD times larger at the
    # detector.
    shrink = float(geometry.sad_mm) / float(geometry.sdd_mm)
    iso = tuple(pitch * shrink)
    # An empty prediction has no centroid. Left out of the mean it would reward a
    # network that answers only where it is easy; half the diagonal is more than most
    # misses.
    empty = metrics.is_empty_prediction(pred, truth)
    penalty_iso_mm = metrics.half_diagonal(pred.shape[-2:], iso)
    shift = metrics.centroid_px(pred, truth)
    shift_iso = np.where(empty[:, None], penalty_iso_mm, shift * iso)
    penalty_detector_mm = penalty_iso_mm / shrink
    exact = np.full_like(shift, np.nan)
    if exact_px is not None:
        exact = (metrics.centroid_px(pred) - exact_px) * iso
        exact = np.where(empty[:, None], penalty_iso_mm, exact)
        # Frames without a tumour are in no mean, whatever was predicted in them.
        exact = np.where(np.isnan(shift), np.nan, exact)
    return FrameScores(
        iou=metrics.iou(pred, truth),
        dice=metrics.dice(pred, truth),
        area_pct=metrics.area_difference(pred, truth),
        shift_px=shift,
        shift_detector_mm=np.where(empty[:, None], penalty_detector_mm, shift * pitch),
        shift_iso_mm=shift_iso,
        shift_exact_mm=exact,
        distance_mm=np.where(empty, penalty_iso_mm, np.hypot(*shift_iso.T)),
        hd95_mm=metrics.hd95(pred, truth, iso),
        asd_mm=metrics.asd(pred, truth, iso),
        assd_mm=metrics.assd(pred, truth, iso),
        empty=empty,
        empty_truth=np.logical_not(np.any(truth, axis=(1, 2))),
        false_px=metrics.false_positive_px(pred, truth),
    )


def case_means(scores: FrameScores) -> dict[str, float]:
    """Returns one number a case: the mean over its frames with a tumour in them.

    Returns:
        `name` over those frames, `name_found` over those whose prediction is not empty;
        errors as mean absolute values, `vertical_*` and `horizontal_*`; `within_<n>mm`
        and `over_10mm` in per cent (an empty prediction is within no distance);
        `empty_predictions`, `empty_truth` and `frames` counted.
    """
    seen = ~scores.empty_truth
    columns = _columns(scores)
    # Each frame of a case weighs the same, and then each case: a long clip is no more
    # evidence about patients than a short one.
    case = {name: _mean(values[seen]) for name, values in columns.items()}
    found = seen & ~scores.empty
    case |= {f"{name}_found": _mean(v[found]) for name, v in columns.items()}
    case["empty_predictions"] = float(scores.empty.sum())
    # Counted, not averaged: tables add these over cases.
    case["empty_truth"] = float(scores.empty_truth.sum())
    case["false_px_on_empty"] = float(scores.false_px[scores.empty_truth].sum())
    case["frames"] = float(len(seen))
    return case


def bootstrap_mean(
    values: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Returns the mean over cases with a BCa bootstrap 95 % interval.

    Args:
        values: `[n]`, one number a case; NaN cases are left out.
        resamples: bootstrap resamples.
        seed: of the resampling; the same values give the same interval.

    Returns:
        The interval. All values equal: that value. Fewer than three cases: the range
        of the values. Where BCa has no answer (a jackknife without spread), the
        percentile interval. It is computed for any number of cases, for use in paired
        comparisons; `tables.format_value` prints it for `FEW` cases or more.

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
    least, most = float(values.min()), float(values.max())
    spread = (n, sd, float(np.median(values)), least, most)
    # BCa takes its acceleration from a jackknife, which needs spread; and of one or two
    # cases the range says all that is known.
    if n < 3 or np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, least, most, *spread)
    # An outlier among equals has a jackknife that divides by zero; asked for, not a bug
    # BCa first: the measures are skewed and bounded (IoU by 1, errors by 0), where
    # percentile intervals are biased.
    with np.errstate(all="ignore"):
        for method in ("BCa", "percentile"):
            low, high = _bootstrap(values, method, resamples, seed)
            if np.isfinite([low, high]).all():
                break
    return Interval(mean, low, high, *spread)


def by_patient(
    cases: Sequence[Mapping[str, float]], patients: np.ndarray | None
) -> list[dict[str, float]]:
    """Returns the means of each patient's cases, in the order of their numbers.

    Cases of one patient are alike, so an interval over patients takes one number of
    each.

    Args:
        cases: of `case_means`.
        patients: `[n]` number of each case's patient; None or a single patient leaves
            the cases as they are.
    """
    # Of one patient there is no spread between patients; the table says that its
    # interval tells nothing of others.
    if patients is None or len(np.unique(patients)) == 1:
        return [dict(case) for case in cases]
    columns = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a patient without any number
        return [
            {n: float(np.nanmean(v[patients == one])) for n, v in columns.items()}
            for one in np.unique(patients)
        ]


def summarise(
    cases: Sequence[Mapping[str, float]],
    *,
    resamples: int,
    seed: int,
    patients: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Returns `bootstrap_mean` of every number of `case_means`.

    Args:
        cases: of `case_means`.
        resamples: bootstrap resamples.
        seed: of the resampling.
        patients: see `by_patient`; the interval is then over patients.
    """
    cases = by_patient(cases, patients)
    names = cases[0].keys() if cases else ()
    return {
        name: bootstrap_mean(
            np.array([case[name] for case in cases]), resamples=resamples, seed=seed
        )
        for name in names
    }


def distance_summary(
    distance_mm: Sequence[float],
) -> dict[str, float | int | None]:
    """Returns the three numbers that stand first in every table.

    Args:
        distance_mm: one a case, the mean over its frames; NaN cases are left out.

    Returns:
        `median_mm`, `p90_mm` and `p95_mm` (percentiles, linear between cases);
        `missed`, the cases beyond `MISSED_MM`; `n`, all cases; None for no case.
    """
    known_mm = np.asarray(distance_mm, float)
    # Only cases without a tumour in any frame are NaN; an empty prediction has a
    # distance.
    known_mm = known_mm[~np.isnan(known_mm)]
    if len(known_mm) == 0:
        none = dict.fromkeys(("median_mm", "p90_mm", "p95_mm"))
        return {**none, "missed": 0, "n": 0}
    return {
        "median_mm": float(np.median(known_mm)),
        "p90_mm": float(np.percentile(known_mm, 90)),
        "p95_mm": float(np.percentile(known_mm, 95)),
        "missed": int((known_mm > MISSED_MM).sum()),
        "n": len(known_mm),
    }


def truth_span_mm(
    clips: Sequence[Clip], patients: np.ndarray | None = None
) -> list[float]:
    """Returns how far the true tumour ranges within the frame, on each axis.

    A tracker that uses no image can be right along an axis where this is small.

    Args:
        clips: the test clips, with truth.
        patients: `[n]` number of each clip's patient, where the patients were trained
            on, so that each one's place is known; None pools all clips.

    Returns:
        [vertical, horizontal], mm at the isocentre: the peak-to-peak range of the true
        centroids over all frames; with `patients`, the median over patients.
    """
    places = []
    for clip in clips:
        view = clip.geometry
        shrink = float(view.sad_mm) / float(view.sdd_mm)
        iso = shrink * np.array([float(p) for p in view.pixel_mm])
        # From the frame's corner, without the panel's offset: the place in the frame is
        # what a tracker without an image can know.
        places.append(metrics.centroid_px(np.asarray(clip.mask)) * iso)
    owner = np.zeros(len(clips)) if patients is None else np.asarray(patients)
    spans = []
    for one in np.unique(owner):
        chosen = [p for p, o in zip(places, owner, strict=True) if o == one]
        path = np.concatenate(chosen)
        path = path[~np.isnan(path).any(axis=1)]
        spans.append(np.ptp(path, axis=0) if len(path) else np.zeros(2))
    return [float(value) for value in np.median(spans, axis=0)]


def frame_rows(scores: FrameScores) -> list[dict[str, float]]:
    """Returns one flat record a frame, for a CSV."""
    flat: dict[str, np.ndarray] = {}
    for item in fields(scores):
        values = getattr(scores, item.name)
        if values.ndim == 1:
            flat[item.name] = values
            continue
        flat[f"{item.name}_vertical"] = values[:, 0]
        flat[f"{item.name}_horizontal"] = values[:, 1]
    count = len(scores.empty)
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
        # On a very small frame the penalty itself may lie within the limit.
        inside = (scores.distance_mm <= limit) & ~scores.empty
        columns[f"within_{limit}mm"] = 100.0 * inside
    missed = (scores.distance_mm > MISSED_MM) | scores.empty
    columns[f"over_{MISSED_MM:.0f}mm"] = 100.0 * missed
    return columns


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _bootstrap(
    values: np.ndarray, method: str, resamples: int, seed: int
) -> tuple[float, float]:
    # Degenerate data are handled by the caller, who then takes the percentile interval.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        answer = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            method=method,
            # A generator of its own: an interval depends on its values, not on what was
            # drawn before.
            rng=np.random.default_rng(seed),
        )
    low, high = answer.confidence_interval
    return float(low), float(high)
