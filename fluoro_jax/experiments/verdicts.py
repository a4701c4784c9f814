"""Compares a measure of ours with the paper's, or says why no verdict is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fluoro_jax.evaluation.statistics import FEW
from fluoro_jax.evaluation.summary import BLIND, no_motion, value
from fluoro_jax.experiments.departures import scale_departures

PASSED = ("better", "reproduced")
RULES = (
    "Better: our whole 95 % interval is beyond the paper's mean. Reproduced: the whole "
    "interval is within the tolerance of it, on both sides. Not reached: the whole "
    "interval is worse than it by more than the tolerance. Not resolved: anything "
    "else. No verdict, with the reason, where a baseline that uses no image (static or "
    "phase prior, blind or shown frame 0) passes the same test; on an axis along which "
    "the true tumour ranges over less than a pixel or the tolerance; below the paper's "
    f"scale; under {FEW} cases; and for a stale record."
)


def grade(ours: Mapping[str, Any], paper: float, tolerance: float, *, up: bool) -> str:
    """Returns "better", "reproduced", "not reached" or "not resolved".

    Args:
        ours: mean, low, high and n.
        paper: its mean.
        tolerance: stated before anything was run; see `RULES`.
        up: True if larger is better.
    """
    # Without an interval worth printing there is nothing to compare.
    if ours["mean"] is None or ours.get("n", FEW) < FEW:
        return "not resolved"
    # Turned so that larger is better, whatever the measure.
    sign = 1.0 if up else -1.0
    worst, best = sorted(sign * (ours[end] - paper) for end in ("low", "high"))
    # In this order: an interval beyond the paper's mean may lie within the tolerance
    # too.
    if worst > 0.0:
        return "better"
    if worst >= -tolerance and best <= tolerance:
        return "reproduced"
    return "not reached" if best < -tolerance else "not resolved"


def verdict(
    record: Mapping[str, Any], key: str, paper: float, tolerance: float, *, up: bool
) -> str:
    """Returns `grade` of a record's measure, or "no verdict: " and every reason.

    Args:
        record: of a part: config, table, stale.
        key: of the measure.
        paper: its mean.
        tolerance: as for `grade`.
        up: True if larger is better.
    """
    table = record["table"]
    ours, reasons = value(table, key), []
    if record.get("stale"):
        reasons.append("stale record")
    if scale_departures(record["config"]):
        reasons.append("below full scale")
    if 0 < ours["n"] < FEW:
        reasons.append(f"{ours['n']} cases")
    # If a tracker that sees no image passes, passing shows nothing of the network.
    passed = [
        column["label"]
        for column in table["columns"]
        if column["key"] in BLIND
        and grade(value(table, key, column["key"]), paper, tolerance, up=up) in PASSED
    ]
    if passed:
        reasons.append(f"baselines that use no image pass too ({', '.join(passed)})")
    if still := no_motion(table, key, tolerance):
        reasons.append(still)
    if reasons:
        return "no verdict: " + "; ".join(reasons)
    return grade(ours, paper, tolerance, up=up)
