"""One tumour out of maps with several blobs, over time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import iso_pixel_mm, square_panel
from fluoro_jax.tracking.confidence import NAMES, Calibration
from fluoro_jax.tracking.follow import Plan
from fluoro_jax.tracking.hypotheses import MotionRules
from fluoro_jax.tracking.posterior import PosteriorTracker
from fluoro_jax.tracking.tracker import Tracker, make_track, track_clip

SIDE, GAP_S = 48, 0.2
VIEW = square_panel(SIDE)
MM = iso_pixel_mm(VIEW)[0]


@dataclasses.dataclass(frozen=True)
class Shows:
    """Answers its frames as maps, `lookahead_frames` late."""

    lookahead_frames: int = 0

    @property
    def causal(self):
        return self.lookahead_frames == 0

    def init(self, geometry, reference=None, *, periodic=False, domain="log"):
        return (geometry, ())

    def step(self, state, frame, time_s):
        geometry, frames = state
        frames = (*frames, frame)
        number = len(frames) - 1 - self.lookahead_frames
        if number < 0:
            return (geometry, frames), None
        return (geometry, frames), make_track(number, frames[number], geometry)

    def flush(self, state):
        geometry, frames = state
        first = len(frames) - min(self.lookahead_frames, len(frames))
        return [make_track(n, frames[n], geometry) for n in range(first, len(frames))]


def blob(row, column, radius=3.0, p=0.9):
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return np.where(inside, p, 0.05).astype(np.float32)


def breath(t):
    return 24.0 + 1.5 * np.sin(2 * np.pi * t * GAP_S / 4.0)


def tracked(maps, lookahead=0, reference=None, **keys):
    clip = Clip(np.stack(maps), GAP_S * np.arange(len(maps)), VIEW)
    return track_clip(PosteriorTracker(Shows(lookahead), **keys), clip, reference)


def outline(row, column):
    """Returns a reference with a disc as the mask of frame 0."""
    return np.zeros((SIDE, SIDE), np.float32), (blob(row, column) >= 0.5).astype(float)


def test_it_is_a_tracker_with_the_members_of_the_wrapped_one():
    tracker = PosteriorTracker(Shows(2))
    assert isinstance(tracker, Tracker)
    assert tracker.lookahead_frames == 2 and not tracker.causal
    assert not hasattr(tracker, "learned")


@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_single_blob_is_answered_as_it_is(lookahead):
    maps = [blob(breath(t), 20) for t in range(20)]
    for track, shown in zip(tracked(maps, lookahead), maps, strict=True):
        assert track.status == "ok"
        np.testing.assert_array_equal(track.probability >= 0.5, shown >= 0.5)


def test_a_larger_blob_for_one_frame_does_not_take_the_answer():
    maps = [blob(breath(t), 16) for t in range(20)]
    maps[12] = np.maximum(maps[12], blob(40, 40, radius=5))
    columns = [track.centroid_px[1] for track in tracked(maps)]
    np.testing.assert_allclose(columns, 16.0, atol=0.3)


def test_a_wrong_start_is_left_when_the_other_has_more_evidence():
    maps = [blob(breath(t), 16, radius=4) for t in range(40)]
    for t in range(3):  # the tumour is hidden, something else is marked
        maps[t] = blob(40, 40, radius=3)
    for t in range(3, 40):
        maps[t] = np.maximum(maps[t], blob(40, 40, radius=3))
    columns = np.array([track.centroid_px[1] for track in tracked(maps)])
    np.testing.assert_allclose(columns[:3], 40.0, atol=0.3)
    # The evidence of three frames of the other is passed within a few frames.
    np.testing.assert_allclose(columns[12:], 16.0, atol=0.3)


def test_a_short_loss_is_held_at_the_predicted_place_and_a_long_one_is_missed():
    empty = np.full((SIDE, SIDE), 0.05, np.float32)
    maps = [blob(10 + 0.5 * t, 20) for t in range(30)]
    hidden = slice(12, 24)
    maps[hidden] = [empty] * 12
    tracks = tracked(maps)
    status = [track.status for track in tracks]
    held = round(MotionRules().hold_s / GAP_S)
    assert status[12 : 12 + held] == ["held"] * held
    assert set(status[12 + held : 24]) == {"missed"}
    assert set(status[24:]) == {"ok"}  # found again at once
    # Constant velocity: 0.5 pixels a frame goes on while it is held.
    for t in range(12, 12 + held):
        assert tracks[t].centroid_px[0] == pytest.approx(10 + 0.5 * t, abs=0.6)


def test_nothing_at_all_is_missed():
    tracks = tracked([np.zeros((SIDE, SIDE), np.float32)] * 4)
    assert {track.status for track in tracks} == {"missed"}
    assert all(track.confidence == 0.0 for track in tracks)


def test_a_calibration_gives_the_confidence_and_the_status():
    count = len(NAMES)
    sure = Calibration((0.0,) * count, (1.0,) * count, (0.0,) * count, 2.0, 2.0, 30)
    unsure = dataclasses.replace(sure, bias=-2.0)
    maps = [blob(24, 20)] * 3
    for rule, status in ((sure, "ok"), (unsure, "low_confidence")):
        tracks = tracked(maps, calibration=rule)
        assert {track.status for track in tracks} == {status}
        # The middles of the tenths that hold 1 / (1 + exp(-2)) = 0.88, and 0.12.
        expected = 0.85 if rule is sure else 0.15
        assert tracks[1].confidence == pytest.approx(expected, abs=1e-6)


def test_a_kept_state_may_be_gone_on_from_twice():
    tracker, maps = PosteriorTracker(Shows()), [blob(breath(t), 20) for t in range(4)]
    state = tracker.init(VIEW)
    for t in range(3):
        state, _ = tracker.step(state, maps[t], GAP_S * t)
    first = tracker.step(state, maps[3], 3 * GAP_S)[1]
    again = tracker.step(state, maps[3], 3 * GAP_S)[1]
    np.testing.assert_array_equal(first.probability, again.probability)


def test_what_was_lost_for_long_does_not_reach_for_another_blob():
    empty = np.full((SIDE, SIDE), 0.05, np.float32)
    away = [blob(40, 40)] * 10  # 30 pixels off, 3 s later
    tracks = tracked([blob(breath(t), 12) for t in range(40)] + [empty] * 15 + away)
    for track in tracks[-10:]:
        assert track.status == "ok"
        np.testing.assert_allclose(track.centroid_px, 40.0, atol=0.3)


def test_a_component_of_two_pixels_is_held_between_pixels():
    empty = np.full((SIDE, SIDE), 0.05, np.float32)
    maps = []
    for t in range(14):
        one = empty.copy()
        row = round(10 + 0.6 * t)
        one[row, 20:22] = 0.6
        maps.append(one)
    maps += [empty] * 4
    tracks = tracked(maps)
    for t in range(14, 18):
        assert tracks[t].status == "held"
        assert (tracks[t].probability >= 0.5).sum() == 2
        assert tracks[t].centroid_px[0] == pytest.approx(10 + 0.6 * t, abs=1.0)
        assert tracks[t].centroid_px[1] == pytest.approx(20.5, abs=1e-6)
        assert tracks[t].confidence == pytest.approx(0.6)


def test_what_is_held_beyond_the_frame_is_missed():
    empty = np.full((SIDE, SIDE), 0.05, np.float32)
    maps = [blob(30 + 2 * t, 20, radius=1.0) for t in range(9)] + [empty] * 4
    tracks = tracked(maps)
    assert tracks[9].status == "missed" or tracks[9].centroid_px[0] > 46.0
    assert tracks[11].status == "missed"


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("chosen", [0, 1])
def test_of_two_equal_blobs_the_outline_given_decides_which_is_followed(
    chosen, lookahead
):
    paths = [(lambda t: (breath(t), 12.0)), (lambda t: (20.0 + 0.5 * t, 36.0))]
    maps = [np.maximum(*(blob(*path(t)) for path in paths)) for t in range(30)]
    reference = outline(*paths[chosen](0))
    tracks = tracked(maps, lookahead, reference)
    for t, track in enumerate(tracks):
        np.testing.assert_allclose(track.centroid_px, paths[chosen](t), atol=0.7)
    # The other start: the answer is of the outline and not of the maps.
    other = tracked(maps, lookahead, outline(*paths[1 - chosen](0)))
    assert abs(other[20].centroid_px[1] - tracks[20].centroid_px[1]) > 20.0


def test_a_larger_blob_does_not_take_the_answer_from_the_outline_given():
    maps = [
        np.maximum(blob(breath(t), 12, radius=2), blob(40, 40, radius=5))
        for t in range(40)
    ]
    tracks = tracked(maps, reference=outline(breath(0), 12))
    columns = [track.centroid_px[1] for track in tracks]
    np.testing.assert_allclose(columns, 12.0, atol=0.3)
    assert tracked(maps)[20].centroid_px[1] == pytest.approx(40.0, abs=0.3)


def test_an_outline_of_a_moment_before_is_predicted_to_the_first_frame():
    tracker, empty = PosteriorTracker(Shows()), np.full((SIDE, SIDE), 0.05, np.float32)
    begun = tracker.told_before(tracker.init(VIEW, outline(10, 12)), 0.4)
    _, track = tracker.step(begun, empty, 0.4)
    assert track.status == "held"  # and not seen, as it was 0.4 s before
    np.testing.assert_allclose(track.centroid_px, (10, 12), atol=1e-6)
    state, track = tracker.step(begun, blob(11, 12), 0.4)
    assert track.status == "ok"
    np.testing.assert_allclose(track.centroid_px, (11, 12), atol=0.3)
    assert state.hypotheses[0].given
    assert state.hypotheses[0].speed_mm_s[0] > 0.0  # it has moved since


def test_a_plan_tells_each_sequence_how_long_ago_its_outline_was():
    maps, times = np.stack([blob(10, 12)] * 5), 0.1 * np.arange(5)
    parts = [np.array([0, 4]), np.array([1]), np.array([3])]
    clips = [Clip(maps[part], times[part], VIEW) for part in parts]
    tracker = PosteriorTracker(Shows())
    plan = Plan(tracker, None, parts, clips, outline(10, 12))
    assert [plan.begin(n).told_s for n in range(3)] == pytest.approx([0.0, 0.1, 0.3])
    assert plan.begin(1).hypotheses and not plan.begin(1, again=True).hypotheses
    untold = dataclasses.replace(plan, reference=None)
    assert not untold.begin(1).hypotheses


def test_an_outline_that_the_map_never_shows_is_held_and_then_given_up():
    maps = [blob(40, 40)] * 20
    tracks = tracked(maps, reference=outline(10, 10))
    held = round(MotionRules().hold_s / GAP_S)
    assert [t.status for t in tracks[1 : 1 + held]] == ["held"] * held
    np.testing.assert_allclose(tracks[0].centroid_px, 10.0, atol=1e-6)
    for track in tracks[2 + held :]:
        np.testing.assert_allclose(track.centroid_px, 40.0, atol=0.3)
