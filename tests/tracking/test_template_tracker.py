"""Matching finds an exact shift; templates follow a disc; bad input is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from blobs import PATH, VIEW, blob_clip, blob_frame, blob_mask
from scipy import ndimage

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines import extras
from fluoro_jax.tracking.baselines.matching import (
    Match,
    Patch,
    band_pass,
    correlations,
    cut_patch,
    match_patch,
    patch_at,
    refine_peak,
)
from fluoro_jax.tracking.baselines.template import TemplateTracker
from fluoro_jax.tracking.baselines.tune import errors_mm, tune
from fluoro_jax.tracking.tracker import Tracker, track_clip


def test_a_shifted_image_is_found_to_a_tenth_of_a_pixel():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((96, 96)), 2.0)
    patch = cut_patch(smooth, blob_mask(48, 40), (3, 3))
    for shift in ([2.3, -1.6], [-4.5, 3.25], [0.0, 0.0]):
        moved = ndimage.shift(smooth, shift, order=3, mode="wrap")
        match = match_patch(moved, patch, np.zeros(2), (8, 8))
        np.testing.assert_allclose(match.shift_px, shift, atol=0.1)
        assert match.score > 0.9 and 0.3 < match.confidence < 1.0


def test_a_peak_at_the_border_of_the_search_is_refined_too():
    frame = blob_frame(40.0, 44.0)
    patch = cut_patch(frame, blob_mask(40, 44), (3, 3))
    match = match_patch(blob_frame(42.2, 42.1), patch, np.zeros(2), (2, 2))
    np.testing.assert_allclose(match.shift_px, [2.2, -1.9], atol=0.1)


def test_correlations_are_pearsons_at_every_place():
    rng = np.random.default_rng(1)
    region, pattern = rng.normal(5.0, 1.0, (14, 12)), rng.normal(-2.0, 0.1, (5, 4))
    region[:6, :5] = 7.0  # a window within it is constant
    found = correlations(region, pattern)
    assert found.shape == (10, 9)
    for row, col in np.ndindex(*found.shape):
        window = region[row : row + 5, col : col + 4]
        flat = np.ptp(window) == 0.0
        said = 0.0 if flat else np.corrcoef(window.ravel(), pattern.ravel())[0, 1]
        assert found[row, col] == pytest.approx(said, abs=1e-9)
    assert not found[0, 0] and not correlations(region, np.full((5, 4), 0.1)).any()
    np.testing.assert_allclose(correlations(-region, pattern), -found, atol=1e-9)
    itself = correlations(region, region[3:9, 2:8])
    assert itself[3, 2] == itself.max() == pytest.approx(1.0) and itself.max() <= 1.0
    # An offset changes nothing, as far as its digits go.
    np.testing.assert_allclose(correlations(region + 1e6, pattern), found, atol=1e-6)


def test_a_patch_between_pixels_is_bilinear_and_repeats_the_border():
    rows, cols = np.mgrid[:20, :30].astype(np.float32)
    patch = Patch(np.zeros((4, 3), np.float32), (8, 9))
    seen = patch_at(3.0 * rows - cols, patch, np.array([0.25, -1.5]))
    expected = (3.0 * rows - cols)[8:12, 9:12] + 3.0 * 0.25 + 1.5
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    assert (patch_at(rows, patch, np.array([50.0, 0.0])) == 19.0).all()


def test_the_maximum_of_a_quadratic_is_exact():
    rows, cols = np.mgrid[-3:4, -3:4].astype(float)
    scores = -((rows - 0.3) ** 2) - 0.5 * (cols + 0.4) ** 2 + 0.2 * rows * cols
    slope = np.linalg.solve([[2.0, -0.2], [-0.2, 1.0]], [0.6, -0.4])
    np.testing.assert_allclose(refine_peak(scores, (3, 3)), slope, atol=1e-9)
    np.testing.assert_array_equal(refine_peak(scores, (0, 3)), [0.0, 0.0])
    np.testing.assert_array_equal(refine_peak(-scores, (3, 3)), [0.0, 0.0])


def test_a_band_pass_leaves_nothing_of_a_constant_and_keeps_the_frame_without_band():
    flat = np.full((96, 96), 3.0, np.float32)
    np.testing.assert_allclose(band_pass(flat, VIEW, (3.0, 9.0)), 0.0, atol=1e-5)
    np.testing.assert_array_equal(band_pass(flat, VIEW, None), flat)


def test_the_band_of_a_point_is_the_difference_of_two_gaussians():
    point = np.zeros((96, 96), np.float32)
    point[48, 48] = 1.0
    pitch = 10.0 / 3.0
    middle = band_pass(point, VIEW, (3.0 * pitch, 6.0 * pitch))[48, 48]
    gauss = lambda sigma: 1.0 / (2.0 * np.pi * sigma**2)
    np.testing.assert_allclose(middle, gauss(3.0) - gauss(6.0), rtol=0.01)


def test_confidence_rises_with_the_peak_and_is_a_half_at_five():
    ratios = (-1.0, 0.0, 5.0, 20.0)
    found = [Match(np.zeros(2), 1.0, ratio).confidence for ratio in ratios]
    assert found[:3] == [0.0, 0.0, 0.5] and 0.5 < found[3] < 1.0


@pytest.mark.parametrize("mode", ["fixed", "updated"])
@pytest.mark.parametrize("around", ["first", "last"])
def test_templates_follow_a_disc(mode, around):
    clip, tracker = blob_clip(), TemplateTracker(mode, around=around)
    assert isinstance(tracker, Tracker) and tracker.causal
    reference = (clip.frames[0], clip.mask[0])
    tracks = track_clip(tracker, clip, reference)
    found = np.stack([t.centroid_px for t in tracks])
    np.testing.assert_allclose(found, clip.centroid_px, atol=0.15)
    mask = tracks[2].probability >= 0.5
    assert np.logical_xor(mask, clip.mask[2] >= 0.5).sum() <= 12


def _tracked(tracker, clip):
    reference = (clip.frames[0], clip.mask[0])
    return track_clip(tracker, clip.replace(mask=None), reference)


@pytest.mark.parametrize("level", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("band_mm", [None, (3.0, 9.0)])
@pytest.mark.parametrize("mode", ["fixed", "updated"])
def test_a_blank_frame_leaves_the_tumour_where_it_was(mode, band_mm, level):
    clip = blob_clip()
    frames = np.array(clip.frames)
    frames[2] = level
    tracker = TemplateTracker(mode, band_mm=band_mm, search_mm=(40.0, 40.0))
    tracks = _tracked(tracker, clip.replace(frames=frames))
    np.testing.assert_array_equal(tracks[2].centroid_px, tracks[1].centroid_px)
    assert (tracks[2].status, tracks[2].confidence) == ("low_confidence", 0.0)
    np.testing.assert_allclose(tracks[3].centroid_px, clip.centroid_px[3], atol=0.3)


def test_a_band_below_the_pixel_is_widened_to_it():
    clip = blob_clip()  # at 3.3 mm; the disc's edge is 10 mm wide
    narrow = band_pass(clip.frames[0], VIEW, (0.1, 0.2))
    np.testing.assert_allclose(narrow, band_pass(clip.frames[0], VIEW, (1.5, 3.0)))
    tracks = _tracked(TemplateTracker(band_mm=(0.1, 0.2)), clip)
    places = np.stack([track.centroid_px for track in tracks])
    np.testing.assert_allclose(places, clip.centroid_px, atol=0.15)


def test_the_best_of_the_phases_answers_without_a_reference():
    films = tuple(
        (blob_frame(40.0 + d, 44.0, s), blob_mask(40.0 + d, 44.0))
        for d, s in ((0.0, 3.0), (4.0, 4.0))
    )
    tracker = TemplateTracker("phases", films=films)
    frames = [blob_frame(40.5, 44.0, 3.0), blob_frame(43.0, 44.0, 4.0)]
    clip = blob_clip(PATH[:2]).replace(frames=np.stack(frames))
    found = np.stack([t.centroid_px for t in track_clip(tracker, clip)])
    np.testing.assert_allclose(found[:, 0], [40.5, 43.0], atol=0.2)


def test_a_template_may_leave_the_frame():
    clip = blob_clip(np.array([[0.0, 0.0], [-6.0, 0.0]]), start=(8.0, 44.0))
    track = track_clip(TemplateTracker(), clip, (clip.frames[0], clip.mask[0]))[1]
    assert track.frame == 1 and np.isfinite(track.confidence)


def test_a_tumour_at_the_border_is_found_on_a_bright_frame():
    """Black beyond the border would be a step that no template has."""
    start = np.array([86.0, 44.0])
    clip = blob_clip(np.array([[0.0, 0.0], [-1.0, 2.0], [2.0, 1.0]]), start=start)
    clip = clip.replace(frames=clip.frames + np.float32(6.0))
    tracker = TemplateTracker(search_mm=(30.0, 30.0), margin_mm=15.0)
    tracks = track_clip(tracker, clip, (clip.frames[0], clip.mask[0]))
    found = np.stack([t.centroid_px for t in tracks])
    moved = found - found[0]
    np.testing.assert_allclose(moved, clip.centroid_px - clip.centroid_px[0], atol=0.5)


def test_the_answer_depends_on_no_later_frame():
    clip, tracker = blob_clip(), TemplateTracker("updated")
    reference = (clip.frames[0], clip.mask[0])
    frames = clip.frames.copy()
    frames[3] = 2.0
    one = track_clip(tracker, clip, reference)
    other = track_clip(tracker, clip.replace(frames=frames), reference)
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
    assert other[3].confidence < 0.5  # a frame without a pattern


def test_a_refused_frame_leaves_the_state_valid():
    clip, tracker = blob_clip(), TemplateTracker("updated")
    state = tracker.init(VIEW, (clip.frames[0], clip.mask[0]))
    state, _ = tracker.step(state, clip.frames[0], 0.0)
    with pytest.raises(UserError, match="not finite"):
        tracker.step(state, np.full((96, 96), np.nan), 0.5)
    _, track = tracker.step(state, clip.frames[1], 0.5)
    np.testing.assert_allclose(track.centroid_px, clip.centroid_px[1], atol=0.15)


def test_the_search_covers_what_training_tumours_moved():
    path = np.zeros((2, 3, 3))
    path[0, :, 1] = [0.0, -12.0, -20.0]
    path[1, :, 0] = [0.0, 3.0, 3.0]
    path[1, :, 2] = [0.0, 4.0, 0.0]
    arrays = {"centre_mm": path}
    first = TemplateTracker.fit(arrays, around="first").search_mm
    np.testing.assert_allclose(first, [20.0 + 3.0, 5.0 + 3.0])
    last = TemplateTracker.fit(arrays).search_mm
    np.testing.assert_allclose(last, [12.0 + 3.0, 5.0 + 3.0])
    assert TemplateTracker.fit(None).search_mm == TemplateTracker().search_mm


def test_wrong_settings_and_a_missing_reference_are_refused_in_four_lines():
    for settings in ({"mode": "other"}, {"around": "here"}, {"mode": "phases"}):
        with pytest.raises(UserError, match="fix") as error:
            TemplateTracker(**settings)
        assert len(str(error.value).splitlines()) == 4
    with pytest.raises(UserError, match="no reference"):
        TemplateTracker().init(VIEW)


def test_a_missing_library_names_its_extra(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"fluoro_jax\[classical\]"):
        extras.optional("cv2")


def test_tuning_counts_its_trials_and_puts_the_best_first():
    clip = blob_clip()
    settings = [{"search_mm": (1.0, 1.0), "around": "first"}, {}]
    trials = tune(TemplateTracker, settings, [clip])
    assert len(trials) == 2 and trials[0].setting == {}
    assert trials[0].p95_mm < 0.5 < trials[1].p95_mm


def test_an_empty_prediction_counts_as_missed():
    clip = blob_clip()

    class Nowhere(TemplateTracker):
        def step(self, state, frame, time_s):
            state, track = super().step(state, frame, time_s)
            return state, dataclasses.replace(track, centroid_px=np.full(2, np.nan))

    assert (errors_mm(Nowhere(), clip) == 50.0).all()
