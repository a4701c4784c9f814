"""Choice of a tracker's settings on training clips, with the number of trials.

    python -m fluoro_jax.tracking.baselines.tune

prints every setting of the last grid of the trackers that are given frame 0
alone, with its errors on training cases of the group study (docs/rivals.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import px_to_iso_mm
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.studies.render import render_case
from fluoro_jax.tracking.baselines import flow, flow_contour, template
from fluoro_jax.tracking.baselines.flow import FlowTracker
from fluoro_jax.tracking.baselines.flow_contour import FlowContourTracker
from fluoro_jax.tracking.baselines.template import TemplateTracker
from fluoro_jax.tracking.tracker import Tracker, track_clip

MISSED_MM = 50.0  # an empty prediction counts as an error of so much


@dataclass(frozen=True)
class Trial:
    """One setting and its errors on the training clips, mm in the isocentre plane.

    Attributes:
        setting: arguments of the tracker.
        median_mm: over all frames.
        p95_mm: likewise.
    """

    setting: Mapping[str, Any]
    median_mm: float
    p95_mm: float


def errors_mm(tracker: Tracker, clip: Clip) -> np.ndarray:
    """Returns the distance of every answer from the truth, `[T]` mm.

    Args:
        tracker: any; it is given frame 0 and its mask.
        clip: with mask and centroid_px.

    Returns:
        In the isocentre plane; an empty prediction counts as `MISSED_MM`.
    """
    assert clip.mask is not None and clip.centroid_px is not None
    reference = (np.asarray(clip.frames[0]), np.asarray(clip.mask[0]))
    tracks = track_clip(tracker, clip, reference)
    away = np.stack([t.centroid_px for t in tracks]) - np.asarray(clip.centroid_px)
    distance = np.linalg.norm(np.asarray(px_to_iso_mm(clip.geometry, away)), axis=1)
    return np.where(np.isfinite(distance), distance, MISSED_MM)


def tune(
    build: Callable[..., Tracker],
    settings: Sequence[Mapping[str, Any]],
    clips: Sequence[Clip],
) -> list[Trial]:
    """Tries every setting on the same clips.

    Args:
        build: makes a tracker of a setting.
        settings: keyword arguments of `build`, one a trial.
        clips: training clips with their truth; never validation or test clips.

    Returns:
        One trial a setting, the least mean of median and 95th percentile first; as
        many as were tried.
    """
    trials = []
    for setting in settings:
        errors = np.concatenate([errors_mm(build(**setting), clip) for clip in clips])
        median, high = np.percentile(errors, (50.0, 95.0))
        trials.append(Trial(setting, float(median), float(high)))
    return sorted(trials, key=lambda trial: trial.median_mm + trial.p95_mm)


def training_clips(count: int = 8) -> list[Clip]:
    """Returns training cases of the group study, 128 x 128 pixels, rendered here."""
    spec = StudySpec(rows=128, cols=128, voxel_mm=4.0)
    cases = [study_case(spec, "train", index) for index in range(count)]
    return [render_case(case, spec) for case in cases]


def main() -> None:
    """Prints every trial of every tracker that is given frame 0 alone."""
    clips = training_clips()
    arrays = {"centre_mm": np.stack([np.asarray(clip.centre_mm) for clip in clips])}
    for name, (build, settings) in GRIDS.items():
        for trial in tune(functools.partial(build, arrays), settings, clips):
            words = ", ".join(f"{key} {value}" for key, value in trial.setting.items())
            print(f"{name}: {trial.median_mm:.2f} {trial.p95_mm:.2f} mm; {words}")


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
    main()
