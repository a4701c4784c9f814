"""How sure an answer is: a calibrated probability that its error is small.

A logistic regression on a few features of the map and of the motion, fitted on
validation clips. It says with what probability the distance between the answered and
the true centroid is under `limit_mm` in the isocentre plane. A network's own mean
probability says little of that: it is near 1 on a wrong structure too.

The features are those that suit a small network: entropy of the mask, innovation under
a motion model, the lead over the next best candidate, and how round the answer is:
tumours that it was trained on are nearly round, what it takes for one (a vessel, the
edge of a rib) mostly is not. A tumour that is truly long is trusted too little.

A confidence is said in tenths, as the middle of its tenth: fitted to some hundred cases
it knows no more. So it is never under 0.05 or over 0.95.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from fluoro_jax.errors import UserError

LIMIT_MM = 2.0
RIDGE = 1e-3  # of the standardised weights: features are correlated
BINS = 10  # levels of a confidence, and of a reliability diagram


@dataclass(frozen=True)
class Features:
    """What the confidence of one answer is judged by.

    Attributes:
        mean_probability: inside the answered component.
        entropy_bits: mean binary entropy inside it.
        edge: mean probability inside less that of the three pixels around it.
        evidence_share: of the answering hypothesis and the next best one.
        innovation: distance from the predicted place, in SDs.
        age: frames in which the hypothesis was seen.
        unseen_s: time since it was last seen.
        area_px: of the component.
        roundness: shorter over longer axis of the component, 1 for a disc.
    """

    mean_probability: float
    entropy_bits: float
    edge: float
    evidence_share: float
    innovation: float
    age: int
    unseen_s: float
    area_px: int
    roundness: float

    def vector(self) -> np.ndarray:
        """Returns the features as the regression takes them, `[F]`."""
        p = min(max(self.mean_probability, 1e-4), 1.0 - 1e-4)
        return np.array(
            [
                math.log(p / (1.0 - p)),
                self.entropy_bits,
                self.edge,
                self.evidence_share,
                min(self.innovation, 10.0),
                math.log1p(self.age),
                self.unseen_s,
                math.log1p(self.area_px),
                self.roundness,
            ]
        )


@dataclass(frozen=True)
class Origin:
    """The tracker that a calibration was fitted to.

    Attributes:
        weights: sha256 of the network's parameters, `evaluate.weights_digest`.
        lookahead_frames: of its answers.
        threshold: probability from which a pixel is tumour.
    """

    weights: str
    lookahead_frames: int
    threshold: float


NAMES = tuple(field.name for field in dataclasses.fields(Features))


@dataclass(frozen=True)
class Calibration:
    """A fitted regression.

    Attributes:
        mean: `[F]` of the features it was fitted to.
        scale: `[F]` their standard deviations.
        weights: `[F]` of the standardised features.
        bias: the logit at the mean features.
        limit_mm: the error that it speaks of.
        cases: validation cases it was fitted to.
        origin: the tracker whose answers it was fitted to; None if that is not known.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    limit_mm: float
    cases: int
    origin: Origin | None = None

    def probability(self, features: Features) -> float:
        """Returns the probability that the error is under `limit_mm`."""
        return float(self.probabilities(features.vector()[None])[0])

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Returns the same for feature vectors `[n, F]`: 0.05, 0.15, ... or 0.95."""
        standard = (rows - np.array(self.mean)) / np.array(self.scale)
        chance = special.expit(standard @ np.array(self.weights) + self.bias)
        return (_level(chance) + 0.5) / BINS

    def to_json(self) -> str:
        """Returns the attributes as JSON."""
        return json.dumps({"features": NAMES, **dataclasses.asdict(self)}, indent=1)


def meaning(calibration: Calibration | None) -> str:
    """Returns what the confidence of a tracker says, in words."""
    if calibration is None:
        return "mean probability inside the mask; not a calibrated error"
    return (
        f"probability, in tenths, of an error under {calibration.limit_mm:g} mm in the "
        f"isocentre plane; fitted to {calibration.cases} simulated clips"
    )


def _level(said: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Returns the number of the level, from 0, that each probability lies in."""
    # Middles of levels lie far from the edges that rounding could carry them over.
    return np.minimum((np.asarray(said) * bins).astype(int), bins - 1)


def roundness(mask: np.ndarray) -> float:
    """Returns the shorter over the longer axis of a mask, from its second moments.

    Pixels count as squares, not points: a single one, or a disc, has 1.

    Args:
        mask: `[H, W]` boolean, not empty.
    """
    places = np.argwhere(mask).astype(float)
    places -= places.mean(axis=0)
    spread = places.T @ places / len(places) + np.eye(2) / 12.0
    least, most = np.linalg.eigvalsh(spread)
    return math.sqrt(least / most)


