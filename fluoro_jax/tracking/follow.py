"""Tracks a clip of any pixel size and frame spacing with a tracker of its own.

`track_clip` refuses a clip that is unlike those a network was trained on; this module
resamples it first (`resample`) and maps every answer back to the clip's own pixels.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.tracking.checks import Reference, check_clip
from fluoro_jax.tracking.resample import (
    Resampler,
    interleave,
    is_near,
    make_resampler,
    to_view,
)
from fluoro_jax.tracking.tracker import check_for, make_track


@dataclass(frozen=True)
class Plan:
    """A clip made ready for a tracker.

    Attributes:
        tracker: with `learned`, as a `NetworkTracker` has.
        resampler: between the clip's pixels and the tracker's.
        parts: frame indices of each sequence, from `interleave`.
        clips: the sequences, in the tracker's pixels.
        reference: frame 0 and its true mask in the tracker's pixels, or None. Every
            sequence is given it; the others begin within a frame spacing of it.
    """

    tracker: Any
    resampler: Resampler
    parts: list[np.ndarray]
    clips: list[Clip]
    reference: Reference | None = None

    @property
    def steps(self) -> int:
        """Returns the number of pairs that `run` yields."""
        behind = self.tracker.lookahead_frames
        return sum(len(part) + min(behind, len(part)) for part in self.parts)

    def warm_up(self) -> float:
        """Compiles the tracker on the first frame; returns the seconds it took."""
        begun = time.perf_counter()
        clip = self.clips[0]
        # The state is thrown away: `run` begins anew, and what compiling took is in no
        # frame's latency.
        state = self.begin(0)
        frame = np.asarray(clip.frames)[0]
        state, _ = self.tracker.step(state, frame, float(clip.time_s[0]))
        self.tracker.flush(state)
        # The position in mm is computed only where a tumour was found.
        make_track(0, np.ones_like(frame), clip.geometry)
        return time.perf_counter() - begun

    def run(self) -> Iterator[tuple[Track | None, float]]:
        """Tracks all sequences, one after the other.

        Returns:
            An iterator; the states that the sequences begin with are made at the call.
            It yields one pair a frame given, and one a late answer: (the answer for
            one frame of the clip in the clip's own pixels, or None if none is new; the
            time in ms from that frame's acquisition to its answer: the wait for later
            frames and the computation).
        """
        # Here and not at the first frame, whose latency they are not part of.
        return self._answers([self.begin(number) for number in range(len(self.clips))])

    def begin(self, number: int, *, again: bool = False) -> Any:
        """Returns the tracker's state before the first frame of a sequence.

        Args:
            number: of the sequence.
            again: somewhere within it, where the reference tells nothing any more.
        """
        clip, reference = self.clips[number], None if again else self.reference
        state = self.tracker.init(
            clip.geometry, reference, periodic=clip.periodic, domain=clip.domain
        )
        told_s = float(clip.time_s[0] - self.clips[0].time_s[0])
        tell = getattr(self.tracker, "told_before", None)
        if reference is None or tell is None or told_s == 0.0:
            return state
        return tell(state, told_s)

    def _answers(self, states: list[Any]) -> Iterator[tuple[Track | None, float]]:
        answered: set[int] = set()
        for part, clip, state in zip(self.parts, self.clips, states, strict=True):
            for track, delay_ms in _timed(self.tracker, clip, state):
                frame = -1 if track is None else int(part[track.frame])
                # Sequences share frames where the spacings are no multiples of each
                # other; the first answer stands, so that every frame has exactly one.
                if track is None or frame in answered:
                    yield None, delay_ms
                    continue
                answered.add(frame)
                yield self.resampler.back(track, frame=frame), delay_ms


def make_plan(tracker: Any, clip: Clip, reference: Reference | None = None) -> Plan:
    """Resamples a clip for a tracker and checks it, before anything is tracked.

    Args:
        tracker: with `learned`, as a `NetworkTracker` has.
        clip: any; its truth is left out.
        reference: None, or frame 0 and its true mask.

    Raises:
        UserError: a clip that cannot be tracked; see `check_clip`, `make_resampler`
            and `interleave`.
    """
    clip = dataclasses.replace(clip, mask=None, centroid_px=None, centre_mm=None)
    # Before resampling, which would spread one NaN over a neighbourhood; against what
    # was learned only after it.
    check_clip(clip, None, reference)
    learned = tracker.learned
    times = np.asarray(clip.time_s, float)
    if getattr(tracker, "fills_gaps", False) and is_near(times, learned.frame_s):
        parts = [np.arange(len(times))]
    else:
        parts = interleave(times, learned.frame_s)
    resampler = make_resampler(clip.geometry, learned)
    prepared = to_view(clip, resampler)
    if reference is not None:
        frame, mask = resampler.frames(np.stack(reference))
        # As in `to_view`: masks neither grow nor shrink.
        reference = frame, (mask >= 0.5).astype(np.float32)
    window = getattr(tracker, "window_frames", None)
    clips = []
    for part in parts:
        # The clip is known to be one period, not the sequences that it is split into.
        whole = clip.periodic and len(parts) == 1 and len(part) == window
        one = dataclasses.replace(
            prepared,
            frames=np.asarray(prepared.frames)[part],
            time_s=np.asarray(clip.time_s, float)[part],
            periodic=whole,
        )
        check_for(tracker, one, reference)
        clips.append(one)
    return Plan(tracker, resampler, parts, clips, reference)


def _timed(
    tracker: Any, clip: Clip, state: Any
) -> Iterator[tuple[Track | None, float]]:
    """`track_clip` from a state, answer by answer, with the delay of each in ms."""
    now_s = 0.0
    for frame, now_s in zip(clip.frames, clip.time_s, strict=True):
        start = time.perf_counter()
        state, track = tracker.step(state, np.asarray(frame), float(now_s))
        spent_s = time.perf_counter() - start
        yield track, _delay_ms(track, clip, float(now_s), spent_s)
    start = time.perf_counter()
    owed = tracker.flush(state)
    spent_s = time.perf_counter() - start
    for track in owed:
        yield track, _delay_ms(track, clip, float(now_s), spent_s)


def _delay_ms(track: Track | None, clip: Clip, now_s: float, spent_s: float) -> float:
    if track is None:
        # Nothing was answered: this is the computation alone.
        return 1e3 * spent_s
    return 1e3 * (now_s - float(clip.time_s[track.frame]) + spent_s)
