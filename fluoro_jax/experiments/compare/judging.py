"""Judges a network's confidence: tables over scenarios, conformal radius, gating.

Every figure stands with its 95 % bootstrap interval over cases, or with fewer than
`FEW` of them their range. Scenarios share patients, so figures over several scenarios
are drawn by the number of the case: all that it answered in them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import FEW
from fluoro_jax.evaluation.track_errors import gating
from fluoro_jax.experiments.compare.summary import over_patients
from fluoro_jax.tracking import confidence as judged
from fluoro_jax.tracking.confidence import Calibration

FITTED = ("visible", "clinic", "irregular", "recorded", "small", "heart")
SHIFTED = (
    *("paper", "population", "noise_mid", "scatter_mid", "gain", "gantry"),
    "real_ct",
)
ALPHA = 0.1  # one case in ten may exceed its conformal radius
SCORE = 95.0  # percentile of a case's errors that is its score
WINDOW_MM = 3.0  # of the gating
SURE = 0.5  # the beam is held at a lower confidence
RESAMPLES = 1000  # of a figure's interval; each sorts all answers
TOGETHER = ("fitted kinds", "shifted")  # rows of several scenarios
FIGURES = ("answered_pct", "right_pct", "calibration_error", "auc")


@dataclass(frozen=True)
class CaseAnswers:
    """One clip's answers.

    Attributes:
        features: `[T, F]`, NaN where nothing was found.
        error_mm: `[T]` distance from the truth at the isocentre; NaN where nothing was
            found or nothing is shown.
        shown: `[T]` frames that show the tumour.
        place_mm: `[T, 2]` answered; truth_mm: `[T, 2]` true (superior, right of image).
        time_s: `[T]` s.
    """

    features: np.ndarray
    error_mm: np.ndarray
    shown: np.ndarray
    place_mm: np.ndarray
    truth_mm: np.ndarray
    time_s: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """Returns the frames `[T]` that are answered and show the tumour."""
        return np.asarray(self.shown & np.isfinite(self.features).all(axis=1))


Answers = Sequence[CaseAnswers | None]
Groups = list[list[CaseAnswers]]  # what is drawn together: the cases of a number


def judge(
    rule: Calibration,
    tuning: Mapping[str, Answers],
    test: Mapping[str, Answers],
    evaluation: Any,
) -> dict[str, Any]:
    """Returns every measure of a calibration.

    Args:
        rule: fitted to `tuning`.
        tuning: answers by scenario, in the order of the cases; None for a clip that was
            refused.
        test: likewise, from other seeds.
        evaluation: the config's section: bootstrap, seed.

    Returns:
        dict of scenarios (a row each, and "fitted kinds" and "shifted" of all of those
        together), conformal (radius in mm and its coverage over test cases of the
        fitted kinds), and gating (with and without holding the beam). `_low` and
        `_high` are the ends of a figure's interval or range over cases.
    """
    fitted = _by_number([test.get(name, []) for name in FITTED])
    shifted = _by_number([test.get(name, []) for name in SHIFTED])
    row = lambda groups: _row(rule, groups, evaluation.seed)
    rows = {name: row(_by_number([cases])) for name, cases in test.items()}
    rows[TOGETHER[0]] = row(fitted)
    if shifted:
        rows[TOGETHER[1]] = row(shifted)
    scores = [
        _score_mm(one) for group in _by_number([*tuning.values()]) for one in group
    ]
    radius_mm = judged.conformal_radius_mm(scores, alpha=ALPHA)
    within = lambda case: bool(np.isfinite(s := _score_mm(case)) and s <= radius_mm)
    covered = [float(np.mean([within(case) for case in group])) for group in fitted]
    coverage = over_patients(covered, np.mean, evaluation)
    return {
        "scenarios": rows,
        "conformal": {
            "nominal": 1.0 - ALPHA,
            "radius_mm": radius_mm if np.isfinite(radius_mm) else None,
            "coverage": coverage.value,
            "coverage_low": coverage.low,
            "coverage_high": coverage.high,
            "calibration_cases": len(scores),
            "test_cases": sum(map(len, fitted)),
        },
        "gating": {
            "not held": _gating(fitted, None, evaluation),
            "held when unsure": _gating(fitted, rule, evaluation),
        },
    }


def _by_number(parts: Sequence[Answers]) -> Groups:
    """Returns the cases of every number that has some, of all scenarios together."""
    most = max(map(len, parts), default=0)
    columns = ([part[n] for part in parts if n < len(part)] for n in range(most))
    groups = ([one for one in column if one is not None] for column in columns)
    return [group for group in groups if group]


def _row(rule: Calibration, groups: Groups, seed: int) -> dict[str, Any]:
    told = [[_told(rule, case) for case in group] for group in groups]
    whole = [one for group in told for one in group]
    figures = _figures(whole)
    if figures is None:
        return {"answers": 0}
    said, error_mm = (np.concatenate([one[i] for one in whole]) for i in (0, 1))
    frames = sum(one[2] for one in whole)
    found = judged.summary(said, error_mm)
    return {"cases": len(whole), "frames": frames, **found, **figures} | _ends(
        told, seed
    )


Told = tuple[np.ndarray, np.ndarray, int]  # probabilities, errors, frames shown


def _told(rule: Calibration, case: CaseAnswers) -> Told:
    said = rule.probabilities(case.features[case.answered])
    return said, case.error_mm[case.answered], int(case.shown.sum())


def _figures(cases: Sequence[Told]) -> dict[str, float | None] | None:
    """Returns `FIGURES` of cases; None if they answer nothing."""
    said, error_mm = (np.concatenate([one[i] for one in cases]) for i in (0, 1))
    if not len(said):
        return None
    right = np.nan_to_num(error_mm, nan=np.inf) < judged.LIMIT_MM
    auc = judged.area_under_curve(said, right)
    return {
        "answered_pct": 100.0 * len(said) / sum(one[2] for one in cases),
        "right_pct": 100.0 * float(right.mean()),
        "calibration_error": judged.calibration_error(said, right),
        "auc": None if np.isnan(auc) else auc,  # all are right, or all wrong
    }


def _ends(groups: Sequence[Sequence[Told]], seed: int) -> dict[str, float | None]:
    """Returns `_low` and `_high` of `FIGURES`: an interval over groups, or a range."""
    few, rng = len(groups) < FEW, np.random.default_rng(seed)
    drawn = rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    samples = [[i] for i in range(len(groups))] if few else drawn
    # Cases and never frames are drawn: the frames of a case are alike.
    tried = [_figures([one for i in sample for one in groups[i]]) for sample in samples]
    found: dict[str, float | None] = {}
    for name in FIGURES:
        values = (t[name] for t in tried if t is not None)
        known = np.array([value for value in values if value is not None], float)
        shares = (0.0, 100.0) if few else (2.5, 97.5)
        ends = np.percentile(known, shares) if len(known) else None
        for i, end in enumerate(("low", "high")):
            found[f"{name}_{end}"] = None if ends is None else float(ends[i])
    return found


def _score_mm(case: CaseAnswers) -> float:
    """The case's score: a high percentile of its errors; no answer is infinite.

    0 for a case that never shows its tumour.
    """
    error = case.error_mm[case.shown]
    if not len(error):
        return 0.0
    return float(
        np.percentile(np.nan_to_num(error, nan=np.inf), SCORE, method="higher")
    )


def _gating(
    groups: Groups, rule: Calibration | None, evaluation: Any
) -> dict[str, float | None]:
    """Means over cases of `gating`; the beam is held where `rule` is unsure."""
    rows = [[_gated(case, rule) for case in group] for group in groups]
    found: dict[str, float | None] = {}
    for name in (n for n in rows[0][0] if n != "window_mm"):
        each = [[row[name] for row in group if row[name] is not None] for group in rows]
        means = [float(np.mean(values)) for values in each if values]
        spread = over_patients(means, np.mean, evaluation) if means else None
        found[name] = None if spread is None else spread.value
        found[f"{name}_low"] = None if spread is None else spread.low
        found[f"{name}_high"] = None if spread is None else spread.high
    return found


def _gated(case: CaseAnswers, rule: Calibration | None) -> Mapping[str, Any]:
    place = case.place_mm
    if rule is not None:
        known = np.asarray(np.isfinite(case.features).all(axis=1))
        sure = np.zeros(known.shape, bool)
        sure[known] = rule.probabilities(case.features[known]) >= SURE
        place = np.where(sure[:, None], place, np.nan)
    return gating(case.truth_mm, place, case.time_s, WINDOW_MM)


def table(results: Mapping[str, Any]) -> str:
    """Returns the results as Markdown."""
    cases = results["cases_a_scenario"]
    shown = "the 95 % bootstrap interval" if cases >= FEW else "the range"
    lines = [
        f"Confidence of {results['model']}: probability of an error under "
        f"{judged.LIMIT_MM:g} mm. In brackets {shown} over cases ({cases} a scenario; "
        "over several scenarios a case is drawn with all of them).",
        "",
        "| scenario | cases | frames answered [%] | of these right [%] | "
        "calibration error | AUC |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results["scenarios"].items():
        if not row["answers"]:
            lines.append(f"| {name} | - | 0 | - | - | - |")
            continue
        words = [
            _shown(row, key, digits)
            for key, digits in zip(FIGURES, (1, 1, 3, 2), strict=True)
        ]
        lines.append(f"| {name} | {row['cases']} | " + " | ".join(words) + " |")
    lines += [
        f"| {n} | refused: {why} | | | | |"
        for n, why in results.get("refused", {}).items()
    ]
    return "\n".join([*lines, "", *_below(results)])


def page(results: Mapping[str, Any]) -> str:
    """Returns the results as a page: `table`, risk against coverage, reliability."""
    rows = {name: results["scenarios"].get(name) for name in TOGETHER}
    held = {name: row for name, row in rows.items() if row and row["answers"]}
    heads = [f"| {' | '.join(['', *held])} |", "| --- " * (1 + len(held)) + "|"]
    risks = zip(*(row["risk_coverage"] for row in held.values()), strict=True)
    lines = [
        f"# Confidence of {results['model']}",
        "",
        table(results),
        "",
        "## Risk and coverage",
        "",
        "Of the surest share of answers: mean error [mm]; share that is wrong (under "
        f"{judged.LIMIT_MM:g} mm is right) [%].",
        "",
        *heads,
        *(_risk_line(at) for at in risks),
        "",
        "## Reliability",
        "",
        "By tenths of the confidence, empty ones left out.",
        "",
    ]
    for name, row in held.items():
        head = f"| {name}: said | share that is right | share of all answers |"
        lines += [head, "| --- | --- | --- |"]
        for at in row["reliability"]:
            lines.append(
                f"| {at['said']:.2f} | {at['found']:.2f} | {at['share']:.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _risk_line(at: Sequence[Mapping[str, float]]) -> str:
    """Returns a row: one share of the surest answers, in every column."""
    words = [f"{one['mean_mm']:.2f}; {100.0 * one['wrong']:.1f}" for one in at]
    return " | ".join([f"| {100.0 * at[0]['coverage']:.0f} %", *words]) + " |"


def _below(results: Mapping[str, Any]) -> list[str]:
    held = results["conformal"]
    per_cent = {key: 100.0 * held[key] for key in held if key.startswith("coverage")}
    radius = held["radius_mm"]
    radius_words = "-" if radius is None else f"{radius:.2f}"
    lines = [
        f"Conformal radius (95th percentile of a case's error, level "
        f"{held['nominal']:g}): {radius_words} mm from "
        f"{held['calibration_cases']} cases; covers {_shown(per_cent, 'coverage', 0)} "
        f"% of {held['test_cases']}",
    ]
    for name, row in results["gating"].items():
        lines.append(
            f"Beam, {name}: duty cycle {_shown(row, 'duty_cycle_pct')} % (ideal "
            f"{_shown(row, 'ideal_duty_cycle_pct')} %), false beam-on "
            f"{_shown(row, 'false_beam_on_pct')} %, missed beam "
            f"{_shown(row, 'missed_beam_pct')} %, "
            f"{_shown(row, 'switches_per_min')} switches a minute"
        )
    return lines


def _shown(row: Mapping[str, Any], key: str, digits: int = 1) -> str:
    """Returns a figure with its ends in brackets; "-" where it is not defined."""
    if row[key] is None:
        return "-"
    words = f"{row[key]:.{digits}f}"
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return words if low is None else f"{words} [{low:.{digits}f}, {high:.{digits}f}]"
