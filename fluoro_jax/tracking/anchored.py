"""Moves the outline given for frame 0 along another tracker's answers.

What the outline tells is no longer asked of the images: the tumour's shape, and where
it was in frame 0. A tumour that turns or changes its outline keeps that of frame 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import place_outline
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.tracker import OPTIONAL, Tracker, make_track

# Further off the other tracker follows something else, whose place says nothing.
SAME_MM = 10.0


@dataclass(frozen=True)
class AnchoredState:
    """What frame 0 gave, and where the inner tracker was.

    Attributes:
        inner: state of the inner tracker.
        geometry: the view.
        outline: `[H, W]` true mask of frame 0, 0 or 1.
        start_px: `[2]` its centroid.
        offset_px: `[2]` from the inner tracker's places to those of the outline; None
            before its first answer that is not empty.
        at_px: `[2]` the last answer.
        share: as in the tracker.
    """

    inner: Any
    geometry: Geometry
    outline: np.ndarray
    start_px: np.ndarray
    offset_px: np.ndarray | None
    at_px: np.ndarray
    share: float


@dataclass(frozen=True)
class AnchoredTracker:
    """Moves the outline of frame 0 as the inner tracker's answer has moved.

    Frame 0 is answered by the outline as it was given, any later one by the outline at
    the inner tracker's centroid, corrected by a share of that tracker's offset in frame
    0. It is corrected by the whole offset where this is over `SAME_MM` (in the
    isocentre plane): then only its displacement counts. So it is where its first answer
    comes later, which is taken to be where the outline was. Where it has no answer the
    outline is held where it was last. Confidence and status are otherwise the inner
    tracker's.

    Attributes:
        inner: any tracker; is given the reference too.
        share: of the offset in frame 0 that is corrected. 1 takes it for the same in
            all frames, 0 for an error of frame 0 alone.
    """

    inner: Tracker
    share: float = 1.0

    @property
    def causal(self) -> bool:
        """See `Tracker.causal`."""
        return self.inner.causal

    @property
    def lookahead_frames(self) -> int:
        """See `Tracker.lookahead_frames`."""
        return self.inner.lookahead_frames

    def __getattr__(self, name: str) -> Any:
        if name in OPTIONAL:
            return getattr(self.inner, name)
        raise AttributeError(name)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> AnchoredState:
        """See `Tracker.init`.

        Raises:
            UserError: also without a reference.
        """
        if reference is None:
            raise UserError(
                "no outline of frame 0",
                needed="frame 0 and its mask",
                why="this tracker moves that outline",
                fix="give the reference, or use the inner tracker alone",
            )
        inner = self.inner.init(geometry, reference, periodic=periodic, domain=domain)
        outline = np.asarray(reference[1], np.float32)
        return _before_first(inner, geometry, outline, self.share)

    def step(
        self, state: AnchoredState, frame: np.ndarray, time_s: float
    ) -> tuple[AnchoredState, Track | None]:
        """See `Tracker.step`."""
        inner, track = self.inner.step(state.inner, frame, time_s)
        state = replace(state, inner=inner)
        return (state, None) if track is None else _moved(state, track)

    def flush(self, state: AnchoredState) -> list[Track]:
        """See `Tracker.flush`."""
        return _all_moved(state, self.inner.flush(state.inner))


def anchor(
    tracks: Iterable[Track], outline: np.ndarray, geometry: Geometry, share: float
) -> list[Track]:
    """Moves an outline along answers that are there already; see `AnchoredTracker`.

    Args:
        tracks: in the order of the frames, from frame 0 on.
        outline: `[H, W]` mask of frame 0, 0 or 1, in the tracks' pixels.
        geometry: the view.
        share: of the offset in frame 0 that is corrected.

    Returns:
        One a track.
    """
    state = _before_first(None, geometry, np.asarray(outline, np.float32), share)
    return _all_moved(state, tracks)


def _before_first(
    inner: Any, geometry: Geometry, outline: np.ndarray, share: float
) -> AnchoredState:
    start_px = np.asarray(centroid_px(outline))
    return AnchoredState(inner, geometry, outline, start_px, None, start_px, share)


def _all_moved(state: AnchoredState, tracks: Iterable[Track]) -> list[Track]:
    answers = []
    for track in tracks:
        state, answer = _moved(state, track)
        answers.append(answer)
    return answers


def _moved(state: AnchoredState, track: Track) -> tuple[AnchoredState, Track]:
    """Returns the state and answer after the inner tracker's answer for a frame."""
    found_px = np.asarray(track.centroid_px, float)
    if np.isfinite(found_px).all():
        offset_px = state.offset_px
        if offset_px is None:
            offset_px = _offset_px(state, found_px, track.frame)
        # Frame 0 itself is known, whatever the other tracker said of it.
        at_px = found_px + offset_px if track.frame else state.start_px
        state = replace(state, offset_px=offset_px, at_px=at_px)
    outline = place_outline(state.outline, state.at_px)
    answer = make_track(track.frame, outline, state.geometry)
    if answer.status == "missed":  # moved out of the frame
        return state, answer
    status = "held" if track.status == "missed" else track.status
    return state, replace(answer, confidence=track.confidence, status=status)


def _offset_px(state: AnchoredState, found_px: np.ndarray, frame: int) -> np.ndarray:
    """What is added to the inner tracker's places, from its first one."""
    offset_px = state.start_px - found_px
    far_mm = np.linalg.norm(offset_px * np.array(iso_pixel_mm(state.geometry)))
    return state.share * offset_px if frame == 0 and far_mm <= SAME_MM else offset_px
