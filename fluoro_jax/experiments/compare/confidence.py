"""Fits a network's confidence on the tuning clips and judges it on clips of its own.

The network's answers are chosen by their motion (`tracking.posterior`). A regression
from features of the map and of the motion to "the error is under 2 mm" is fitted to the
clips of `FITTED` drawn from the seeds "tuning", and judged on those drawn from the
seeds "judged": scenarios of the fitted kind, and `SHIFTED` ones that were not fitted.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.config import Config
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.evaluate import weights_digest
from fluoro_jax.experiments.compare.clips import ScenarioClip, scenario_clips
from fluoro_jax.experiments.compare.entries import read_entry
from fluoro_jax.experiments.compare.follow_clip import distances_mm, follow_case
from fluoro_jax.experiments.compare.judging import (
    FITTED,
    SHIFTED,
    CaseAnswers,
    judge,
    page,
    table,
)
from fluoro_jax.experiments.compare.kept_clips import FOLDER
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.settings import check
from fluoro_jax.experiments.compare.time_left import TimeLeft
from fluoro_jax.io.files import write_text
from fluoro_jax.tracking import confidence as judged
from fluoro_jax.tracking.baselines.registry import RIVALS
from fluoro_jax.tracking.confidence import Calibration, Features, Origin
from fluoro_jax.tracking.posterior import PosteriorTracker


class Collector:
    """Keeps the features of every answer; gives it their number as its confidence."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def probability(self, features: Features) -> float:
        """Returns the number of the features, from 0."""
        self.rows.append(features.vector())
        return float(len(self.rows) - 1)


def confidence(
    cfg: Config,
    workdir: Path,
    *,
    model: str,
    ct: str = "",
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Fits and judges; prints the table, writes confidence.json and its results.

    Args:
        cfg: the config (`configs/trackers.py`); its section `clips` is read.
        workdir: takes `confidence.json` (the calibration), `confidence_results.json`
            and `confidence.md`. In that of a comparison the clips that it has
            rendered are read (`clips.keep`).
        model: the network, as `entries.read_entry` takes it.
        ct: file or folder of a chest CT; without it `real_ct` is left out.
        data_dir: not read, as no stored study is; every verb is given it.

    Returns:
        What confidence_results.json holds.

    Raises:
        UserError: a config, model or CT that cannot be used.
    """
    settings: Any = check(cfg)
    tracker = _tracker(model)
    shifted = [name for name in SHIFTED if ct or not SCENARIOS[name].from_ct]
    told = TimeLeft("confidence", 2 * len(FITTED) + len(shifted))
    kept = workdir / FOLDER if settings.clips.keep else None
    refused: dict[str, str] = {}
    answers = functools.partial(_answers, tracker, settings, ct, kept, told, refused)
    tuning = {name: answers(name, "tuning") for name in FITTED}
    cases = [one for many in tuning.values() for one in many if one is not None]
    if not cases:
        raise UserError(
            f"{model} refuses every clip: {next(iter(refused.values()))}",
            needed="clips that the network takes",
            why="a confidence is fitted to its answers",
            fix="set --config.clips.frames_per_s to the rate that it was trained at",
        )
    rule = _fit(cases, origin_of(tracker))
    # At once: what follows takes as long again.
    workdir.mkdir(parents=True, exist_ok=True)
    write_text(workdir / "confidence.json", rule.to_json() + "\n")
    test = {}
    for name in (*FITTED, *shifted):
        found = answers(name, "judged")
        if any(one is not None for one in found):
            test[name] = found
    results = judge(rule, tuning, test, settings.evaluation) | {"refused": refused}
    results |= {"model": model, "cases_a_scenario": int(settings.clips.cases)}
    text = json.dumps(results, indent=1, allow_nan=False)
    write_text(workdir / "confidence_results.json", text + "\n")
    write_text(workdir / "confidence.md", page(results))
    print(table(results))
    return results


def _tracker(model: str) -> Any:
    """The network's tracker, bare: its whole map is followed by the motion model."""
    weights, _, ahead = model.partition("@")
    if weights in RIVALS or ":" in weights:
        raise UserError(
            f"{model} is no network",
            needed="weights by name, or the workdir of a run",
            why="the features are those of a probability map",
            fix="--model=group@0",
        )
    entry = read_entry(f"{weights}@{ahead.partition('+')[0]}+mask")
    return entry.build(None, None)


def _answers(
    tracker: Any,
    settings: Any,
    ct: str,
    kept: Path | None,
    told: TimeLeft,
    refused: dict[str, str],
    name: str,
    seeds: str,
) -> list[CaseAnswers | None]:
    """Returns the answers on every clip, None for one that is refused, and tells why.

    What is refused is added to `refused` by the scenario, with its count.
    """
    clips = ConfigDict(settings.clips.to_dict())
    clips.seeds = seeds
    found: list[CaseAnswers | None] = []
    why = ""
    given_clips = scenario_clips(
        *(name, SCENARIOS[name], FrozenConfigDict(clips)), ct=ct, kept=kept
    )
    for given in given_clips:
        try:
            found.append(answers_of(tracker, given))
        except UserError as error:  # such a clip is none of the network's
            found.append(None)
            why = f"{error.found} (needed: {error.needed})"
    if why:
        told_of = name if seeds == "judged" else f"{name}, {seeds} seeds"
        refused[told_of] = f"{found.count(None)} of {len(found)} clips, {why}"
    told(f"{name}, {seeds} seeds")
    return found


def answers_of(tracker: Any, given: ScenarioClip) -> CaseAnswers:
    """Returns a network's answers on one clip, with the features of each."""
    collector: Any = Collector()
    threshold = tracker.cfg.evaluation.threshold
    follower = PosteriorTracker(tracker, threshold, calibration=collector)
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


def origin_of(tracker: Any) -> Origin:
    """Returns what a calibration of a bare network tracker belongs to."""
    threshold = float(tracker.cfg.evaluation.threshold)
    return Origin(weights_digest(tracker.params), tracker.lookahead_frames, threshold)


def _fit(cases: list[CaseAnswers], origin: Origin) -> Calibration:
    rows, error_mm, number = [], [], []
    for i, case in enumerate(cases):
        rows.append(case.features[case.answered])
        error_mm.append(case.error_mm[case.answered])
        number.append(np.full(case.answered.sum(), i))
    return judged.fit_calibration(
        *(np.concatenate(rows), np.concatenate(error_mm), np.concatenate(number)),
        origin=origin,
    )
