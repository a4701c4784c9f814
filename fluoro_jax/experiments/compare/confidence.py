"""Fits a network's confidence on the tuning clips and judges it on the test clips.

The network's answers are chosen by their motion (`tracking.posterior`). A regression
from features of the map and of the motion to "the error is under 2 mm" is fitted to the
clips of `FITTED` drawn from the tuning seeds, and judged on those drawn from the test
seeds: scenarios of the fitted kind, and `SHIFTED` ones that were not fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.config import Config
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.track_errors import gating
from fluoro_jax.experiments.compare.clips import ScenarioClip, scenario_clips
from fluoro_jax.experiments.compare.entries import read_entry
from fluoro_jax.experiments.compare.follow_clip import distances_mm, follow_case
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.settings import check
from fluoro_jax.experiments.compare.time_left import TimeLeft
from fluoro_jax.io.files import write_text
from fluoro_jax.tracking import confidence as judged
from fluoro_jax.tracking.confidence import Calibration, Features
from fluoro_jax.tracking.posterior import PosteriorTracker

FITTED = ("visible", "clinic", "irregular", "recorded", "small", "heart")
SHIFTED = ("paper", "noise_mid", "scatter_mid", "gain", "gantry", "real_ct")
ALPHA = 0.1  # one case in ten may exceed its conformal radius
SCORE = 95.0  # percentile of a case's errors that is its score
WINDOW_MM = 3.0  # of the gating
SURE = 0.5  # the beam is held at a lower confidence


class Collector:
    """Keeps the features of every answer; gives it their number as its confidence."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def probability(self, features: Features) -> float:
        """Returns the number of the features, from 0."""
        self.rows.append(features.vector())
        return float(len(self.rows) - 1)


@dataclass(frozen=True)
class CaseAnswers:
    """One clip's answers.

    Attributes:
        features: `[T, 8]`, NaN where nothing was found.
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


def confidence(
    cfg: Config, workdir: Path, *, model: str, ct: str = ""
) -> dict[str, Any]:
    """Fits and judges; prints the table, writes confidence.json and its results.

    Args:
        cfg: the config (`configs/trackers.py`); its section `clips` is read.
        workdir: takes `confidence.json` (the calibration) and
            `confidence_results.json`.
        model: the network, as `entries.read_entry` takes it.
        ct: file or folder of a chest CT; without it `real_ct` is left out.

    Returns:
        What confidence_results.json holds.

    Raises:
        UserError: a config, model or CT that cannot be used.
    """
    settings: Any = check(cfg)
    tracker = _tracker(model)
    shifted = [name for name in SHIFTED if ct or not SCENARIOS[name].from_ct]
    told = TimeLeft("confidence", 2 * len(FITTED) + len(shifted))
    tuning = {n: _answers(tracker, n, settings, "tuning", ct, told) for n in FITTED}
    rule = _fit([one for cases in tuning.values() for one in cases])
    # At once: what follows takes as long again.
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(workdir / "confidence.json", rule.to_json() + "\n")
    test, refused = {}, {}
    for name in (*FITTED, *shifted):
        try:
            test[name] = _answers(tracker, name, settings, "test", ct, told)
        except UserError as error:  # such clips are none of the network's
            refused[name] = f"{error.found} (needed: {error.needed})"
    results = judge(rule, tuning, test) | {"refused": refused}
    results |= {"model": model, "cases_a_scenario": int(settings.clips.cases)}
    text = json.dumps(results, indent=1, allow_nan=False)
    write_text(workdir / "confidence_results.json", text + "\n")
    print(table(results))
    return results


def _tracker(model: str) -> Any:
    """The network's tracker, bare: its whole map is followed by the motion model."""
    weights, _, ahead = model.partition("@")
    entry = read_entry(f"{weights}@{ahead.partition('+')[0]}+mask")
    if entry.knowledge != "nothing" or entry.learns:
        raise UserError(
            f"{model} is no network",
            needed="weights by name, or the workdir of a run",
            why="the features are those of a probability map",
            fix="--model=group-cpu@0",
        )
    return entry.build(None, None)


def _answers(
    tracker: Any, name: str, settings: Any, seeds: str, ct: str, told: TimeLeft
) -> list[CaseAnswers]:
    clips = ConfigDict(settings.clips.to_dict())
    clips.seeds = seeds
    found = []
    for given in scenario_clips(name, SCENARIOS[name], FrozenConfigDict(clips), ct=ct):
        found.append(answers_of(tracker, given))
    told(f"{name}, {seeds} seeds")
    return found


def answers_of(tracker: Any, given: ScenarioClip) -> CaseAnswers:
    """Returns a network's answers on one clip, with the features of each."""
    collector: Any = Collector()
    follower = PosteriorTracker(tracker, calibration=collector)
    tracks, _ = follow_case(follower, given, frame0=False)
    distance_mm, empty = distances_mm(tracks, given.clip)
    features = np.full((len(tracks), len(judged.NAMES)), np.nan)
    for i, track in enumerate(tracks):
        if track.status != "missed":
            features[i] = collector.rows[int(track.confidence)]
    times = np.asarray(given.clip.time_s, float)
    true = [np.interp(times, given.truth_time_s, x) for x in given.truth_mm.T]
    return CaseAnswers(
        features=features,
        error_mm=np.where(empty, np.nan, distance_mm),
        shown=np.isfinite(distance_mm),
        place_mm=np.stack([np.asarray(t.centroid_iso_mm, float) for t in tracks]),
        truth_mm=np.stack(true, axis=1),
        time_s=times,
    )


