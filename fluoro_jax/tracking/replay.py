"""Plays a clip at its frame times against a clock and accounts for every delay.

The chain of one frame, in this order: acquisition begins at the frame's time; the image
is complete after `acquisition_s` and with the tracker after `transfer_s` more; it waits
while the tracker is busy; the tracker computes. A tracker with look-ahead answers for a
frame when later ones are there. The latency of an answer is the time from the beginning
of its frame's acquisition to the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import UserError, refuse
from fluoro_jax.tracking.follow import Plan

PERCENTILES = (50, 95, 99, 100)  # 100 is the largest


class Clock(Protocol):
    """What a replay reads the time from."""

    def now_s(self) -> float:
        """Returns the time in s; only differences count."""
        ...

    def wait_until(self, time_s: float) -> None:
        """Returns at `time_s` or as soon after it as possible."""
        ...


class WallClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """See `Clock.now_s`."""
        return time.perf_counter()

    def wait_until(self, time_s: float) -> None:
        """See `Clock.wait_until`: sleeps."""
        left_s = time_s - time.perf_counter()
        if left_s > 0.0:
            time.sleep(left_s)


@dataclass(frozen=True)
class Chain:
    """What comes before the tracker, and how fast the clip is played.

    Attributes:
        acquisition_s: from a frame's time to its complete image.
        transfer_s: from the complete image to the tracker.
        speed: 1 plays in real time; frames come `speed` times as often.
        drop: while the tracker is busy, only the newest waiting frame is kept; False
            queues all.

    Raises:
        UserError: a time below 0, or a speed of 0 or less.
    """

    acquisition_s: float = 0.0
    transfer_s: float = 0.0
    speed: float = 1.0
    drop: bool = True

    def __post_init__(self) -> None:
        for name in ("acquisition", "transfer"):
            value_s = getattr(self, f"{name}_s")
            if not 0.0 <= value_s < np.inf:
                refuse(
                    f"{name} time of {1e3 * value_s:g} ms",
                    "0 or more",
                    "no image arrives before it was taken",
                    f"--{name}-ms=20",
                )
        if not 0.0 < self.speed < np.inf:
            refuse(
                f"a speed of {self.speed:g}",
                "more than 0",
                "the time between two frames is divided by it",
                "--speed=1",
            )


@dataclass
class Replay:
    """What a replay found; times in s, of the clock that it ran against.

    Attributes:
        frames: frames of the clip.
        dropped: indices of those that the tracker never saw.
        late: indices of those computed after the next frame's arrival (missed
            deadlines); the clip's last frame has the deadline of one more like it.
        restarts: how often the tracker began anew because too many frames in a row were
            dropped.
        unanswered: frames seen whose answer was still owed at the clip's end.
        waiting_s: from arrival to the beginning of the computation, a frame seen.
        compute_s: of each frame seen: resampling, all steps of the tracker, mapping
            back.
        lookahead_s: of each answer: from its frame's arrival to that of the newest
            frame that it needed.
        latency_s: of each answer: from the beginning of its frame's acquisition.
    """

    frames: int
    dropped: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    restarts: int = 0
    unanswered: int = 0
    waiting_s: list[float] = field(default_factory=list)
    compute_s: list[float] = field(default_factory=list)
    lookahead_s: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Returns counts, and p50, p95, p99 and max in ms (None without a value)."""
        answer: dict[str, Any] = {
            "frames": self.frames,
            "seen": len(self.compute_s),
            "answers": len(self.latency_s),
            "dropped": len(self.dropped),
            "missed_deadlines": len(self.late),
            "restarts": self.restarts,
            "unanswered_at_end": self.unanswered,
        }
        for name in ("waiting", "compute", "lookahead", "latency"):
            answer[f"{name}_ms"] = percentiles_ms(getattr(self, f"{name}_s"))
        return answer


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float | None]:
    """Returns p50, p95, p99 and max in ms of times in s; None if there are none.

    >>> percentiles_ms([0.001, 0.002, 0.004])["p50"]
    2.0
    """
    names = [f"p{p}" if p < 100 else "max" for p in PERCENTILES]
    if not values_s:
        return dict.fromkeys(names)
    found = 1e3 * np.percentile(np.asarray(values_s), PERCENTILES)
    return {n: round(float(v), 6) for n, v in zip(names, found, strict=True)}


