from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, position_iso_mm
from fluoro_jax.metrics import centroid_px, iou
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.shape import mean_shape, place_mask
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.tracker import Tracker, track_clip

VIEW = Geometry(1000.0, 1500.0, 0.0, 40, 36, (3.0, 2.0))
PATH = np.array([[0, 0], [3, 1], [6, 1], [4, 0]])


def disc(row, col, radius=4.0):
    rows, cols = np.mgrid[:40, :36]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def disc_clip(row, col, radius=4.0, path=PATH):
    mask = np.stack([disc(row + r, col + c, radius) for r, c in path])
    middle = np.array([[row + r, col + c] for r, c in path], float)
    return Clip(
        frames=np.zeros((len(path), 40, 36), np.float32),
        time_s=0.5 * np.arange(len(path)),
        geometry=VIEW,
        mask=mask.astype(np.float32),
        centroid_px=middle,
    )


@pytest.fixture(scope="module")
def arrays():
    clips = [disc_clip(12, 14), disc_clip(16, 18), disc_clip(14, 16)]
    return {
        "mask": np.stack([c.mask for c in clips]),
        "centroid_px": np.stack([c.centroid_px for c in clips]),
    }


def reference(clip):
    return clip.frames[0], clip.mask[0]


def overlap(tracks, clip):
    return [
        iou(t.probability >= 0.5, m) for t, m in zip(tracks, clip.mask, strict=True)
    ]


def test_place_mask_moves_the_centroid_exactly():
    moved = place_mask(disc(20, 18), np.array([17.25, 20.5]))
    rows, cols = np.mgrid[:40, :36]
    weight = moved / moved.sum()
    np.testing.assert_allclose((weight * rows).sum(), 17.25, atol=1e-4)
    np.testing.assert_allclose((weight * cols).sum(), 20.5, atol=1e-4)


def test_mean_shape_of_equal_discs_is_that_disc_in_the_middle(arrays):
    shape = mean_shape(arrays["mask"])
    np.testing.assert_allclose(centroid_px(shape >= 0.5), [19.5, 17.5], atol=0.01)
    with pytest.raises(ValueError, match="tumour"):
        mean_shape(np.zeros((2, 3, 8, 8)))


def test_trackers_fit_the_protocol(arrays):
    for kind in (StaticTracker, PhasePriorTracker):
        tracker = kind.fit(arrays)
        assert isinstance(tracker, Tracker)
        assert tracker.causal and tracker.lookahead_frames == 0


def test_static_given_frame_0_is_exact_there_and_never_moves(arrays):
    clip = disc_clip(20, 20)
    tracks = track_clip(StaticTracker.fit(arrays), clip, reference(clip))
    score = overlap(tracks, clip)
    assert score[0] == 1.0 and score[2] < 0.5
    np.testing.assert_allclose(tracks[3].centroid_px, tracks[0].centroid_px)


def test_static_blind_sits_at_the_training_mean(arrays):
    tracks = track_clip(StaticTracker.fit(arrays), disc_clip(25, 9))
    expected = np.array([14.0, 16.0]) + PATH.mean(0)
    np.testing.assert_allclose(tracks[1].centroid_px, expected, atol=0.3)


def test_phase_prior_is_exact_when_every_case_moves_alike(arrays):
    clip = disc_clip(20, 20, radius=6.0)  # another place and another size
    tracks = track_clip(PhasePriorTracker.fit(arrays), clip, reference(clip))
    assert min(overlap(tracks, clip)) == 1.0
    blind = track_clip(PhasePriorTracker.fit(arrays), disc_clip(14, 16))
    np.testing.assert_allclose(
        [t.centroid_px for t in blind], PATH + np.array([14, 16]), atol=0.3
    )


def test_an_outline_that_was_given_keeps_its_size_at_any_threshold(arrays):
    path = 0.37 * PATH  # between pixels
    prior = PhasePriorTracker(np.ones((40, 36)), path, threshold=0.3)
    clip = disc_clip(20, 20, radius=6.0)
    tracks = track_clip(prior, clip, reference(clip))
    sizes = [(np.asarray(t.probability) >= 0.3).sum() for t in tracks]
    whole = clip.mask[0].sum()
    assert sizes == pytest.approx([whole] * len(PATH), rel=0.04)
    blurred = place_mask(clip.mask[0], np.array([21.11, 20.37])) >= 0.3
    assert blurred.sum() > 1.1 * whole


def test_phase_prior_starts_again_after_the_training_cycle(arrays):
    clip = disc_clip(20, 20, path=np.concatenate([PATH, PATH, PATH[:1]]))
    tracks = track_clip(PhasePriorTracker.fit(arrays), clip, reference(clip))
    assert min(overlap(tracks, clip)) == 1.0 and tracks[-1].frame == 8


def test_phase_prior_by_time_reads_the_training_path_at_any_frame_rate(arrays):
    times = {**arrays, "time_s": np.tile(0.5 * np.arange(len(PATH)), (3, 1))}
    tracker = PhasePriorTracker.fit(times, by_time=True)
    still = disc_clip(20, 20, path=np.zeros((9, 2)))
    clip = dataclasses.replace(still, time_s=7.0 + 0.25 * np.arange(9))
    tracks = track_clip(tracker, clip, reference(clip))
    moved = np.stack([t.centroid_px for t in tracks]) - 20.0
    between = 0.5 * (PATH + np.roll(PATH, -1, axis=0))
    path = np.concatenate([np.stack([PATH, between], 1).reshape(-1, 2), PATH[:1]])
    np.testing.assert_allclose(moved, (path - PATH[0])[:9], atol=0.3)


def test_a_tracker_that_leaves_the_frame_is_missed_without_a_centroid(arrays):
    clip = disc_clip(3, 3, path=np.array([[0, 0], [1, 0], [2, 0], [3, 0]]))
    tracker = PhasePriorTracker(mean_shape(arrays["mask"]), -20.0 * PATH)
    track = track_clip(tracker, clip, reference(clip))[2]
    assert track.status == "missed" and track.confidence == 0.0
    assert np.isnan(track.centroid_px).all()


def test_millimetres_of_a_track_come_from_the_view(arrays):
    clip = disc_clip(20, 20)
    track = track_clip(StaticTracker.fit(arrays), clip, reference(clip))[0]
    expected = position_iso_mm(VIEW, np.array([20.0, 20.0]))
    np.testing.assert_allclose(track.centroid_iso_mm, expected, atol=1e-4)
    np.testing.assert_allclose(expected, [-1.0, 2.5 * 2.0 / 1.5], atol=1e-4)


def test_bad_clips_are_refused_in_four_lines(arrays):
    tracker, clip = StaticTracker.fit(arrays), disc_clip(20, 20)
    broken = clip.replace(frames=np.full_like(clip.frames, np.nan))
    for bad in (broken, clip.replace(frames=clip.frames[:0], time_s=clip.time_s[:0])):
        with pytest.raises(UserError, match="fix") as error:
            track_clip(tracker, bad)
        assert len(str(error.value).splitlines()) == 4
    with pytest.raises(UserError, match="reference mask is empty"):
        track_clip(tracker, clip, (clip.frames[0], np.zeros((40, 36))))
