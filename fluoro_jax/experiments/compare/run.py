"""Runs the comparison: scenario by scenario, clip by clip, every tracker on each.

What a tracker did on a scenario is one JSON record in `<workdir>/records`, written when
the scenario is through. A record is reused if the clips, the scenario, the training
cases and the code that make it are those of now.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fluoro_jax import fingerprint
from fluoro_jax.config import Config
from fluoro_jax.data.dataset import RENDERERS, load_split
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare.clips import ScenarioClip, scenario_clips
from fluoro_jax.experiments.compare.entries import Entry, read_entry
from fluoro_jax.experiments.compare.follow_clip import track_case
from fluoro_jax.experiments.compare.scenarios import SCENARIOS, SEEDS
from fluoro_jax.experiments.compare.settings import check, chosen
from fluoro_jax.experiments.compare.write import write_results
from fluoro_jax.io.files import write_text
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.baselines.phases import PatientPhases, phases_of_case
from fluoro_jax.tracking.tracker import Tracker

FORMAT = 1  # of the records
SOURCES = (  # decide, beside `RENDERERS` and a tracker's own code, what a record says
    *("metrics.py", "tracking/*.py", "experiments/real_anatomy.py"),
    *(f"experiments/compare/{name}.py" for name in ("cases", "clips", "follow_clip")),
)


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
        workdir: takes records/, results.md, results.csv, results.json, forecast.csv and
            forest.png.
        data_dir: of the stored training cases; default `<workdir>/data`.
        only: trackers, separated by commas: names of the config, or others that
            `entries.read_entry` knows; "" for all of the config.
        scenarios: of the config, separated by commas; "" for all. The one that needs a
            CT is then left out unless `ct` is given.
        ct: file or folder of a chest CT.

    Returns:
        What results.json holds.

    Raises:
        UserError: a config, name, tracker or CT that cannot be used.
    """
    settings: Any = check(cfg)
    named = [word.strip() for word in only.split(",") if word.strip()]
    entries = [read_entry(name) for name in named or settings.trackers]
    parts = chosen(scenarios, settings.scenarios, "scenarios")
    if not scenarios and not ct:
        parts = [name for name in parts if not SCENARIOS[name].from_ct]
    runner = Runner(settings, Path(workdir), data_dir, ct)
    records = runner.run(entries, parts)
    return write_results(records, settings, Path(workdir))


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
        self.settings, self.workdir, self.ct = settings, workdir, ct
        self.data_dir = data_dir or workdir / "data"
        self._training: Any = None
        self._built: dict[str, Tracker] = {}
        self._planned: tuple[ScenarioClip, PatientPhases] | None = None

    def run(
        self, entries: Sequence[Entry], parts: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Returns the record of every tracker on every scenario."""
        found, missing = {}, {}
        for part in parts:
            for entry in entries:
                record = self._stored(entry, part)
                if record is not None:
                    found[part, entry.name] = record
                else:
                    missing.setdefault(part, []).append(entry)
        cases = self.settings.clips.cases
        total = cases * sum(len(pending) for pending in missing.values())
        begun, done = time.perf_counter(), 0
        with tqdm(total=total, unit="clip", disable=None) as bar:
            for part, pending in missing.items():
                for record in self._run_part(part, pending, bar):
                    found[part, record["tracker"]] = record
                # The bar is seen on a terminal alone, these lines in a log as well.
                done += cases * len(pending)
                spent_min = (time.perf_counter() - begun) / 60
                left_min = spent_min * (total / done - 1)
                bar.write(
                    f"[compare] {part} after {spent_min:.1f} min; about "
                    f"{left_min:.0f} min left",
                    file=sys.stderr,
                )
        return [found[part, entry.name] for part in parts for entry in entries]

    def _run_part(
        self, part: str, pending: Sequence[Entry], bar: Any
    ) -> list[dict[str, Any]]:
        """Tracks the clips of a scenario; writes and returns the pending records."""
        records = [self._begin(entry, part) for entry in pending]
        clips = self.settings.clips
        for given in scenario_clips(part, SCENARIOS[part], clips, ct=self.ct):
            for entry, record in zip(pending, records, strict=True):
                bar.set_description(f"{part}: {entry.name}", refresh=False)
                if not record["refused"]:
                    self._track(entry, record, given)
                bar.update()
        for record in records:
            path = self._path(record["tracker"], part)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(record, allow_nan=False) + "\n")
        return records

    def _track(self, entry: Entry, record: dict[str, Any], given: ScenarioClip) -> None:
        """Adds a case to a record; or why the tracker takes no clip like this."""
        try:
            tracker = self._tracker(entry, given)
            record["causal"] = bool(tracker.causal)
            record["lookahead_frames"] = int(tracker.lookahead_frames)
            frame0 = entry.knowledge == "frame 0"
            record["cases"].append(track_case(tracker, given, frame0=frame0))
        except UserError as error:
            # A row without numbers, and why: other trackers go on.
            record["refused"] = f"{error.found} (needed: {error.needed})"
            record["cases"] = []

    def _tracker(self, entry: Entry, given: ScenarioClip) -> Tracker:
        training = self._training_arrays() if entry.learns else None
        if entry.knowledge == "phases":
            return entry.build(training, self._phases(given))
        if entry.name not in self._built:
            self._built[entry.name] = entry.build(training, None)
        return self._built[entry.name]

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
            self._planned = (given, made)
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

    def _begin(self, entry: Entry, part: str) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "tracker": entry.name,
            "scenario": part,
            "identity": self._identity(entry, part),
            "knowledge": entry.knowledge,
            "trials": entry.trials,
            "causal": None,
            "lookahead_frames": None,
            "refused": "",
            "cases": [],
        }

    def _identity(self, entry: Entry, part: str) -> str:
        """Returns a sha256 of all that decides a record."""
        scenario = SCENARIOS[part]
        words = {
            "format": FORMAT,
            "clips": self.settings.clips.to_dict(),
            "seed": SEEDS[self.settings.clips.seeds],
            "training": self.settings.training.to_dict() if entry.learns else None,
            "scenario": dataclasses.asdict(scenario),
            "tracker": [entry.name, entry.knowledge, entry.trials, entry.code],
            "code": fingerprint.code(*RENDERERS, *SOURCES),
            "ct": str(self.ct) if scenario.from_ct else "",
        }
        text = json.dumps(words, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _path(self, tracker: str, part: str) -> Path:
        # A name may be a path: the digest keeps two of them apart.
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in tracker)
        short = hashlib.sha256(tracker.encode()).hexdigest()[:6]
        return self.workdir / "records" / part / f"{plain[-60:]}.{short}.json"

    def _stored(self, entry: Entry, part: str) -> dict[str, Any] | None:
        """Returns the record that stands in the workdir if it is current."""
        try:
            text = self._path(entry.name, part).read_text(encoding="utf-8")
            record = json.loads(text)
            current = record["identity"] == self._identity(entry, part)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if current else None
