"""Runs the comparison: scenario by scenario, clip by clip, every tracker on each.

What a tracker did on a scenario is one record (`records.py`), written after every clip.
A clip that a tracker refuses, or on which it fails, is noted in its record, and the run
goes on.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fluoro_jax.config import Config
from fluoro_jax.data.dataset import load_split
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare.clips import ScenarioClip, scenario_clips
from fluoro_jax.experiments.compare.entries import Entry, read_entry
from fluoro_jax.experiments.compare.follow_clip import track_case
from fluoro_jax.experiments.compare.kept_clips import FOLDER
from fluoro_jax.experiments.compare.records import Records, first_cases, missing_cases
from fluoro_jax.experiments.compare.scenarios import SCENARIOS, Scenario
from fluoro_jax.experiments.compare.settings import check, chosen
from fluoro_jax.experiments.compare.time_left import TimeLeft
from fluoro_jax.experiments.compare.write import write_results
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.baselines.centroids import CentroidTracker, TruePath
from fluoro_jax.tracking.baselines.phases import PatientPhases, phases_of_case
from fluoro_jax.tracking.tracker import Tracker

Pending = list[tuple[Entry, dict[str, Any], list[int]]]  # with the cases missing


def compare(
    cfg: Config,
    workdir: Path,
    *,
    data_dir: Path | None = None,
    only: str = "",
    scenarios: str = "",
    ct: str = "",
) -> dict[str, Any]:
    """Runs what is missing, then prints and writes the tables and the figure.

    Args:
        cfg: the config (`configs/trackers.py`).
        workdir: takes records/, clips/ (rendered ones, `clips.keep`), results.md,
            results.csv, results.json, forecast.csv and forest.png.
        data_dir: of the stored training cases; default `<workdir>/data`.
        only: trackers, separated by commas: names of the config, or others that
            `entries.read_entry` knows; "" for all of the config.
        scenarios: of the config, separated by commas; "" for all. The one that needs a
            CT is then left out unless `ct` is given, and the one of another setup
            unless a tracker is given planning phases.
        ct: file or folder of a chest CT.

    Returns:
        What results.json holds.

    Raises:
        UserError: a config, name, tracker or CT that cannot be used.
    """
    settings: Any = check(cfg)
    named = [word.strip() for word in only.split(",") if word.strip()]
    names = named or list(settings.trackers)
    _check_forecast(settings.forecast.of, names)
    entries = [read_entry(name) for name in names]
    parts = chosen(scenarios, settings.scenarios, "scenarios")
    if not scenarios:
        planned = any(entry.knowledge == "phases" for entry in entries)
        parts = [name for name in parts if _by_default(SCENARIOS[name], ct, planned)]
    runner = Runner(settings, Path(workdir), data_dir, ct)
    records = runner.run(entries, parts)
    return write_results(records, settings, Path(workdir))


def _by_default(scenario: Scenario, ct: str, planned: bool) -> bool:
    """Returns whether a scenario is run unless scenarios are named.

    One that needs a CT is not run without it, and one that differs from another only in
    the planning scan is not run if no tracker is given such a scan.
    """
    return bool(ct or not scenario.from_ct) and (planned or not any(scenario.setup_mm))


def _check_forecast(of: str, names: Sequence[str]) -> None:
    if of and of not in names:
        raise UserError(
            f"forecast.of = {of!r}, which does not run",
            needed="one of " + ", ".join(names) + ', or ""',
            why="the table of errors after latency is of its traces",
            fix='add it to --only, or leave it to the rule: --config.forecast.of=""',
        )


class Runner:
    """Makes the records of a comparison.

    Args:
        settings: the config, checked.
        workdir: of the comparison.
        data_dir: of the stored training cases, or None.
        ct: file or folder of a chest CT, or "".
    """

    def __init__(
        self, settings: Any, workdir: Path, data_dir: Path | None, ct: str
    ) -> None:
        self.settings, self.ct = settings, ct
        self.records = Records(settings, workdir, ct)
        self.data_dir = data_dir or workdir / "data"
        self._training: Any = None
        self._built: dict[str, Tracker | Exception] = {}
        self._planned: tuple[ScenarioClip, PatientPhases] | None = None

    def run(
        self, entries: Sequence[Entry], parts: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Returns the record of every tracker on every scenario."""
        cases, opened = self.settings.clips.cases, []
        pending: dict[str, Pending] = {}
        for part in parts:
            for entry in entries:
                opened.append(self.records.open(entry, part))
                missing = missing_cases(opened[-1], cases)
                if missing:
                    pending.setdefault(part, []).append((entry, opened[-1], missing))
        counts = {
            part: sum(len(missing) for _, _, missing in some)
            for part, some in pending.items()
        }
        total = sum(counts.values())
        told = TimeLeft("compare", total)
        with tqdm(total=total, unit="clip", disable=None) as bar:
            for part, some in pending.items():
                self._run_part(part, some, bar)
                told(part, counts[part])
        return [first_cases(record, cases) for record in opened]

    def _run_part(self, part: str, pending: Pending, bar: Any) -> None:
        """Tracks the clips of a scenario that a record lacks; writes as it goes."""
        wanted = sorted({index for _, _, missing in pending for index in missing})
        clips = scenario_clips(
            *(part, SCENARIOS[part], self.settings.clips),
            ct=self.ct,
            indices=wanted,
            kept=self.records.workdir / FOLDER if self.settings.clips.keep else None,
        )
        for index, given in zip(wanted, clips, strict=True):
            for entry, record, missing in pending:
                if index not in missing:
                    continue
                bar.set_description(f"{part}: {entry.name}", refresh=False)
                self._track(entry, record, given, index)
                self.records.write(record)
                bar.update()

    def _track(
        self, entry: Entry, record: dict[str, Any], given: ScenarioClip, index: int
    ) -> None:
        """Adds a case to a record; or why the tracker did not answer it."""
        try:
            tracker = self._tracker(entry, given)
            record["causal"] = bool(tracker.causal)
            record["lookahead_frames"] = int(tracker.lookahead_frames)
            frame0 = entry.knowledge in ("frame 0", "past truth")
            told_s = 0.0
            if isinstance(tracker, CentroidTracker):
                told_s = tracker.labelled_s or 0.0
            found = track_case(tracker, given, frame0=frame0, told_s=told_s)
            record["cases"].append({"case": index, **found})
        except UserError as error:
            why = f"{error.found} (needed: {error.needed})"
            # A library that is not installed may be there at the next call.
            kind = "failed" if isinstance(error.__cause__, ImportError) else "refused"
            record[kind].append({"case": index, "why": why})
        except Exception as error:
            # A tracker may raise anything, after hours: the others and the other clips
            # go on, and the next call tries this one again.
            why = f"{type(error).__name__}: {error}"
            record["failed"].append({"case": index, "why": why})
            where = traceback.extract_tb(error.__traceback__)[-1]
            tqdm.write(
                f"[compare] {entry.name} failed on {record['scenario']}, case {index}: "
                f"{why} ({where.filename}:{where.lineno})",
                file=sys.stderr,
            )

    def _tracker(self, entry: Entry, given: ScenarioClip) -> Tracker:
        if entry.knowledge == "phases":
            return entry.build(self._arrays_for(entry), self._phases(given))
        if entry.knowledge == "past truth":
            return entry.build(None, TruePath(given.truth_time_s, given.truth_mm))
        if entry.name not in self._built:
            try:
                self._built[entry.name] = entry.build(self._arrays_for(entry), None)
            except Exception as error:
                # It would fail in the same way, perhaps after minutes, for every clip.
                self._built[entry.name] = error
        built = self._built[entry.name]
        if isinstance(built, Exception):
            raise built
        return built

    def _arrays_for(self, entry: Entry) -> Any:
        return self._training_arrays() if entry.learns else None

    def _phases(self, given: ScenarioClip) -> PatientPhases:
        """Returns the planning phases of a clip's patient, made once a clip."""
        if given.planning is None:
            raise UserError(
                "a clip without planning phases",
                needed="a simulated patient",
                why="a single CT does not say how its patient breathes",
                fix="leave the scenario out for trackers that are given phases",
            )
        if self._planned is None or self._planned[0] is not given:
            clips = self.settings.clips
            made = phases_of_case(
                given.planning,
                given.clip.geometry,
                phases=clips.phases,
                voxel_mm=clips.phases_voxel_mm,
            )
            # The scan as it lies in the room if the patient is set up by its marks.
            self._planned = (given, made.moved(-np.asarray(given.setup_mm)))
        return self._planned[1]

    def _training_arrays(self) -> Any:
        if self._training is None:
            clips, training = self.settings.clips, self.settings.training
            spec = StudySpec(
                name=training.study,
                seed=training.seed,
                num_train=training.cases,
                num_val=1,
                num_test=1,
                rows=clips.rows,
                cols=clips.rows,
                detector_mm=clips.detector_mm,
                voxel_mm=clips.voxel_mm,
            )
            self._training = load_split(spec, self.data_dir, "train")
        return self._training