def _fit(cases: list[CaseAnswers]) -> Calibration:
    rows, error_mm, number = [], [], []
    for i, case in enumerate(cases):
        rows.append(case.features[case.answered])
        error_mm.append(case.error_mm[case.answered])
        number.append(np.full(case.answered.sum(), i))
    return judged.fit_calibration(
        np.concatenate(rows), np.concatenate(error_mm), np.concatenate(number)
    )


def judge(
    rule: Calibration,
    tuning: Mapping[str, list[CaseAnswers]],
    test: Mapping[str, list[CaseAnswers]],
) -> dict[str, Any]:
    """Returns every measure of a calibration.

    Args:
        rule: fitted to `tuning`.
        tuning: answers by scenario.
        test: answers by scenario, from other seeds.

    Returns:
        dict of scenarios (a row each, and "fitted kinds" and "shifted" of all of those
        together), conformal (radius in mm and its coverage over test cases of the
        fitted kinds), and gating (with and without holding the beam).
    """
    fitted = [case for name in FITTED for case in test.get(name, [])]
    shifted = [case for name in SHIFTED for case in test.get(name, [])]
    rows = {name: _row(rule, cases) for name, cases in test.items()}
    rows["fitted kinds"] = _row(rule, fitted)
    if shifted:
        rows["shifted"] = _row(rule, shifted)
    scores = [_score_mm(case) for cases in tuning.values() for case in cases]
    radius_mm = judged.conformal_radius_mm(scores, alpha=ALPHA)
    found = np.array([_score_mm(case) for case in fitted])
    covered = np.isfinite(found) & (found <= radius_mm)
    return {
        "scenarios": rows,
        "conformal": {
            "nominal": 1.0 - ALPHA,
            "radius_mm": radius_mm if np.isfinite(radius_mm) else None,
            "coverage": float(covered.mean()),
            "calibration_cases": len(scores),
            "test_cases": len(fitted),
        },
        "gating": {
            "not held": _gating(fitted, None),
            "held when unsure": _gating(fitted, rule),
        },
    }


def _row(rule: Calibration, cases: list[CaseAnswers]) -> dict[str, Any]:
    said, error_mm = [], []
    for case in cases:
        said.append(rule.probabilities(case.features[case.answered]))
        error_mm.append(case.error_mm[case.answered])
    if not sum(map(len, said)):
        return {"answers": 0}
    found = judged.summary(np.concatenate(said), np.concatenate(error_mm))
    frames = sum(int(case.shown.sum()) for case in cases)
    answered_pct = 100.0 * found["answers"] / frames
    return {"cases": len(cases), "frames": frames, **found} | {
        "answered_pct": answered_pct
    }


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


def _gating(cases: list[CaseAnswers], rule: Calibration | None) -> dict[str, Any]:
    """Means over cases of `gating`; the beam is held where `rule` is unsure."""
    rows = []
    for case in cases:
        place = case.place_mm
        if rule is not None:
            known = np.asarray(np.isfinite(case.features).all(axis=1))
            sure = np.zeros(known.shape, bool)
            sure[known] = rule.probabilities(case.features[known]) >= SURE
            place = np.where(sure[:, None], place, np.nan)
        rows.append(gating(case.truth_mm, place, case.time_s, WINDOW_MM))
    names = [name for name in rows[0] if name != "window_mm"]
    told = {n: [r[n] for r in rows if r[n] is not None] for n in names}
    return {n: float(np.mean(v)) if v else None for n, v in told.items()}


def table(results: Mapping[str, Any]) -> str:
    """Returns the results as Markdown."""
    number = lambda x, d=2: "-" if x is None else f"{x:.{d}f}"
    lines = [
        f"Confidence of {results['model']}: probability of an error under "
        f"{judged.LIMIT_MM:g} mm",
        "",
        "| scenario | cases | frames answered [%] | of these right [%] | "
        "calibration error | AUC |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results["scenarios"].items():
        if not row["answers"]:
            lines.append(f"| {name} | - | 0 | - | - | - |")
            continue
        lines.append(
            f"| {name} | {row['cases']} | {number(row['answered_pct'], 1)} | "
            f"{number(row['right_pct'], 1)} | {number(row['calibration_error'], 3)} | "
            f"{number(row['auc'])} |"
        )
    lines += [
        f"| {n} | refused: {why} | | | | |"
        for n, why in results.get("refused", {}).items()
    ]
    held = results["conformal"]
    lines += [
        "",
        f"Conformal radius (95th percentile of a case's error, level "
        f"{held['nominal']:g}): {number(held['radius_mm'])} mm from "
        f"{held['calibration_cases']} cases; covers {100 * held['coverage']:.0f} % of "
        f"{held['test_cases']}",
    ]
    for name, row in results["gating"].items():
        lines.append(
            f"Beam, {name}: duty cycle {number(row['duty_cycle_pct'], 1)} % (ideal "
            f"{number(row['ideal_duty_cycle_pct'], 1)} %), false beam-on "
            f"{number(row['false_beam_on_pct'], 1)} %, missed beam "
            f"{number(row['missed_beam_pct'], 1)} %, "
            f"{number(row['switches_per_min'], 1)} switches a minute"
        )
    return "\n".join(lines)
