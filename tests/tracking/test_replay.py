"""Replays against a simulated clock: every number has a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import square_panel
from fluoro_jax.tracking.follow import Plan
from fluoro_jax.tracking.replay import Chain, WallClock, replay
from fluoro_jax.tracking.resample import Resampler
from fluoro_jax.tracking.tracker import make_track

VIEW = square_panel(4)
GAP_S = 0.1
LONG_S = 1.5 * GAP_S + 1e-12  # past the arrival, whatever is rounded


class SimulatedClock:
    """Time passes only while someone waits or computes."""

    def __init__(self):
        self.time_s = 100.0

    def now_s(self):
        return self.time_s

    def wait_until(self, time_s):
        self.time_s = max(self.time_s, time_s)


class Slow:
    """Computes for `compute_s(frame's number)`; answers `lookahead_frames` later."""

    causal = True

    def __init__(self, clock, compute_s, lookahead_frames=0, longest_s=np.inf):
        self.clock, self.compute_s = clock, compute_s
        self.lookahead_frames, self.longest_s = lookahead_frames, longest_s
        self.times_s = []

    def init(self, geometry, reference=None, *, periodic=False, domain=""):
        return 0, None  # frames seen, time of the newest

    def step(self, state, frame, time_s):
        count, last_s = state
        if last_s is not None and time_s - last_s > self.longest_s:
            raise UserError("a gap", needed="none", why="motion", fix="init")
        self.times_s.append(time_s)
        self.clock.time_s += self.compute_s(len(self.times_s) - 1)
        place = count - self.lookahead_frames
        track = make_track(place, frame, VIEW) if place >= 0 else None
        return (count + 1, time_s), track

    def flush(self, state):
        return []


def played(count, compute_s, *, parts=None, tracker=None, answer_fn=None, **chain):
    """(what was found, the tracker) of a clip with a frame every `GAP_S`."""
    clock = SimulatedClock()
    constant = compute_s if callable(compute_s) else lambda _: compute_s
    slow = Slow(clock, constant, **(tracker or {}))
    frames = np.ones((count, 4, 4), np.float32)
    clip = Clip(frames, GAP_S * np.arange(count), VIEW)
    parts = [np.arange(count)] if parts is None else parts
    plan = Plan(slow, Resampler(VIEW, VIEW, 1.0), parts, [clip] * len(parts))
    found = replay(plan, clip, Chain(**chain), clock=clock, answer_fn=answer_fn)
    return found, slow


def close(values, wanted):
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-9)


def test_a_quick_tracker_misses_nothing():
    found, slow = played(50, 0.04, acquisition_s=0.01, transfer_s=0.02)
    assert found.dropped == [] and found.late == [] and found.restarts == 0
    close(found.compute_s, np.full(50, 0.04))
    close(found.waiting_s, np.zeros(50))
    close(found.latency_s, np.full(50, 0.01 + 0.02 + 0.04))
    close(slow.times_s, GAP_S * np.arange(50))
    summary = found.summary()
    assert summary["frames"] == summary["seen"] == summary["answers"] == 50
    assert summary["latency_ms"] == dict.fromkeys(["p50", "p95", "p99", "max"], 70.0)


def test_one_and_a_half_gaps_drop_every_third_frame():
    """0 ends at 1.5 gaps, 1 at 3 as frame 3 arrives: 2, 5, 8 ... are never seen."""
    found, slow = played(29, LONG_S)
    seen = [t for t in range(29) if t % 3 != 2]
    assert found.dropped == list(range(2, 29, 3)) and found.late == seen
    close(slow.times_s, GAP_S * np.array(seen))
    # Frame 3k is taken as it arrives, frame 3k + 1 half a gap after.
    close(found.waiting_s, np.tile([0.0, 0.5 * GAP_S], 10))
    close(found.latency_s, np.tile([1.5 * GAP_S, 2.0 * GAP_S], 10))


def test_a_queue_drops_nothing_and_grows():
    found, _ = played(20, LONG_S, drop=False)
    assert found.dropped == [] and found.late == list(range(20))
    close(found.latency_s, GAP_S * (1.5 + 0.5 * np.arange(20)))


def test_one_slow_frame_costs_those_that_arrived_meanwhile():
    slow_once = lambda number: 3.5 * GAP_S if number == 4 else 0.2 * GAP_S
    found, _ = played(12, slow_once)
    # Frame 4 ends at 7.5 gaps: 5 and 6 go, 7 waits half a gap and is in time.
    assert found.dropped == [5, 6] and found.late == [4]
    close(found.waiting_s[5], 0.5 * GAP_S)
    assert found.summary()["seen"] == 10
    queued, _ = played(12, slow_once, drop=False)
    assert queued.dropped == [] and queued.late == [4, 5, 6, 7]


def test_the_deadline_is_the_next_arrival():
    assert played(5, GAP_S - 1e-6)[0].late == []
    assert played(5, GAP_S + 1e-3)[0].late == list(range(5))
    assert played(1, 10.0)[0].late == []  # a single frame has no next one


def test_speed_is_how_often_frames_come():
    assert played(30, 0.04, speed=2.0)[0].dropped == []
    found, _ = played(29, LONG_S / 3.0, speed=3.0)
    assert found.dropped == list(range(2, 29, 3))


def test_lookahead_is_part_of_the_latency():
    answers = []
    found, _ = played(
        10, 0.03, tracker={"lookahead_frames": 2}, answer_fn=answers.append
    )
    assert [track.frame for track in answers] == list(range(8))
    close(found.lookahead_s, np.full(8, 2 * GAP_S))
    close(found.latency_s, np.full(8, 2 * GAP_S + 0.03))
    assert found.unanswered == 2 and found.summary()["unanswered_at_end"] == 2


def test_interleaved_sequences_answer_for_their_own_frames():
    parts = [np.array([0, 2, 4, 6]), np.array([1, 3, 5, 6])]
    answers = []
    found, _ = played(
        7,
        0.02,
        parts=parts,
        tracker={"lookahead_frames": 1},
        answer_fn=answers.append,
    )
    # Frame 6 is in both sequences: two steps, and it answers for frames 4 and 5.
    assert [track.frame for track in answers] == [0, 1, 2, 3, 4, 5]
    close(found.compute_s, [0.02] * 6 + [0.04])
    assert found.unanswered == 1


def test_after_too_many_dropped_frames_the_tracker_begins_anew():
    slow_once = lambda number: 6.5 * GAP_S if number == 2 else 0.01
    tracker = {"longest_s": 4.25 * GAP_S, "lookahead_frames": 1}
    answers = []
    found, _ = played(15, slow_once, tracker=tracker, answer_fn=answers.append)
    assert found.dropped == [3, 4, 5, 6, 7] and found.restarts == 1
    # Frame 2 was owed when the state was given up; frame 14 at the end.
    assert [t.frame for t in answers] == [0, 1, *range(8, 14)]
    assert found.unanswered == 2


def test_a_refusal_that_no_dropped_frame_explains_is_told():
    with pytest.raises(UserError, match="a gap"):
        played(5, 0.01, tracker={"longest_s": 0.5 * GAP_S})


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ({"transfer_s": -0.001}, "transfer time of -1 ms"),
        ({"acquisition_s": float("nan")}, "acquisition time of nan ms"),
        ({"speed": 0.0}, "a speed of 0"),
        ({"speed": float("inf")}, "a speed of inf"),
    ],
)
def test_impossible_numbers_are_refused(chain, said):
    with pytest.raises(UserError, match=said):
        Chain(**chain)


def test_the_wall_clock_waits():
    clock = WallClock()
    start_s = clock.now_s()
    clock.wait_until(start_s + 0.02)
    clock.wait_until(start_s)
    assert 0.02 <= clock.now_s() - start_s < 2.0


def test_nothing_answered_has_no_percentiles():
    found, _ = played(2, 0.01, tracker={"lookahead_frames": 5})
    assert found.summary()["latency_ms"] == dict.fromkeys(["p50", "p95", "p99", "max"])
