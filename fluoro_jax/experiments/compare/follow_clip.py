"""Tracks one clip and times every frame, whatever the tracker."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.experiments.compare.clips import ScenarioClip
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.metrics import half_diagonal
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.follow import Plan, make_plan
from fluoro_jax.tracking.tracker import Tracker, check_for

# The ms of computation are None for an answer that is owed after the last frame.
Answers = Iterator[tuple[Track | None, float | None]]
DIGITS = 3  # of a millimetre and of a millisecond in records


def track_case(
    tracker: Tracker, given: ScenarioClip, *, frame0: bool, told_s: float = 0.0
) -> dict[str, Any]:
    """Returns what a tracker answered on one clip, ready for JSON.

    A tracker that names what it was trained on sees the clip, and frame 0's mask if it
    is shown that, resampled to its pixels and frame spacing (`tracking.follow`).

    Args:
        tracker: any.
        given: the clip; its truth is not shown.
        frame0: show frame 0 with its true mask.
        told_s: seconds after frame 0 in which the tracker knows true places.

    Returns:
        dict of lists over the T frames: time_s; tracked_mm (superior, right of image;
        None for an empty prediction); distance_mm to the truth in the isocentre plane,
        half the frame's diagonal for an empty prediction, None where the frame shows
        no tumour, and for `told_s`; empty;
        compute_ms (of every step, resampling included; answers after the last frame
        cost no step). And truth_time_s, truth_mm of the scenario.

    Raises:
        UserError: a clip that the tracker refuses.
    """
    tracks, compute_ms = follow_case(tracker, given, frame0=frame0)
    return _score(tracks, compute_ms, given, told_s)


def follow_case(
    tracker: Tracker, given: ScenarioClip, *, frame0: bool
) -> tuple[list[Track], list[float]]:
    """Returns the answer for every frame, and the ms of every step.

    Arguments and errors as in `track_case`.
    """
    clip = given.clip
    with warnings.catch_warnings():
        # That frames are unlike those of training is the point of most scenarios.
        warnings.simplefilter("ignore")
        # Of the truth nothing but the mask of frame 0 is passed on.
        first = np.asarray(clip.frames)[0], np.asarray(clip.mask)[0]
        reference = first if frame0 else None
        if hasattr(tracker, "learned"):
            plan = make_plan(tracker, clip, reference)
            plan.warm_up()
            answers = _planned(plan, np.asarray(clip.frames))
        else:
            answers = _direct(tracker, clip, reference)
        tracks: dict[int, Track] = {}
        compute_ms = []
        for track, spent_ms in answers:
            if spent_ms is not None:
                compute_ms.append(spent_ms)
            if track is not None:
                tracks[track.frame] = track
    return [tracks[t] for t in range(len(clip.frames))], compute_ms


def _direct(tracker: Tracker, clip: Clip, reference: Reference | None) -> Answers:
    """Yields answers with the ms of computation, one frame after another."""
    hidden = dataclasses.replace(clip, mask=None, centroid_px=None, centre_mm=None)
    check_for(tracker, hidden, reference)
    frames, times = np.asarray(clip.frames), np.asarray(clip.time_s)
    begin = lambda: tracker.init(clip.geometry, reference, domain=clip.domain)
    # Compiled on a state that is thrown away, as in `follow.Plan.warm_up`.
    tracker.step(begin(), frames[0], float(times[0]))
    state = begin()
    for frame, time_s in zip(frames, times, strict=True):
        start = time.perf_counter()
        state, track = tracker.step(state, frame, float(time_s))
        yield track, 1e3 * (time.perf_counter() - start)
    for track in tracker.flush(state):
        yield track, None


def _planned(plan: Plan, frames: np.ndarray) -> Answers:
    """Yields the answers of a plan; the ms are of resampling, step and mapping back.

    Args:
        plan: of the clip.
        frames: `[T, H, W]` of the clip, in its own pixels.
    """
    answers = plan.run()
    for part in plan.parts:
        for index in part:
            start = time.perf_counter()
            # The plan has resampled the whole clip to check it; a stream does so frame
            # by frame, and that is what is timed.
            plan.resampler.frames(frames[index][None])
            track, _ = next(answers)
            yield track, 1e3 * (time.perf_counter() - start)
        for _ in range(min(plan.tracker.lookahead_frames, len(part))):
            yield next(answers)[0], None


def distances_mm(tracks: list[Track], clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances to the truth and which answers are empty, each `[T]`.

    Distances are mm in the isocentre plane: half the frame's diagonal for an empty
    prediction, NaN where the frame shows no tumour.
    """
    pitch = np.array(iso_pixel_mm(clip.geometry))
    places_px = np.stack([np.asarray(t.centroid_px, float) for t in tracks])
    empty = np.asarray(~np.isfinite(places_px).all(axis=1))
    miss = (places_px - np.asarray(clip.centroid_px)) * pitch
    most_mm = half_diagonal(clip.frames.shape[-2:], (pitch[0], pitch[1]))
    distance_mm = np.where(empty, most_mm, np.hypot(*miss.T))
    shown = np.asarray(clip.mask).any(axis=(1, 2))
    return np.where(shown, distance_mm, np.nan), empty


def _score(
    tracks: list[Track], compute_ms: list[float], given: ScenarioClip, told_s: float
) -> dict[str, Any]:
    distance_mm, empty = distances_mm(tracks, given.clip)
    time_s = np.asarray(given.clip.time_s)
    # Frame 0 counts as elsewhere: `summary` leaves it out for all.
    # A millisecond: times are float32.
    told = (time_s > time_s[0]) & (time_s - time_s[0] <= told_s + 1e-3)
    distance_mm = np.where(told, np.nan, distance_mm)
    tracked_mm = np.stack([np.asarray(t.centroid_iso_mm, float) for t in tracks])
    return {
        "time_s": _rounded(time_s, 6),
        "tracked_mm": _rounded(tracked_mm),
        "distance_mm": _rounded(distance_mm),
        "empty": empty.tolist(),
        "compute_ms": _rounded(compute_ms),
        "truth_time_s": _rounded(given.truth_time_s, 6),
        "truth_mm": _rounded(given.truth_mm),
    }


def _rounded(values: Any, digits: int = DIGITS) -> Any:
    """Returns nested lists of rounded numbers, None for what is not finite."""
    values = np.asarray(values, float)
    if values.ndim > 1:
        return [_rounded(row, digits) for row in values]
    return [round(float(v), digits) if np.isfinite(v) else None for v in values]
