"""The protocol of every tracker: start, one frame at a time, and what is left over.

A tracker never sees a frame before its turn. One that needs later frames says how many
(`lookahead_frames`) and answers that much later, so causality is a property of the
interface and not of good manners.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, position_iso_mm
from fluoro_jax.metrics import centroid_px

State = Any
Reference = tuple[np.ndarray, np.ndarray]  # frame 0 and its true mask, each [H, W]


@runtime_checkable
class Tracker(Protocol):
    """A network, a baseline, or anything a user writes."""

    @property
    def causal(self) -> bool:
        """True if the answer for frame t uses no frame after t."""
        ...

    @property
    def lookahead_frames(self) -> int:
        """How many frames after t it waits for."""
        ...

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
    ) -> State:
        """A state before the first frame; `periodic`: the clip is one whole period."""
        ...

    def step(
        self, state: State, frame: np.ndarray, time_s: float
    ) -> tuple[State, Track | None]:
        """Takes frame t, `[H, W]`; answers for frame t - lookahead_frames, or None."""
        ...

    def flush(self, state: State) -> list[Track]:
        """After the last frame: the answers still owed, in frame order."""
        ...


def track_clip(
    tracker: Tracker, clip: Clip, reference: Reference | None = None
) -> list[Track]:
    """Feeds a clip frame by frame.

    Args:
        tracker: any `Tracker`; one with `window_frames` is told that the clip is
            periodic only if the period is exactly its window.
        clip: frames `[T, H, W]`; truth in it is not shown to the tracker.
        reference: None, or frame 0 and its true mask.

    Returns:
        One `Track` a frame, in frame order.

    Raises:
        UserError: an empty clip, frames that are not finite, or an empty reference.
    """
    frames, times = np.asarray(clip.frames), np.asarray(clip.time_s)
    _check_clip(frames, times, reference)
    window = getattr(tracker, "window_frames", len(frames))
    periodic = clip.periodic and len(frames) == window
    state = tracker.init(clip.geometry, reference, periodic=periodic)
    tracks = []
    for frame, time_s in zip(frames, times, strict=True):
        state, track = tracker.step(state, frame, float(time_s))
        if track is not None:
            tracks.append(track)
    tracks.extend(tracker.flush(state))
    assert [t.frame for t in tracks] == list(range(len(frames)))
    return tracks


def frame_of_view(frame: np.ndarray, geometry: Geometry) -> np.ndarray:
    """`frame` as float32 `[H, W]`.

    Raises:
        UserError: if it has not the rows and columns of the view.
    """
    frame = np.asarray(frame, np.float32)
    if frame.shape != (geometry.rows, geometry.cols):
        raise UserError(
            f"a frame of shape {frame.shape}",
            needed=f"({geometry.rows}, {geometry.cols}), as the view",
            why="pixels get their millimetres from the view",
            fix="pass the geometry of these frames",
        )
    return frame


def make_track(
    frame: int, probability: np.ndarray, geometry: Geometry, *, threshold: float = 0.5
) -> Track:
    """A `Track` from a probability map `[H, W]`, cut at p >= `threshold`.

    The centroid is that of the cut mask; the confidence is the mean probability inside
    it, and 0 for a lost frame.
    """
    probability = np.asarray(probability, np.float32)
    mask = probability >= threshold
    if not mask.any():
        nowhere = np.full(2, np.nan)
        return Track(frame, nowhere, nowhere, probability, 0.0, "lost")
    middle = centroid_px(mask)
    place = np.asarray(position_iso_mm(geometry, middle))
    return Track(
        frame, middle, place, probability, float(probability[mask].mean()), "ok"
    )


def _check_clip(
    frames: np.ndarray, times: np.ndarray, reference: Reference | None
) -> None:
    if frames.ndim != 3 or len(frames) == 0 or len(times) != len(frames):
        raise UserError(
            f"a clip of shape {frames.shape} with {len(times)} times",
            needed="frames [T, H, W] with T >= 1 and one time a frame",
            why="a tracker is fed one frame at a time",
            fix="check how the clip was read or cut",
        )
    if not np.isfinite(frames).all():
        bad = int(np.argmin(np.isfinite(frames).all(axis=(1, 2))))
        raise UserError(
            f"frame {bad} holds values that are not finite",
            needed="finite numbers in every pixel",
            why="one NaN reaches every pixel of the answer",
            fix="repair or leave out that frame",
        )
    if reference is not None and not np.asarray(reference[1]).any():
        raise UserError(
            "the reference mask is empty",
            needed="frame 0 with the tumour outlined in it",
            why="a tracker given frame 0 starts from the tumour's place in it",
            fix="pass a mask with the tumour, or reference=None",
        )