def fit_calibration(
    rows: np.ndarray,
    error_mm: np.ndarray,
    case: np.ndarray,
    *,
    limit_mm: float = LIMIT_MM,
    origin: Origin | None = None,
) -> Calibration:
    """Fits the regression; every case weighs the same, whatever its frames.

    Args:
        rows: `[n, F]` feature vectors of answers.
        error_mm: `[n]` distance of each from the truth; NaN counts as wrong.
        case: `[n]` number of each one's case.
        limit_mm: an error under it is right.
        origin: the tracker whose answers they are.

    Raises:
        UserError: all answers are right, or all wrong.
    """
    right = np.nan_to_num(error_mm, nan=np.inf) < limit_mm
    if right.all() or not right.any():
        raise UserError(
            f"{right.sum()} of {len(right)} answers within {limit_mm:g} mm",
            needed="some that are right and some that are wrong",
            why="nothing tells them apart otherwise",
            fix="more validation cases, or harder ones",
        )
    _, place, count = np.unique(case, return_inverse=True, return_counts=True)
    weight = 1.0 / count[place]
    weight /= weight.sum()
    mean = weight @ rows
    scale = np.sqrt(weight @ (rows - mean) ** 2)
    scale = np.where(scale > 0.0, scale, 1.0)
    standard, sign = (rows - mean) / scale, np.where(right, 1.0, -1.0)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (standard @ values[1:] + values[0])
        pull = -weight * sign * special.expit(-margin)
        gradient = np.concatenate(
            [[pull.sum()], standard.T @ pull + RIDGE * values[1:]]
        )
        penalty = 0.5 * RIDGE * float(values[1:] @ values[1:])
        return float(weight @ np.logaddexp(0.0, -margin)) + penalty, gradient

    from scipy import optimize  # a second to import, for a fit alone

    found = optimize.minimize(loss, np.zeros(1 + rows.shape[1]), jac=True)
    bias, *weights = (float(value) for value in found.x)
    listed = lambda values: tuple(float(value) for value in values)
    return Calibration(
        *(listed(mean), listed(scale), tuple(weights), bias, limit_mm, len(count)),
        origin=origin,
    )


def reliability(
    said: np.ndarray, right: np.ndarray, *, bins: int = BINS
) -> list[dict[str, float]]:
    """Returns the rows of a reliability diagram; empty bins are left out.

    Args:
        said: `[n]` confidences in [0, 1].
        right: `[n]` whether each answer was right.
        bins: of equal width.

    Returns:
        said (mean of the bin), found (share that is right), share (of all answers).
    """
    place = _level(said, bins)
    rows = []
    for one in range(bins):
        inside = place == one
        if inside.any():
            rows.append(
                {
                    "said": float(said[inside].mean()),
                    "found": float(right[inside].mean()),
                    "share": float(inside.mean()),
                }
            )
    return rows


def calibration_error(said: np.ndarray, right: np.ndarray) -> float:
    """Returns the expected calibration error: the mean gap of `reliability`."""
    rows = reliability(said, right)
    return float(sum(row["share"] * abs(row["said"] - row["found"]) for row in rows))


def area_under_curve(said: np.ndarray, right: np.ndarray) -> float:
    """Returns the chance that a right answer has the higher confidence.

    Ties count half. NaN if all are right, or all wrong.
    """
    good, bad = said[right], said[~right]
    if not len(good) or not len(bad):
        return math.nan
    from scipy import stats  # a second to import, for a judgement alone

    ranks = stats.rankdata(np.concatenate([good, bad]))[: len(good)].sum()
    pairs = len(good) * len(bad)
    return float((ranks - len(good) * (len(good) + 1) / 2) / pairs)


def risk_coverage(
    said: np.ndarray,
    error_mm: np.ndarray,
    *,
    points: int = 20,
    limit_mm: float = LIMIT_MM,
) -> list[dict[str, float]]:
    """Returns the error of the surest answers, for growing shares of them.

    Args:
        said: `[n]` confidences.
        error_mm: `[n]`; NaN (no answer) counts as wrong, and in the mean as the
            largest known error.
        points: of the curve.
        limit_mm: an error under it is right.

    Returns:
        coverage, mean_mm and wrong (share of `limit_mm` or more) of the surest so many.
        Of answers with equal confidence any may be the surest: each has their mean.
    """
    error = np.where(np.isnan(error_mm), np.nanmax(error_mm, initial=0.0), error_mm)
    wrong = ~(np.nan_to_num(error_mm, nan=np.inf) < limit_mm)
    _, place, count = np.unique(-said, return_inverse=True, return_counts=True)
    level = lambda values: np.repeat(np.bincount(place, values) / count, count)
    error, wrong = level(error), level(wrong)
    rows = []
    for share in np.linspace(1.0 / points, 1.0, points):
        most = max(1, round(share * len(error)))
        rows.append(
            {
                "coverage": float(share),
                "mean_mm": float(error[:most].mean()),
                "wrong": float(wrong[:most].mean()),
            }
        )
    return rows


def conformal_radius_mm(scores_mm: Sequence[float], *, alpha: float) -> float:
    """Returns the split-conformal radius for a new case's score.

    Frames of a case are not exchangeable, cases are: one score a case, such as its
    largest or its 95th percentile of the error.

    Args:
        scores_mm: one a calibration case; NaN counts as infinite.
        alpha: one case in 1 / alpha may exceed the radius.

    Returns:
        The ceil((n + 1)(1 - alpha))-th smallest score; infinite if there are too few.

    Source:
        Vovk, Gammerman, Shafer 2005; Lei et al. 2018, arXiv:1604.04173.
    """
    ordered = np.sort(np.asarray(scores_mm, float))  # NaN comes last, as infinite does
    rank = math.ceil((len(ordered) + 1) * (1.0 - alpha))
    radius_mm = ordered[rank - 1] if 1 <= rank <= len(ordered) else math.inf
    return math.inf if np.isnan(radius_mm) else float(radius_mm)


def summary(
    said: np.ndarray, error_mm: np.ndarray, *, limit_mm: float = LIMIT_MM
) -> Mapping[str, Any]:
    """Returns every measure of confidences `[n]` against errors `[n]` mm."""
    right = np.nan_to_num(error_mm, nan=np.inf) < limit_mm
    auc = area_under_curve(said, right)
    return {
        "answers": len(said),
        "right_pct": 100.0 * float(right.mean()),
        "calibration_error": calibration_error(said, right),
        "auc": None if math.isnan(auc) else auc,
        "reliability": reliability(said, right),
        "risk_coverage": risk_coverage(said, error_mm, limit_mm=limit_mm),
    }
