"""The outline of frame 0, moved as another tracker's answer moves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from blobs import blob_clip

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import iso_pixel_mm, position_iso_mm, square_panel
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.anchored import (
    APART_MM,
    SAME_MM,
    AnchoredTracker,
    anchor,
    beside,
)
from fluoro_jax.tracking.tracker import Tracker, make_track, track_clip

SIDE = 48
VIEW = square_panel(SIDE)
START = np.array([20, 24])  # px
WAY = np.array([[0, 0], [3, 1], [6, 2], [3, 1]])  # px


@dataclasses.dataclass(frozen=True)
class Shows:
    """Its frames are its answers, `lookahead_frames` late."""

    lookahead_frames: int = 0
    window_frames: int = 4

    @property
    def causal(self):
        return self.lookahead_frames == 0

    def init(self, geometry, reference=None, *, periodic=False, domain="log"):
        return ()

    def step(self, state, frame, time_s):
        state = (*state, frame)
        number = len(state) - 1 - self.lookahead_frames
        return state, None if number < 0 else make_track(number, state[number], VIEW)

    def flush(self, state):
        first = len(state) - min(self.lookahead_frames, len(state))
        return [make_track(n, state[n], VIEW) for n in range(first, len(state))]


def box(row, column, half):
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[row - half : row + half + 1, column - half : column + half + 1] = 0.9
    return mask


def truth(step):
    return box(20 + step[0], 24 + step[1], 5) > 0.5


def follow(maps, lookahead=0, **options):
    clip = Clip(np.stack(maps), 0.5 * np.arange(len(maps)), VIEW)
    reference = (np.asarray(clip.frames[0]), truth(WAY[0]))
    return track_clip(AnchoredTracker(Shows(lookahead), **options), clip, reference)


@pytest.mark.parametrize("lookahead", [0, 3])
def test_size_and_offset_of_the_first_answer_are_corrected(lookahead):
    tracks = follow([box(23 + down, 26 + right, 2) for down, right in WAY], lookahead)
    assert [t.frame for t in tracks] == [0, 1, 2, 3]
    for track, step in zip(tracks, WAY, strict=True):
        np.testing.assert_array_equal(track.probability, truth(step))
        np.testing.assert_allclose(track.centroid_px, centroid_px(truth(step)))
        assert (track.confidence, track.status) == (pytest.approx(0.9), "ok")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_offset_in_frame_0_is_corrected(share):
    off = np.ones(2, int)  # 9.4 mm
    tracks = follow([box(*(START + step + off), 2) for step in WAY], share=share)
    places = np.stack([t.centroid_px for t in tracks])
    np.testing.assert_allclose(places[0], START)  # frame 0 was given
    np.testing.assert_allclose(places[1:], START + WAY[1:] + (1 - share) * off)


def test_a_tracker_that_follows_something_else_tells_its_displacement_alone():
    """Over 10 mm off in frame 0, or without an answer there."""
    far = np.array([0, 1 + int(SAME_MM / iso_pixel_mm(VIEW)[1])])
    maps = [box(*(START + step + far), 2) for step in WAY]
    places = [t.centroid_px for t in follow(maps, share=0.0)]
    np.testing.assert_allclose(places, START + WAY)
    maps[0][:] = 0.0
    places = [t.centroid_px for t in follow(maps, share=0.0)]
    np.testing.assert_allclose(places[1:], START + WAY[1:] - WAY[1])


def test_between_pixels_the_outline_keeps_its_size():
    """Blurred by 0.4 pixels and cut at 0.3 it would have a row more."""
    maps = [box(20, 24, 3), box(20, 24, 3)]
    maps[1][24, 21:26] = 0.9  # its centroid moves down by 4 * 5 / 54 = 0.37 pixels
    moved = np.asarray(follow(maps)[1].probability)
    np.testing.assert_array_equal(moved, truth(WAY[0]))


def test_an_outline_that_was_moved_out_of_the_frame_is_missed():
    track = follow([box(4, 24, 2), box(40, 24, 2)])[1]
    assert (track.status, track.confidence) == ("missed", 0.0)
    assert np.isnan(track.centroid_px).all()


def test_frames_without_an_answer_hold_the_last_place():
    maps = [box(23 + down, 26 + right, 2) for down, right in WAY]
    maps[0][:] = maps[2][:] = 0.0
    tracks = follow(maps)
    places = [np.asarray(t.centroid_px) for t in tracks]
    start = centroid_px(truth(WAY[0]))
    # Nothing moves before the first answer, which stands where the outline is.
    np.testing.assert_allclose(places[0], start)
    np.testing.assert_allclose(places[1], start)
    np.testing.assert_allclose(places[2], start)
    np.testing.assert_allclose(places[3], start + WAY[3] - WAY[1])
    assert [t.status for t in tracks] == ["held", "ok", "held", "ok"]
    assert [t.confidence for t in tracks][::2] == [0.0, 0.0]


def test_an_empty_tracker_holds_frame_0():
    for track in follow([np.zeros((SIDE, SIDE))] * 3):
        np.testing.assert_array_equal(track.probability, truth(WAY[0]))


def test_it_is_a_tracker_that_needs_frame_0():
    tracker = AnchoredTracker(Shows(3))
    assert isinstance(tracker, Tracker) and not tracker.causal
    assert (tracker.lookahead_frames, tracker.window_frames) == (3, 4)
    assert not hasattr(tracker, "learned")
    clip = Clip(np.stack([box(20, 24, 3)]), np.zeros(1), VIEW)
    with pytest.raises(UserError, match="no outline of frame 0"):
        track_clip(tracker, clip)


def test_answers_that_are_there_already_are_moved_alike():
    maps = [box(23 + down, 26 + right, 2) for down, right in WAY]
    maps[2][:] = 0.0
    tracks = [make_track(n, frame, VIEW) for n, frame in enumerate(maps)]
    expected = follow(maps, share=0.5)
    for one, other in zip(
        anchor(tracks, truth(WAY[0]), VIEW, 0.5), expected, strict=True
    ):
        np.testing.assert_array_equal(one.probability, other.probability)
        assert (one.frame, one.status) == (other.frame, other.status)


@dataclasses.dataclass(frozen=True)
class Says:
    """A template that answers with these places (row, column), NaN for none."""

    places: np.ndarray
    confidence: float = 0.7

    def init(self, geometry, reference=None, *, periodic=False, domain="log"):
        return 0

    def step(self, state, frame, time_s):
        track = make_track(state, truth(WAY[0]), VIEW)
        place = np.asarray(self.places[state], float)
        track = dataclasses.replace(track, centroid_px=place)
        return state + 1, dataclasses.replace(track, confidence=self.confidence)

    def flush(self, state):
        return []


PIXEL_MM = iso_pixel_mm(VIEW)[0]
FINE = START + WAY + 0.3  # places between the pixels
SEEN = [box(20 + row, 24 + column, 5) for row, column in WAY]
ELSEWHERE = [box(8 + row, 10 + column, 5) for row, column in WAY]


def places_of(tracks):
    return np.stack([track.centroid_px for track in tracks])


@pytest.mark.parametrize("lookahead", [0, 2, 4])
def test_a_template_beside_answers_more_finely_while_both_agree(lookahead):
    assert np.hypot(0.3, 0.3) * PIXEL_MM < APART_MM
    tracks = follow(SEEN, lookahead, template=Says(FINE))
    np.testing.assert_array_equal(places_of(tracks)[0], START)
    np.testing.assert_allclose(places_of(tracks)[1:], FINE[1:], atol=1e-6)
    assert [track.status for track in tracks] == ["ok"] * 4
    assert tracks[1].confidence == pytest.approx(0.9, abs=1e-6)
    np.testing.assert_allclose(
        tracks[1].centroid_iso_mm, position_iso_mm(VIEW, FINE[1]), atol=1e-4
    )


@pytest.mark.parametrize("lookahead", [0, 2])
def test_where_the_template_slides_off_a_network_that_knows_the_tumour_rules(lookahead):
    slid = np.array(FINE)
    slid[2:] += 2.0  # pixels of 6.7 mm
    tracks = follow(SEEN, lookahead, template=Says(slid))
    np.testing.assert_allclose(places_of(tracks)[1], FINE[1])
    np.testing.assert_allclose(places_of(tracks)[2:], (START + WAY)[2:], atol=0.05)
    assert [t.status for t in tracks] == ["ok", "ok", *["low_confidence"] * 2]


def test_a_network_that_follows_something_else_does_not_rule_and_is_told():
    tracks = follow(ELSEWHERE, template=Says(FINE + 3.0 * (WAY > 0)))
    np.testing.assert_allclose(places_of(tracks)[1:], (FINE + 3.0 * (WAY > 0))[1:])
    assert {t.status for t in tracks} == {"low_confidence"}
    assert {t.confidence for t in tracks} == {0.7}


def test_where_one_of_them_has_no_answer_the_other_has():
    blank = np.zeros((SIDE, SIDE), np.float32)
    tracks = follow([SEEN[0], SEEN[1], blank, SEEN[3]], template=Says(FINE))
    np.testing.assert_allclose(places_of(tracks)[2], FINE[2])
    assert (tracks[2].status, tracks[2].confidence) == ("low_confidence", 0.7)
    gone = np.array(FINE)
    gone[3] = np.nan
    tracks = follow(SEEN, template=Says(gone))
    np.testing.assert_allclose(places_of(tracks)[3], (START + WAY)[3], atol=0.05)
    assert tracks[3].status == "low_confidence"


@pytest.mark.parametrize("maps", [ELSEWHERE, [np.zeros((SIDE, SIDE))] * 4])
def test_where_neither_has_an_answer_the_outline_stays_where_it_was_last(maps):
    gone = np.array(FINE)
    gone[2:] = np.nan
    tracks = follow([np.float32(one) for one in maps], template=Says(gone))
    np.testing.assert_allclose(places_of(tracks)[1:], FINE[[1, 1, 1]])
    assert {track.status for track in tracks[2:]} == {"low_confidence"}


def test_an_answer_that_is_only_held_does_not_rule():
    seen = [make_track(n, mask, VIEW) for n, mask in enumerate(SEEN)]
    seen[2] = dataclasses.replace(seen[2], status="held")
    slid = np.array(FINE)
    slid[2] += 2.0
    clip = Clip(np.stack(SEEN), 0.5 * np.arange(4), VIEW)
    alone = track_clip(Says(slid), clip)
    moved = anchor(seen, truth(WAY[0]), VIEW, 1.0, matched=alone)
    np.testing.assert_allclose(places_of(moved)[2], slid[2])
    assert (moved[2].status, moved[2].confidence) == ("low_confidence", 0.7)


def test_answers_to_other_frames_are_refused():
    seen = [make_track(n, mask, VIEW) for n, mask in enumerate(SEEN)]
    for matched in (seen[:2], seen[1:]):
        with pytest.raises(ValueError, match="matched of"):
            anchor(seen, truth(WAY[0]), VIEW, 1.0, matched=matched)


def test_answers_that_are_there_already_are_guarded_alike():
    slid = np.array(FINE)
    slid[2] += 2.0
    clip = Clip(np.stack(SEEN), 0.5 * np.arange(4), VIEW)
    alone = track_clip(Says(slid), clip)
    seen = track_clip(Shows(), clip)
    moved = anchor(seen, truth(WAY[0]), VIEW, 1.0, matched=alone)
    expected = follow(SEEN, template=Says(slid))
    np.testing.assert_allclose(places_of(moved), places_of(expected))
    assert [t.status for t in moved] == [t.status for t in expected]


def test_the_threshold_decides_whether_the_tumour_was_known():
    tracks = follow(SEEN, template=Says(FINE), threshold=0.95)
    assert {t.status for t in tracks} == {"low_confidence"}


def test_the_template_beside_follows_a_disc():
    clip = blob_clip()
    known = [np.asarray(mask) for mask in clip.mask]
    shown = dataclasses.replace(clip, mask=None)
    tracks = anchor(
        [make_track(n, mask, clip.geometry) for n, mask in enumerate(known)],
        known[0],
        clip.geometry,
        1.0,
        matched=track_clip(
            dataclasses.replace(beside(), band_mm=None),
            shown,
            (clip.frames[0], known[0]),
        ),
    )
    np.testing.assert_allclose(places_of(tracks), clip.centroid_px, atol=0.15)