def replay(
    plan: Plan,
    clip: Clip,
    chain: Chain,
    *,
    clock: Clock,
    answer_fn: Callable[[Track], None] | None = None,
) -> Replay:
    """Plays a clip once; compile the tracker before (`Plan.warm_up`).

    Where the clip has frames more often than the tracker, each of the interleaved
    sequences of the plan has a state of its own, and a frame costs a step of every
    sequence that it belongs to.

    Args:
        plan: of `make_plan(tracker, clip)`.
        clip: the clip as read, frames `[T, H, W]`.
        chain: delays before the tracker, and the policy.
        clock: `WallClock()`, or a simulated one.
        answer_fn: is given every answer, in the clip's own pixels.

    Returns:
        Counts and times.

    Raises:
        UserError: a frame that the tracker refuses for another reason than frames that
            were dropped before it.
    """
    times_s = (np.asarray(clip.time_s, float) - float(clip.time_s[0])) / chain.speed
    arrival_s = times_s + chain.acquisition_s + chain.transfer_s
    run = _Run(plan, clip, Replay(len(times_s)))
    begun_s = clock.now_s()
    # The clip has no frame after the last; the gap before it stands for the next one.
    gap_s = arrival_s[-1] - arrival_s[-2] if len(arrival_s) > 1 else np.inf
    deadline_s = np.append(arrival_s[1:], arrival_s[-1] + gap_s)
    place = 0
    while place < len(arrival_s):
        clock.wait_until(begun_s + arrival_s[place])
        start_s = clock.now_s() - begun_s
        if chain.drop:
            # All that have arrived by now; the newest is kept. A clock may return a
            # rounding error too early.
            newest = int(np.searchsorted(arrival_s, start_s, side="right")) - 1
            run.found.dropped.extend(range(place, newest))
            place = max(place, newest)
        answers = run.step(place)
        end_s = clock.now_s() - begun_s
        run.found.waiting_s.append(max(start_s - arrival_s[place], 0.0))
        run.found.compute_s.append(end_s - start_s)
        if end_s > deadline_s[place]:
            run.found.late.append(place)
        for track in answers:
            run.found.lookahead_s.append(arrival_s[place] - arrival_s[track.frame])
            run.found.latency_s.append(end_s - times_s[track.frame])
            if answer_fn is not None:
                answer_fn(track)
        place += 1
    run.found.unanswered = len(run.seen - run.answered)
    return run.found


class _Run:
    """The tracker's states, one a sequence of the plan.

    Attributes:
        found: what is being filled.
        seen: indices of frames that the tracker was given.
        answered: indices of frames that have an answer.
    """

    def __init__(self, plan: Plan, clip: Clip, found: Replay) -> None:
        self.plan, self.clip, self.found = plan, clip, found
        self.seen: set[int] = set()
        self.answered: set[int] = set()
        self._sequences: list[list[int]] = [[] for _ in range(found.frames)]
        for number, part in enumerate(plan.parts):
            for frame in part:
                self._sequences[int(frame)].append(number)
        self._states = [plan.begin(number) for number in range(len(plan.parts))]
        # Of each sequence, the frames since its state began: what `Track.frame` counts.
        self._given: list[list[int]] = [[] for _ in plan.parts]

    def step(self, frame: int) -> list[Track]:
        """Gives a frame to every sequence that it is part of; returns new answers."""
        image = np.asarray(self.clip.frames[frame])[None]
        image = self.plan.resampler.frames(image)[0]
        self.seen.add(frame)
        answers = []
        for number in self._sequences[frame]:
            track = self._step(number, frame, image)
            # Sequences may share frames; the first answer stands, as in `Plan.run`.
            place = None if track is None else self._given[number][track.frame]
            if track is None or place in self.answered:
                continue
            assert place is not None
            self.answered.add(place)
            answers.append(self.plan.resampler.back(track, frame=place))
        return answers

    def _step(self, number: int, frame: int, image: np.ndarray) -> Track | None:
        time_s, step = float(self.clip.time_s[frame]), self.plan.tracker.step
        try:
            state, track = step(self._states[number], image, time_s)
        except UserError:
            # Every frame and time was checked by `make_plan`: only frames dropped since
            # can make a time that does not follow.
            if not self._gap_before(number, frame):
                raise
            self._states[number] = self.plan.begin(number, again=True)
            self._given[number] = []
            self.found.restarts += 1
            state, track = step(self._states[number], image, time_s)
        self._states[number] = state
        self._given[number].append(frame)
        return track

    def _gap_before(self, number: int, frame: int) -> bool:
        """Whether frames of this sequence were dropped since its state began."""
        given = self._given[number]
        part = self.plan.parts[number]
        between = part[(part >= given[0]) & (part < frame)] if given else part[:0]
        return len(between) > len(given)
