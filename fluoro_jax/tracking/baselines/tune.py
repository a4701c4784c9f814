"""Choice of a tracker's settings on clips that no table is of, with all its trials.

`experiments/compare/tune_rivals.py` and `tune_learned.py` print them (docs/rivals.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import px_to_iso_mm
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.studies.render import render_case
from fluoro_jax.tracking.tracker import Tracker, track_clip

MISSED_MM = 50.0  # an empty prediction counts as an error of so much


@dataclass(frozen=True)
class Trial:
    """One setting and its errors on the training clips, mm in the isocentre plane.

    Attributes:
        setting: arguments of the tracker.
        median_mm: over all frames but frame 0, which the tracker is shown.
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


def try_setting(
    setting: Mapping[str, Any], trackers: Iterable[tuple[Tracker, Clip]]
) -> Trial:
    """Returns the errors of one setting, of the frames of all clips together.

    Args:
        setting: of the trackers.
        trackers: each with the clip that it follows.
    """
    each = [errors_mm(tracker, clip)[1:] for tracker, clip in trackers]
    median, high = np.percentile(np.concatenate(each), (50.0, 95.0))
    return Trial(setting, float(median), float(high))


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
    trials = [
        try_setting(setting, ((build(**setting), clip) for clip in clips))
        for setting in settings
    ]
    return sorted(trials, key=lambda trial: trial.median_mm + trial.p95_mm)


def training_clips(count: int = 8) -> list[Clip]:
    """Returns training cases of the group study, 128 x 128 pixels, rendered here."""
    spec = StudySpec(rows=128, cols=128, voxel_mm=4.0)
    cases = [study_case(spec, "train", index) for index in range(count)]
    return [render_case(case, spec) for case in cases]
