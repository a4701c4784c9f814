"""Tries settings of the rivals that fit a displacement field to every frame.

    python -m fluoro_jax.experiments.compare.tune_fields [TRACKER ...]

prints every setting of the trackers named, or of both, with its errors on the first
frames of two tuning cases of two scenarios, frame 0 not scored (docs/rivals.md).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from fluoro_jax.clip import Clip
from fluoro_jax.experiments.compare.clips import scenario_clips
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.tune_rivals import CLIPS
from fluoro_jax.tracking.baselines.bspline_projection import BSplineTracker
from fluoro_jax.tracking.baselines.freeform import FreeformTracker
from fluoro_jax.tracking.baselines.phases import PatientPhases, phases_of_case
from fluoro_jax.tracking.baselines.tune import try_setting
from fluoro_jax.tracking.tracker import Tracker

SCENARIOS_TRIED, CASES, FRAMES = ("visible", "clinic"), (0, 1), 24
Patient = tuple[Clip, PatientPhases]
GRIDS: Mapping[str, tuple[Callable[..., Tracker], Sequence[Mapping[str, Any]]]] = {
    "pca_projection_freeform": (
        FreeformTracker,
        [
            dict(node_mm=node_mm, weight=weight)
            for node_mm, weight in (
                *((20.0, 1.0), (20.0, 0.1), (20.0, 0.01)),
                *((30.0, 0.01), (30.0, 0.001)),
            )
        ],
    ),
    "bspline_projection": (
        BSplineTracker,
        [
            dict(knots=knots, weight=weight, steps=steps)
            for knots, weight, steps in (
                *((5, 1.0, 40), (6, 1.0, 40), (8, 10.0, 40), (8, 1.0, 20)),
                *((8, 1.0, 40), (8, 0.1, 40), (12, 1.0, 40), (12, 0.1, 40)),
                (16, 0.1, 40),
            )
        ],
    ),
}


def patients() -> list[Patient]:
    """Returns the beginnings of the tuning clips, and each patient's planning scan."""
    found = []
    for name in SCENARIOS_TRIED:
        clips = ConfigDict(CLIPS)
        for given in scenario_clips(name, SCENARIOS[name], clips, indices=CASES):
            assert given.planning is not None  # simulated patients have one
            phases = phases_of_case(given.planning, given.clip.geometry)
            found.append((beginning(given.clip), phases))
    return found


def beginning(clip: Clip) -> Clip:
    """Returns the first `FRAMES` of a clip."""
    parts = ("frames", "time_s", "mask", "centroid_px", "centre_mm")
    cut = {name: getattr(clip, name)[:FRAMES] for name in parts}
    return dataclasses.replace(clip, **cut)


def main(names: Sequence[str]) -> None:
    """Prints every trial of the trackers named, or of both.

    Args:
        names: of `GRIDS`.
    """
    some = patients()
    for name in names or GRIDS:
        make, settings = GRIDS[name]
        for setting in settings:
            trackers = ((make(phases, **setting), clip) for clip, phases in some)
            trial = try_setting(setting, trackers)
            words = ", ".join(f"{key} {value:g}" for key, value in setting.items())
            errors = f"{trial.median_mm:.2f} {trial.p95_mm:.2f} mm"
            print(f"{name}: {errors}; {words}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
