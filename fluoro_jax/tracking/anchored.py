"""Moves the outline given for frame 0 along another tracker's answers.

What the outline tells is no longer asked of the images: the tumour's shape, and where
it was in frame 0. A tumour that turns or changes its outline keeps that of frame 0.

With a template beside it the other tracker guards: the template is exact to tenths of
a millimetre while it keeps the tumour, and may slide onto a rib or vessel that moves
otherwise; the other tracker knows tumours, and may answer another place from the first
frame on, which the outline shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.metrics import centroid_px, iou
from fluoro_jax.tracking.baselines.matching import at_place
from fluoro_jax.tracking.baselines.shape import place_outline
from fluoro_jax.tracking.baselines.template import UPDATED, TemplateTracker
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.tracker import OPTIONAL, Tracker, make_track

# Further off the other tracker follows something else, whose place says nothing.
SAME_MM = 10.0
# Ours, chosen on validation clips and one real CT (docs/riding.md).
APART_MM = 3.0  # template and other tracker, from where one of them is wrong
KNOWN_IOU = 0.5  # of the other tracker's answer in frame 0 with the outline
SEARCH_MM = (35.0, 8.0)  # by the template, from frame to frame: the deepest breaths


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
        at_px: `[2]` the last place of the inner tracker, with its offset.
        share: as in the tracker.
        threshold: as in the tracker.
        template: state of the template, if there is one.
        last_px: `[2]` the last answer of both together.
        matched: its answers to frames that the inner tracker has not answered yet.
        known: the inner tracker's answer in frame 0 was the outlined tumour.
    """

    inner: Any
    geometry: Geometry
    outline: np.ndarray
    start_px: np.ndarray
    offset_px: np.ndarray | None
    at_px: np.ndarray
    share: float
    threshold: float
    last_px: np.ndarray
    template: Any = None
    matched: tuple[Track, ...] = ()
    known: bool = False


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

    With a template the outline is at the template's place, except in frames in which
    the two are more than `APART_MM` apart, or the template has left the frame, and the
    inner tracker's answer to frame 0 was the outlined tumour (`KNOWN_IOU`). An answer
    there that is much smaller than the outline counts as something else, even at its
    middle. The confidence is the inner tracker's where it knows the tumour and
    answers, else the template's. The status is "low_confidence" unless both agree. A
    template that has lost the tumour is not brought back to it.

    Attributes:
        inner: any tracker; is given the reference too.
        share: of the offset in frame 0 that is corrected. 1 takes it for the same in
            all frames, 0 for an error of frame 0 alone.
        template: a tracker that answers at once, as `beside` returns; None for none.
        threshold: probability from which a pixel of the inner tracker is tumour.
    """

    inner: Tracker
    share: float = 1.0
    template: Tracker | None = None
    threshold: float = 0.5

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
        given: Any = dict(periodic=periodic, domain=domain)
        inner = self.inner.init(geometry, reference, **given)
        outline = np.asarray(reference[1], np.float32)
        state = _before_first(inner, geometry, outline, self.share, self.threshold)
        if self.template is None:
            return state
        beside = self.template.init(geometry, reference, **given)
        return replace(state, template=beside)

    def step(
        self, state: AnchoredState, frame: np.ndarray, time_s: float
    ) -> tuple[AnchoredState, Track | None]:
        """See `Tracker.step`."""
        inner, track = self.inner.step(state.inner, frame, time_s)
        state = replace(state, inner=inner)
        if self.template is not None:
            beside, match = self.template.step(state.template, frame, time_s)
            assert match is not None
            state = replace(state, template=beside, matched=(*state.matched, match))
        return (state, None) if track is None else _moved(state, track)

    def flush(self, state: AnchoredState) -> list[Track]:
        """See `Tracker.flush`."""
        return _all_moved(state, self.inner.flush(state.inner))


def beside() -> TemplateTracker:
    """Returns the template that moves an outline beside another tracker."""
    return TemplateTracker(search_mm=SEARCH_MM, **UPDATED)


def anchor(
    tracks: Iterable[Track],
    outline: np.ndarray,
    geometry: Geometry,
    share: float,
    *,
    matched: Iterable[Track] = (),
    threshold: float = 0.5,
) -> list[Track]:
    """Moves an outline along answers that are there already; see `AnchoredTracker`.

    Args:
        tracks: in the order of the frames, from frame 0 on.
        outline: `[H, W]` mask of frame 0, 0 or 1, in the tracks' pixels.
        geometry: the view.
        share: of the offset in frame 0 that is corrected.
        matched: the template's answers to the same frames, or none.
        threshold: probability from which a pixel of the tracks is tumour.

    Returns:
        One a track.

    Raises:
        ValueError: if the template's answers are not to the same frames.
    """
    tracks, matched = list(tracks), tuple(matched)
    frames = [[one.frame for one in answers] for answers in (tracks, matched)]
    if matched and frames[0] != frames[1]:
        raise ValueError(f"tracks of frames {frames[0]}, matched of {frames[1]}")
    outline = np.asarray(outline, np.float32)
    state = _before_first(None, geometry, outline, share, threshold)
    return _all_moved(replace(state, matched=matched), tracks)


def _before_first(
    inner: Any,
    geometry: Geometry,
    outline: np.ndarray,
    share: float,
    threshold: float,
) -> AnchoredState:
    at_px = np.asarray(centroid_px(outline))
    given = (inner, geometry, outline, at_px, None, at_px, share, threshold)
    return AnchoredState(*given, last_px=at_px)


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
    if state.matched:
        return _guarded(state, track)
    status = "held" if track.status == "missed" else track.status
    return state, _at(state, track, state.at_px, track.confidence, status)


def _guarded(state: AnchoredState, track: Track) -> tuple[AnchoredState, Track]:
    """As `_moved`, with the template's answer for the frame: one of the two places."""
    match, *later = state.matched
    state = replace(state, matched=tuple(later))
    if track.frame == 0:
        mask = np.asarray(track.probability) >= state.threshold
        known = bool(iou(mask, state.outline > 0.0) >= KNOWN_IOU)
        state = replace(state, known=known)
    answered = state.known and track.status not in ("missed", "held")
    seen_px = np.asarray(match.centroid_px, float) if track.frame else state.start_px
    seen = bool(np.isfinite(seen_px).all())  # not where the template left the frame
    away_mm = (state.at_px - seen_px) * np.array(iso_pixel_mm(state.geometry))
    agree = answered and seen and bool(np.linalg.norm(away_mm) <= APART_MM)
    if answered and not agree:
        place_px, sure = state.at_px, track
    elif seen:
        place_px, sure = seen_px, track if answered else match
    else:
        place_px, sure = state.last_px, match
    status = track.status if agree else "low_confidence"
    answer = _at(state, track, place_px, sure.confidence, status)
    state = replace(state, last_px=place_px)
    if answer.status == "missed":
        return state, answer
    # Not the centroid of its pixels: a template's place is finer than they are.
    placed = at_place(answer, place_px, state.geometry, confidence=sure.confidence)
    return state, replace(placed, status=status)


def _at(
    state: AnchoredState,
    track: Track,
    place_px: np.ndarray,
    confidence: float,
    status: str,
) -> Track:
    """The outline at a place, as the answer for the frame of `track`."""
    outline = place_outline(state.outline, place_px)
    answer = make_track(track.frame, outline, state.geometry)
    if answer.status == "missed":  # moved out of the frame
        return answer
    return replace(answer, confidence=confidence, status=status)


def _offset_px(state: AnchoredState, found_px: np.ndarray, frame: int) -> np.ndarray:
    """What is added to the inner tracker's places, from its first one."""
    offset_px = state.start_px - found_px
    far_mm = np.linalg.norm(offset_px * np.array(iso_pixel_mm(state.geometry)))
    return state.share * offset_px if frame == 0 and far_mm <= SAME_MM else offset_px
