"""Chooses the settings of the rivals that are given frame 0, on clips like the table's.

    python -m fluoro_jax.experiments.compare.tune_rivals [TRACKER ...]

prints every setting of the last grid of the trackers named, or of all, with its errors
on one tuning case of each of `SCENARIOS_TRIED`: frames, pixels and times of the table,
other seeds, frame 0 not scored. No test case is looked at (docs/rivals.md).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fluoro_jax.clip import Clip
from fluoro_jax.experiments.compare.clips import scenario_clips
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.geometry import lps_to_iec
from fluoro_jax.sim.tumor.tumor import tumor_path_mm
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.tracking.baselines import flow, flow_contour, template
from fluoro_jax.tracking.baselines.flow import FlowTracker
from fluoro_jax.tracking.baselines.flow_contour import FlowContourTracker
from fluoro_jax.tracking.baselines.template import TemplateTracker
from fluoro_jax.tracking.baselines.tune import tune
from fluoro_jax.tracking.tracker import Tracker

# One case of each, every one of another number and so of another patient.
SCENARIOS_TRIED = ("visible", "clinic", "irregular", "small", "heart", "noise_mid")
# The clips of `configs/trackers.py:cpu` (a test compares them), of the tuning seeds.
CLIPS: Mapping[str, Any] = {
    **dict(seeds="tuning", cases=len(SCENARIOS_TRIED), seconds=12.0, frames_per_s=5.0),
    **dict(most_frames=120, rows=256, detector_mm=480.0, voxel_mm=3.0),
}
TRAINING = StudySpec(name="group", seed=2020)  # whose tumours give the search its reach
TRAINED = 40


def tuning_clips(names: Sequence[str] = SCENARIOS_TRIED) -> list[Clip]:
    """Returns case n of the n-th scenario, rendered here."""
    made = (
        scenario_clips(name, SCENARIOS[name], ConfigDict(CLIPS), indices=[number])
        for number, name in enumerate(names)
    )
    return [next(iter(clips)).clip for clips in made]


def training_paths_mm(count: int = TRAINED) -> np.ndarray:
    """Returns where the tumours of training cases move, `[N, T, 3]` mm as in `Clip`."""
    cases = (study_case(TRAINING, "train", i).case for i in range(count))
    paths = [tumor_path_mm(c.tumor, c.breathing, c.time_s, c.anatomy) for c in cases]
    return np.stack([np.asarray(lps_to_iec(path)) for path in paths])


def main(names: Sequence[str]) -> None:
    """Prints every trial of the trackers named, or of all.

    Args:
        names: of `GRIDS`.
    """
    clips, arrays = tuning_clips(), {"centre_mm": training_paths_mm()}
    for name in names or GRIDS:
        build, settings = GRIDS[name]
        for trial in tune(functools.partial(build, arrays), settings, clips):
            words = ", ".join(f"{key} {value}" for key, value in trial.setting.items())
            errors = f"{trial.median_mm:.2f} {trial.p95_mm:.2f} mm"
            print(f"{name}: {errors}; {words}", flush=True)


Settings = Sequence[Mapping[str, Any]]
GRIDS: Mapping[str, tuple[Callable[..., Tracker], Settings]] = {
    "template_fixed": (TemplateTracker.fit, template.SETTINGS),
    "template_updated": (TemplateTracker.fit, template.UPDATED_SETTINGS),
    "flow_reference": (lambda _, **s: FlowTracker(**s), flow.SETTINGS),
    "flow_successive": (
        lambda _, **s: FlowTracker(mode="successive", **s),
        flow.SETTINGS,
    ),
    "flow_contour": (lambda _, **s: FlowContourTracker(**s), flow_contour.SETTINGS),
}

if __name__ == "__main__":
    main(sys.argv[1:])
