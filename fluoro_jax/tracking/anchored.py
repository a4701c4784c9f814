"""Moves the outline given for frame 0 along another tracker's displacement.

What the outline tells is no longer asked of the images: the tumour's shape, and how far
the other tracker's centroid is off. Only the motion since frame 0 is. A tumour that
turns or changes its outline keeps that of frame 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import place_outline
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.tracker import OPTIONAL, Tracker, make_track


@dataclass(frozen=True)
class AnchoredState:
    """What frame 0 gave, and where the inner tracker was.

    Attributes:
        inner: state of the inner tracker.
        geometry: the view.
        outline: `[H, W]` true mask of frame 0, 0 or 1.
        start_px: `[2]` its centroid.
        first_px: `[2]` the inner tracker's first place; None before one is found.
        at_px: `[2]` the last answer.
    """

    inner: Any
    geometry: Geometry
    outline: np.ndarray
    start_px: np.ndarray
    first_px: np.ndarray | None
    at_px: np.ndarray


@dataclass(frozen=True)
class AnchoredTracker:
    """Moves the outline of frame 0 as the inner tracker's answer has moved.

    In frame t the outline stands at its own centroid plus the displacement of the inner
    tracker's centroid since its first answer that is not empty. Where that answer is
    empty the outline is held where it was last. Confidence and status are otherwise the
    inner tracker's.

    Attributes:
        inner: any tracker; is given the reference too.
    """

    inner: Tracker

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
        start_px = np.asarray(centroid_px(outline))
        return AnchoredState(inner, geometry, outline, start_px, None, start_px)

    def step(
        self, state: AnchoredState, frame: np.ndarray, time_s: float
    ) -> tuple[AnchoredState, Track | None]:
        """See `Tracker.step`."""
        inner, track = self.inner.step(state.inner, frame, time_s)
        state = replace(state, inner=inner)
        return (state, None) if track is None else _moved(state, track)

    def flush(self, state: AnchoredState) -> list[Track]:
        """See `Tracker.flush`."""
        tracks = []
        for track in self.inner.flush(state.inner):
            state, answer = _moved(state, track)
            tracks.append(answer)
        return tracks


def _moved(state: AnchoredState, track: Track) -> tuple[AnchoredState, Track]:
    """Returns the state and answer after the inner tracker's answer for a frame."""
    found_px = np.asarray(track.centroid_px, float)
    if np.isfinite(found_px).all():
        first_px = found_px if state.first_px is None else state.first_px
        at_px = state.start_px + found_px - first_px
        state = replace(state, first_px=first_px, at_px=at_px)
    outline = place_outline(state.outline, state.at_px)
    answer = make_track(track.frame, outline, state.geometry)
    if answer.status == "missed":  # moved out of the frame
        return state, answer
    status = "held" if track.status == "missed" else track.status
    return state, replace(answer, confidence=track.confidence, status=status)
