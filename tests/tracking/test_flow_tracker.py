"""Optical flow of a moved image, and the trackers made of it."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import VIEW, blob_clip
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines.flow import FlowTracker, mean_flow, to_bytes
from fluoro_jax.tracking.baselines.flow_contour import FlowContourTracker
from fluoro_jax.tracking.tracker import Tracker, track_clip

TRACKERS = {
    "reference": FlowTracker(pixel_mm=1.0),
    "successive": FlowTracker(mode="successive", average="mean", pixel_mm=1.0),
    "contour": FlowContourTracker(),
}


def test_the_flow_of_a_moved_image_is_its_shift():
    rng = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(rng.standard_normal((80, 72)), 3.0, mode="wrap")
    low, high = smooth.min(), smooth.max()
    byte = lambda v: np.round(np.clip((v - low) / (high - low), 0, 1) * 255)
    weight = np.zeros((80, 72), bool)
    weight[30:50, 26:46] = True
    for average in ("mean", "median"):
        for shift in ([1.5, -0.75], [0.0, 0.0], [3.0, 2.0]):
            moved = ndimage.shift(smooth, shift, order=3, mode="grid-wrap")
            pair = (byte(smooth).astype(np.uint8), byte(moved).astype(np.uint8))
            found = mean_flow(*pair, weight, np.zeros(2), average)
            np.testing.assert_allclose(found, shift, atol=0.1)


def test_an_empty_contour_keeps_the_flow_it_began_with():
    picture = np.zeros((32, 32), np.uint8)
    first = np.array([1.0, 2.0])
    found = mean_flow(picture, picture, np.zeros((32, 32), bool), first, "mean")
    np.testing.assert_array_equal(found, first)


def test_pictures_have_pixels_of_the_size_asked_for():
    values = np.linspace(-1.0, 3.0, 30 * 24).reshape(30, 24).astype(np.float32)
    picture = to_bytes(values, VIEW, (0.0, 2.0), 2.0)
    assert picture.shape == (50, 40) and picture.dtype == np.uint8
    assert picture.min() == 0 and picture.max() == 255


@pytest.mark.parametrize("name", TRACKERS)
def test_flow_follows_a_disc(name):
    clip, tracker = blob_clip(), TRACKERS[name]
    assert isinstance(tracker, Tracker) and tracker.causal
    tracks = track_clip(tracker, clip, (clip.frames[0], clip.mask[0]))
    found = np.stack([t.centroid_px for t in tracks])
    np.testing.assert_allclose(found, clip.centroid_px, atol=0.35)  # 1.2 mm
    assert all(0.0 <= t.confidence <= 1.0 for t in tracks)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_state_may_be_gone_on_from_again(name):
    clip, tracker = blob_clip(), TRACKERS[name]
    state = tracker.init(VIEW, (clip.frames[0], clip.mask[0]))
    state, _ = tracker.step(state, clip.frames[0], 0.0)
    _, one = tracker.step(state, clip.frames[1], 0.5)
    tracker.step(state, clip.frames[2], 0.5)
    _, again = tracker.step(state, clip.frames[1], 0.5)
    np.testing.assert_array_equal(one.centroid_px, again.centroid_px)


def test_wrong_settings_and_a_missing_reference_are_refused():
    for settings in ({"mode": "both"}, {"average": "mode"}):
        with pytest.raises(UserError, match="fix"):
            FlowTracker(**settings)
    for tracker in TRACKERS.values():
        with pytest.raises(UserError, match="no reference"):
            tracker.init(VIEW)
