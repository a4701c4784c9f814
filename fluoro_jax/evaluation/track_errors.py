"""Errors of one clip's track against a truth, in the words of tracking QA."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.tracks import TrackTable

WITHIN_MM = (1.0, 2.0, 3.0, 5.0)
MISSED_MM = 10.0  # a frame farther off, or without an answer, is missed
AXES = ("vertical", "horizontal")


def compare(
    track: TrackTable, truth: TrackTable, *, window_mm: float = 3.0
) -> dict[str, Any]:
    """Returns every measure of a track, ready for JSON; None where it has no value.

    The truth is read at the track's times, linearly between its own; frames outside of
    its time, or where it says nothing, are left out and counted.

    Args:
        track: what is judged.
        truth: what it is judged by: a trace, or the track of another tracker.
        window_mm: half width of the gating window.

    Returns:
        frames, left_out, missed_pct; for each of vertical (superior) and horizontal
        (right of image) bias, sd, mae, rmse, p5, p95, max, all mm, and slope: by how
        much the error grows with the position (Bland-Altman; -0.1 is a tenth of the
        amplitude lost); distance (mean, median, p95, p99 mm), within_pct, gating.

    Raises:
        UserError: no time in common, or no window.
    """
    if not window_mm > 0.0:
        refuse(
            f"a gating window of {window_mm:g} mm",
            "more than 0 mm",
            "the beam is on within it",
            "--window-mm=3",
        )
    expected = _at(truth, track.time_s)
    known = np.isfinite(expected).all(axis=1)
    if not known.any():
        refuse(
            f"a track of {track.time_s[0]:g} to {track.time_s[-1]:g} s, a truth of "
            f"{truth.time_s[0]:g} to {truth.time_s[-1]:g} s",
            "times that overlap, and a truth with positions there",
            "errors are differences at one time",
            "shift the truth's time_s to the clip's",
        )
    expected, found = expected[known], track.place_mm[known]
    error = found - expected
    distance = np.linalg.norm(error, axis=1)
    answered = np.isfinite(distance)
    far = ~answered | (distance > MISSED_MM)
    axes = {
        name: _axis(error[answered, i], expected[answered, i])
        for i, name in enumerate(AXES)
    }
    close = np.where(answered, distance, np.inf)
    return {
        "frames": int(known.sum()),
        "left_out": int((~known).sum()),
        "without_answer_pct": _share(~answered),
        "missed_pct": _share(far),
        **axes,
        "distance_mm": _spread(distance[answered]),
        "within_pct": {f"{mm:g}_mm": _share(close <= mm) for mm in WITHIN_MM},
        "gating": gating(expected, found, track.time_s[known], window_mm),
    }


def error_mm(track: TrackTable, truth: TrackTable) -> tuple[np.ndarray, np.ndarray]:
    """Returns error and true place at the track's times, each `[T, 2]` mm.

    (superior, right of image); NaN without an answer, or without a truth.
    """
    expected = _at(truth, track.time_s)
    return track.place_mm - expected, expected


def _at(truth: TrackTable, time_s: np.ndarray) -> np.ndarray:
    """Returns the truth at times `[T]`: `[T, 2]` mm, NaN outside of it."""
    read = lambda values: np.interp(
        time_s, truth.time_s, values, left=np.nan, right=np.nan
    )
    return np.stack([read(truth.place_mm[:, i]) for i in range(2)], axis=1)


def _axis(error: np.ndarray, place: np.ndarray) -> dict[str, float | None]:
    if not error.size:
        return dict.fromkeys(("bias", "sd", "mae", "rmse", "p5", "p95", "max", "slope"))
    spread = float(np.var(place))
    cross = float(np.mean((place - place.mean()) * (error - error.mean())))
    return {
        "bias": float(error.mean()),
        "sd": float(error.std(ddof=1)) if error.size > 1 else None,
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "p5": float(np.percentile(error, 5.0)),
        "p95": float(np.percentile(error, 95.0)),
        "max": float(np.abs(error).max()),
        "slope": cross / spread if spread > 0.0 else None,
    }


def _spread(distance: np.ndarray) -> dict[str, float | None]:
    if not distance.size:
        return dict.fromkeys(("mean", "median", "p95", "p99"))
    return {
        "mean": float(distance.mean()),
        "median": float(np.median(distance)),
        "p95": float(np.percentile(distance, 95.0)),
        "p99": float(np.percentile(distance, 99.0)),
    }


def gating(
    expected: np.ndarray, found: np.ndarray, time_s: np.ndarray, window_mm: float
) -> dict[str, float | None]:
    """Returns what a beam would do that is on within the window about the middle.

    The window's middle is the median of the truth: where the tumour is most of the
    time. The beam is on where the track lies within, off where nothing was found.

    Args:
        expected: `[T, 2]` true places, mm.
        found: `[T, 2]` tracked places, mm; NaN where nothing was found.
        time_s: `[T]` s.
        window_mm: half width of the window.
    """
    middle = np.median(expected, axis=0)
    off = np.linalg.norm(expected - middle, axis=1)
    wanted = off <= window_mm
    beam = np.linalg.norm(found - middle, axis=1) <= window_mm  # NaN: off
    minutes = float(time_s[-1] - time_s[0]) / 60.0
    switches = int(np.count_nonzero(np.diff(beam.astype(int))))
    return {
        "window_mm": window_mm,
        "duty_cycle_pct": _share(beam),
        "ideal_duty_cycle_pct": _share(wanted),
        "false_beam_on_pct": _share(~wanted[beam]) if beam.any() else None,
        "missed_beam_pct": _share(~beam[wanted]) if wanted.any() else None,
        "switches_per_min": switches / minutes if minutes > 0.0 else None,
        "beam_on_p95_mm": float(np.percentile(off[beam], 95.0)) if beam.any() else None,
    }


def _share(flags: np.ndarray) -> float:
    return 100.0 * float(np.mean(flags))
