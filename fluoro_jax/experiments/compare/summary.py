"""From records to numbers: one value a patient, then a value over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import FEW, MISSED_MM, WITHIN_MM
from fluoro_jax.experiments.compare.records import UNANSWERED, reasons

# Of each measure, how patients are summed up: errors are skewed, shares are not.
OVER_PATIENTS: Mapping[str, Callable[..., Any]] = {
    "median_mm": np.median,
    "p95_mm": np.median,
    **{f"within_{limit}mm": np.mean for limit in WITHIN_MM},
    "missed": np.mean,
}
MEASURES = tuple(OVER_PATIENTS)


@dataclass(frozen=True)
class Spread:
    """A number over patients.

    Attributes:
        value: median over patients of an error, mean of a share.
        low, high: 95 % bootstrap interval over patients from `FEW` patients on, else
            the patients' range.
        n: patients.
    """

    value: float
    low: float
    high: float
    n: int


def patient_values(case: Mapping[str, Any]) -> dict[str, float]:
    """Returns the measures of one patient over the scored frames.

    Frame 0 is not scored for any tracker, as some are shown it; nor is a frame in which
    the tumour is outside the panel.

    Args:
        case: of a record, see `follow_clip.track_case`.

    Returns:
        dict of `MEASURES`: mm in the isocentre plane, and per cent of frames.
    """
    distance = np.array(case["distance_mm"][1:], float)
    shown = np.isfinite(distance)
    empty = np.array(case["empty"][1:])[shown]
    distance = distance[shown]
    if not len(distance):
        return dict.fromkeys(MEASURES, float("nan"))
    share = lambda chosen: 100.0 * float(np.mean(chosen))
    # On a very small frame the penalty of an empty prediction may be within a limit.
    within = {f"within_{n}mm": share((distance <= n) & ~empty) for n in WITHIN_MM}
    return {
        "median_mm": float(np.median(distance)),
        "p95_mm": float(np.percentile(distance, 95)),
        **within,
        "missed": share((distance > MISSED_MM) | empty),
    }


def over_patients(
    values: Sequence[float], statistic: Callable[..., Any], evaluation: Any
) -> Spread:
    """Returns a number over patients with its interval or range.

    Args:
        values: one a patient; NaN is left out.
        statistic: `np.median` or `np.mean`.
        evaluation: the config's section: bootstrap, seed.
    """
    found = np.array([v for v in values if np.isfinite(v)])
    n = len(found)
    if n == 0:
        nothing = float("nan")
        return Spread(nothing, nothing, nothing, 0)
    value = float(statistic(found))
    if n < FEW:
        return Spread(value, float(found.min()), float(found.max()), n)
    rng = np.random.default_rng(evaluation.seed)
    # Patients are drawn, never frames: the frames of a patient are alike.
    drawn = found[rng.integers(n, size=(evaluation.bootstrap, n))]
    low, high = np.percentile(statistic(drawn, axis=1), (2.5, 97.5))
    return Spread(value, float(low), float(high), n)


def ratio_over_patients(
    above: Sequence[float], below: Sequence[float], evaluation: Any
) -> Spread:
    """Returns the ratio of two means over patients with its interval or range.

    Args:
        above: one a patient.
        below: likewise, of the same patients; the two are drawn together.
        evaluation: the config's section: bootstrap, seed.
    """
    tops, bottoms = np.asarray(above, float), np.maximum(np.asarray(below, float), 1e-9)
    n = len(tops)
    value = float(tops.mean() / bottoms.mean())
    if n < FEW:
        each = tops / bottoms
        return Spread(value, float(each.min()), float(each.max()), n)
    rng = np.random.default_rng(evaluation.seed)
    drawn = rng.integers(n, size=(evaluation.bootstrap, n))
    ratios = tops[drawn].mean(axis=1) / bottoms[drawn].mean(axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Spread(value, float(low), float(high), n)


def summarise_record(record: Mapping[str, Any], evaluation: Any) -> dict[str, Any]:
    """Returns a row of the table: one tracker on one scenario.

    Args:
        record: see `records.Records`.
        evaluation: the config's section.

    Returns:
        dict of scenario, tracker, knowledge, trials, causal, lookahead_frames, cases
        (asked), answered (of them), refused and failed (why, "" for none),
        latency_p99_ms over all frames, and a `Spread` over the answered cases for each
        of `MEASURES`.
    """
    cases = [patient_values(case) for case in record["cases"]]
    spent = [ms for case in record["cases"] for ms in case["compute_ms"]]
    row = {
        key: record[key]
        for key in ("scenario", "tracker", "knowledge", "trials", "causal")
    }
    row |= {
        "lookahead_frames": record["lookahead_frames"],
        "cases": sum(len(record[key]) for key in ("cases", *UNANSWERED)),
        "answered": len(cases),
        **{key: reasons(record[key]) for key in UNANSWERED},
    }
    row["latency_p99_ms"] = float(np.percentile(spent, 99)) if spent else float("nan")
    for name, statistic in OVER_PATIENTS.items():
        values = [case[name] for case in cases]
        row[name] = over_patients(values, statistic, evaluation)
    return row
