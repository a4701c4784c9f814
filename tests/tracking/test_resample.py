"""Resampling against closed forms: centroids and areas in mm, times in s."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, iso_pixel_mm, position_iso_mm, square_panel
from fluoro_jax.metrics import centroid_px
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.resample import (
    Resampler,
    interleave,
    make_resampler,
    map_px,
    to_view,
)

LEARNED = TrainingDomain.from_study(dataclasses.asdict(StudySpec(rows=96, cols=96)))


def disc(view, centre_iso_mm, radius_mm):
    """Soft disc `[1, H, W]`: share of each pixel that it covers, by supersampling."""
    fine = 8
    many = dataclasses.replace(
        view,
        rows=view.rows * fine,
        cols=view.cols * fine,
        pixel_mm=tuple(p / fine for p in view.pixel_mm),
    )
    rows, cols = np.mgrid[: many.rows, : many.cols]
    step = iso_pixel_mm(many)
    first = np.asarray(position_iso_mm(many, np.zeros(2)))
    up, right = first[0] - rows * step[0], first[1] + cols * step[1]
    inside = (up - centre_iso_mm[0]) ** 2 + (right - centre_iso_mm[1]) ** 2
    inside = (inside <= radius_mm**2).astype(np.float32)
    parts = inside.reshape(view.rows, fine, view.cols, fine)
    return parts.mean(axis=(1, 3))[None]


def test_an_angle_beside_those_trained_on_is_warned_of():
    study = dataclasses.asdict(StudySpec(rows=96, cols=96))
    learned = TrainingDomain.from_study(study, (0.0, 90.0))
    view = square_panel(96)
    make_resampler(dataclasses.replace(view, gantry_deg=90.3), learned)
    for angle in (87.0, 3.0):
        turned = dataclasses.replace(view, gantry_deg=angle)
        with pytest.warns(UserWarning, match=r"3\.0 off the nearest .* \(0, 90\)"):
            make_resampler(turned, learned)


VIEWS = {
    "finer": square_panel(128),
    "coarser": square_panel(64),
    "not square": Geometry(1000.0, 1500.0, 0.0, 100, 150, (4.8, 3.2)),
    "another detector": Geometry(1000.0, 1200.0, 0.0, 128, 128, (3.0, 3.0)),
    "shifted": Geometry(1000.0, 1500.0, 0.0, 160, 160, (3.2, 3.2), (12.0, -9.0)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_disc_keeps_its_place_and_its_area(name):
    view, place, radius = VIEWS[name], np.array([21.3, -34.6]), 18.0
    resampler = make_resampler(view, LEARNED)
    soft = resampler.frames(disc(view, place, radius))[0]
    target = resampler.target
    assert soft.shape == (96, 96)
    down, right = iso_pixel_mm(target)
    assert soft.sum() * down * right == pytest.approx(np.pi * radius**2, rel=0.01)
    rows, cols = np.mgrid[:96, :96]
    middle = np.array([(soft * rows).sum(), (soft * cols).sum()]) / soft.sum()
    found = np.asarray(position_iso_mm(target, middle))
    np.testing.assert_allclose(found, place, atol=0.05)  # a hundredth of a pixel


@pytest.mark.parametrize("name", VIEWS)
def test_an_answer_comes_back_in_the_clips_own_pixels(name):
    view, place = VIEWS[name], np.array([-10.4, 27.5])
    resampler = make_resampler(view, LEARNED)
    probability = disc(resampler.target, place, 20.0)[0]
    middle = centroid_px(probability >= 0.5)
    iso = np.asarray(position_iso_mm(resampler.target, middle))
    track = Track(3, middle, iso, probability, 0.9, "ok")
    back = resampler.back(track, frame=7)
    assert back.frame == 7 and back.probability.shape == (view.rows, view.cols)
    same = np.asarray(position_iso_mm(view, back.centroid_px))
    np.testing.assert_allclose(same, back.centroid_iso_mm, atol=1e-3)
    mask = back.probability >= 0.5
    there = np.asarray(position_iso_mm(view, centroid_px(mask)))
    np.testing.assert_allclose(there, place, atol=0.3)
    down, right = iso_pixel_mm(view)
    assert mask.sum() * down * right == pytest.approx(np.pi * 400, rel=0.06)


def test_the_same_grid_changes_only_the_sharpness():
    view = square_panel(96)
    resampler = make_resampler(view, LEARNED)
    ramp = np.add.outer(np.arange(96.0), 2.0 * np.arange(96.0))[None]
    inside = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_allclose(resampler.frames(ramp)[inside], ramp[inside], rtol=1e-4)
    px = np.array([[3.0, 4.0], [np.nan, np.nan]])
    np.testing.assert_allclose(map_px(view, resampler.target, px), px, atol=1e-9)


def test_pixels_that_nobody_saw_repeat_the_border():
    view = Geometry(1000.0, 1500.0, 0.0, 90, 90, (5.0, 5.0))
    with pytest.warns(UserWarning, match="88% of the network"):
        resampler = make_resampler(view, LEARNED)
    frames = resampler.frames(np.full((1, 90, 90), 3.0))
    np.testing.assert_allclose(frames, 3.0, rtol=1e-6)
    with pytest.raises(UserError, match="25% of the network's field of view"):
        make_resampler(square_panel(96, detector_mm=240.0), LEARNED)


def test_truth_follows_its_frames():
    view = square_panel(128)
    soft = disc(view, np.array([5.0, 5.0]), 20.0)
    mask = (soft >= 0.5).astype(np.float32)
    clip = Clip(soft, np.zeros(1), view, mask, centroid_px(mask))
    moved = to_view(clip, make_resampler(view, LEARNED))
    found = centroid_px(np.asarray(moved.mask))
    np.testing.assert_allclose(found, moved.centroid_px, atol=0.1)
    assert isinstance(make_resampler(view, LEARNED), Resampler)


@pytest.mark.parametrize(
    ("rate_hz", "sequences"), [(2.0, 1), (4.0, 2), (10.0, 5), (15.0, None), (7.0, None)]
)
def test_every_frame_is_in_a_sequence_of_the_right_spacing(rate_hz, sequences):
    time_s = np.arange(40) / rate_hz
    parts = interleave(time_s, 0.5)
    assert sequences is None or len(parts) == sequences
    np.testing.assert_array_equal(np.unique(np.concatenate(parts)), np.arange(40))
    for part in parts:
        gaps = np.diff(time_s[part])
        assert (np.abs(gaps - 0.5) <= 0.5 / rate_hz + 1e-9).all()
        assert time_s[part[0]] - time_s[0] < 0.5
        assert time_s[-1] - time_s[part[-1]] < 0.5


@pytest.mark.parametrize(
    "time_s", [np.arange(9.0), [0.0, 0.5, 1.0, 2.5, 3.0], [0.0, 0.8]]
)
def test_frames_that_come_too_rarely_are_refused(time_s):
    with pytest.raises(UserError, match="between usable frames"):
        interleave(np.asarray(time_s), 0.5)


def test_short_clips_and_jitter():
    parts = lambda *time_s: [p.tolist() for p in interleave(np.array(time_s), 0.5)]
    assert parts(3.0) == [[0]]
    assert parts(0.0, 0.25, 0.5) == [[0, 2], [1]]
    assert parts(0.0, 0.48, 1.03, 1.49) == [[0, 1, 2, 3]]
