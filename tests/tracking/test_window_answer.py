"""One outline for all frames of a clip, and what of a window's maps is the tumour."""

from __future__ import annotations

import numpy as np
import pytest
from small_weights import random_params, small_config

from fluoro_jax.clip import Clip
from fluoro_jax.config import with_answer
from fluoro_jax.geometry import square_panel
from fluoro_jax.metrics import centroid_px, iou
from fluoro_jax.tracking import window_answer as module
from fluoro_jax.tracking.network import NetworkTracker, forward
from fluoro_jax.tracking.path import most_probable_path
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.tracking.window_answer import INSIDE, clip_outline, window_answer
from fluoro_jax.training.precision import make_generator

SIDE, THRESHOLD = 40, 0.3
WAY = np.array([[12, 14], [15, 15], [18, 16], [15, 15], [12, 14]])  # px
PIXEL_MM, FRAME_S = np.ones(2), 0.5


def disc(row, col, radius=5.0, p=0.9):
    rows, cols = np.mgrid[:SIDE, :SIDE]
    inside = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return np.where(inside, p, 0.0).astype(np.float32)


def clip_of(**more):
    return np.stack([disc(*place, **more) for place in WAY])


def test_every_frame_has_the_mean_outline_at_its_own_place():
    maps = clip_of()
    truth = maps >= THRESHOLD
    maps[1] = np.maximum(maps[1], disc(*WAY[1], radius=8.0, p=0.4))  # one too large
    found = clip_outline(maps, THRESHOLD) >= THRESHOLD
    np.testing.assert_allclose(centroid_px(found), WAY, atol=1e-6)
    np.testing.assert_array_equal(iou(found, truth), np.ones(len(WAY)))
    assert iou(maps[1] >= THRESHOLD, truth[1]) < 0.5  # it was not so before


def test_the_places_are_those_of_the_frames_own_masks():
    """Nothing is smoothed: between pixels too."""
    maps = clip_of()
    maps[2][18, 22] = 0.9  # one pixel more, at the right
    before = centroid_px(maps >= THRESHOLD)
    after = centroid_px(clip_outline(maps, THRESHOLD) >= THRESHOLD)
    assert before[2][1] > WAY[2][1]
    np.testing.assert_allclose(after, before, atol=0.1)


def test_frames_without_a_mask_are_interpolated_with_a_low_probability():
    maps = clip_of()
    maps[1] = maps[4] = 0.1
    found = clip_outline(maps, THRESHOLD)
    places = centroid_px(found >= THRESHOLD)
    np.testing.assert_allclose(places[1], (WAY[0] + WAY[2]) / 2, atol=0.1)
    np.testing.assert_allclose(places[4], WAY[3], atol=1e-6)  # the last one seen
    assert set(np.unique(found[1])) == {0.0, np.float32(INSIDE)}
    assert found[0].max() == pytest.approx(0.9)


def test_a_clip_seen_in_fewer_than_half_of_its_frames_is_not_filled():
    maps = clip_of()
    maps[1:4] = 0.1
    found = clip_outline(maps, THRESHOLD)
    assert not (found[1:4] >= THRESHOLD).any() and (found[0] >= THRESHOLD).any()


def test_a_tumour_that_the_border_cuts_keeps_what_is_seen_of_it():
    maps = np.stack([disc(row, 20) for row in (2, 10, 10, 12)])
    cut = maps[0].copy()
    found = clip_outline(maps, THRESHOLD)
    np.testing.assert_array_equal(found[0], cut)
    np.testing.assert_array_equal(found[1:] >= THRESHOLD, maps[1:] >= THRESHOLD)
    out = np.stack([disc(2, 20), disc(3, 20)])  # in no frame whole
    np.testing.assert_array_equal(clip_outline(out, THRESHOLD), out)


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_a_clip_that_is_nowhere_probable_stays(p):
    maps = clip_of(p=p)
    np.testing.assert_array_equal(clip_outline(maps, THRESHOLD), maps)


def test_one_outline_only_of_one_component_a_frame():
    maps = clip_of(p=0.8) + disc(32, 32, radius=2.0, p=0.4)
    maps[0] = np.maximum(maps[0], disc(*WAY[0], radius=7.0, p=0.5))
    how = dict(threshold=THRESHOLD, pixel_mm=PIXEL_MM, frame_s=FRAME_S)
    ask = lambda answer, outline: window_answer(
        maps, answer=answer, outline=outline, **how
    )
    np.testing.assert_array_equal(ask("mask", "clip"), maps)
    path = most_probable_path(maps, **how)
    np.testing.assert_array_equal(ask("component", "frame"), path)
    found = ask("component", "clip")
    np.testing.assert_array_equal(found, clip_outline(path, THRESHOLD))
    assert (found != path).any() and not (found[:, 30:, 30:] >= THRESHOLD).any()


@pytest.mark.parametrize("outline", ["frame", "clip"])
def test_a_network_asked_for_the_whole_window_answers_so(outline, monkeypatch):
    # A random network's masks touch the border everywhere.
    monkeypatch.setattr(module, "_at_border", lambda masks: np.zeros(len(masks), bool))
    asked = {"answer": "component", "threshold": 0.4, "outline": outline}
    cfg = small_config("edge", **{f"evaluation.{k}": v for k, v in asked.items()})
    generator, params = make_generator(cfg), random_params(cfg)
    count = cfg.study.num_frames
    frames = 3.0 + np.random.default_rng(0).random((count, 16, 16), np.float32)
    view = square_panel(16)
    clip = Clip(frames, 0.5 * np.arange(count), view)
    maps = np.asarray(forward(generator, "edge", params, frames[None])[0])
    path = most_probable_path(
        maps, 0.4, pixel_mm=np.full(2, 1e-6), frame_s=cfg.study.frame_s
    )
    tracker = NetworkTracker(generator, params, cfg, count - 1)
    found = np.stack([track.probability for track in track_clip(tracker, clip)])
    answers = {"frame": path, "clip": clip_outline(path, 0.4)}
    assert np.abs(answers["clip"] - answers["frame"]).max() > 0.01
    np.testing.assert_allclose(found, answers[outline], atol=1e-6)
    live = NetworkTracker(generator, params, cfg, 0)  # of frames that arrive
    newest = track_clip(live, clip)[-1].probability
    np.testing.assert_allclose(newest, path[-1], atol=1e-6)


def test_another_answer_has_the_outline_of_its_frames():
    asked = {"evaluation.answer": "component", "evaluation.outline": "clip"}
    cfg = small_config("edge", **asked)
    assert with_answer(cfg, None).evaluation.outline == "clip"
    assert with_answer(cfg, "component").evaluation.outline == "clip"
    other = with_answer(cfg, "mask").evaluation
    assert (other.answer, other.outline) == ("mask", "frame")
