"""The tracker that predicts from true places of the past alone."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from blobs import VIEW, blob_clip

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import position_iso_mm
from fluoro_jax.sim.body.breathing import breathing_signal
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.tracking.baselines import centroids
from fluoro_jax.tracking.baselines.centroids import (
    AHEAD_S,
    TAPS,
    CentroidTracker,
    TruePath,
    held,
)
from fluoro_jax.tracking.baselines.registry import RIVALS
from fluoro_jax.tracking.tracker import track_clip

TIME_S = np.arange(0.0, 12.0, 0.05)


@functools.cache
def untrained():
    return centroids.CentroidNetwork().init(jax.random.key(3), np.zeros((1, TAPS)))


def wave(time_s):
    return np.stack([8.0 * np.sin(1.6 * time_s), 0.3 * time_s], axis=1)


def answers_mm(path, labelled_s=None):
    """Answers on a clip whose frames are all alike."""
    clip = blob_clip(np.zeros((41, 2)))
    clip = dataclasses.replace(clip, time_s=0.25 * np.arange(41))
    tracker = CentroidTracker(untrained(), path, labelled_s)
    tracks = track_clip(tracker, clip, (clip.frames[0], clip.mask[0]))
    return clip.time_s, np.stack([np.asarray(t.centroid_iso_mm) for t in tracks])


def changed_after(time_s):
    """The path of `wave`, and one that leaves it after a time."""
    later = (time_s < TIME_S)[:, None]
    return TruePath(TIME_S, wave(TIME_S)), TruePath(TIME_S, wave(TIME_S) + 5.0 * later)


def test_no_answer_reads_the_truth_of_the_last_400_ms():
    one, other = changed_after(5.0)
    time_s, before = answers_mm(one)
    _, after = answers_mm(other)
    blind = time_s < 5.0 + AHEAD_S
    np.testing.assert_array_equal(before[blind], after[blind])
    assert (np.abs(before - after)[~blind].max(axis=1) > 1.0).all()


def test_alone_it_reads_no_truth_after_the_first_stretch():
    one, other = changed_after(3.0)
    _, before = answers_mm(one, labelled_s=3.0)
    _, after = answers_mm(other, labelled_s=3.0)
    np.testing.assert_array_equal(before, after)
    # The stretch itself is read.
    _, short = answers_mm(one, labelled_s=2.0)
    assert np.abs(short - before).max() > 0.1


def test_alone_it_stays_within_the_places_that_were_known(monkeypatch):
    away = lambda params, known_s, known_mm, time_s: known_mm[-1] + 7.0
    monkeypatch.setattr(centroids, "predict_mm", away)
    path = TruePath(TIME_S, wave(TIME_S))
    time_s, places = answers_mm(path, labelled_s=3.0)
    highest = wave(TIME_S[TIME_S <= 3.0]).max(axis=0) - wave(TIME_S)[0]
    moved = (places - places[0]) - (answers_mm(path)[1] - places[0])
    # The same until 3 s, and from then on held.
    np.testing.assert_allclose(moved[time_s <= 3.0], 0.0, atol=0.01)
    start = blob_clip(np.zeros((41, 2)))
    origin = np.asarray(position_iso_mm(start.geometry, start.centroid_px[0]))
    held_mm = places[time_s > 4.3] - origin
    np.testing.assert_allclose(held_mm, np.tile(highest, (len(held_mm), 1)), atol=0.05)


def test_a_predicted_place_is_where_the_tumour_is_said_to_be(monkeypatch):
    along = [lambda t, n=n: np.interp(t, TIME_S, wave(TIME_S)[:, n]) for n in (0, 1)]
    true_mm = lambda params, s, mm, t: np.array([axis(t) for axis in along])
    monkeypatch.setattr(centroids, "predict_mm", true_mm)
    time_s, places = answers_mm(TruePath(TIME_S, wave(TIME_S)))
    moved = np.stack([axis(time_s) for axis in along], axis=1)
    # Pixels are of 3.33 mm: places lie between them.
    np.testing.assert_allclose(places - places[0], moved - moved[0], atol=0.01)


def test_a_tumour_at_rest_stays_where_frame_0_has_it():
    still = TruePath(TIME_S, np.tile([3.0, -7.0], (len(TIME_S), 1)))
    for labelled_s in (None, 3.0):
        _, places = answers_mm(still, labelled_s)
        np.testing.assert_allclose(places, places[:1].repeat(41, 0), atol=0.01)


@pytest.mark.parametrize("frames_per_s", [5.0, 7.5, 15.0])
def test_the_newest_known_place_is_as_old_as_the_delay(monkeypatch, frames_per_s):
    # Times as the comparison has them: rounded to float32.
    times = np.arange(60, dtype=np.float32) / np.float32(frames_per_s)
    ages = {}

    def predict_mm(params, known_s, known_mm, time_s):
        ages[time_s] = time_s - known_s[-1]
        return known_mm[-1]

    monkeypatch.setattr(centroids, "predict_mm", predict_mm)
    # Truth at the frames alone: the newest is the last one that is old enough.
    path = TruePath(times, wave(times))
    for labelled_s in (None, 1.0):
        clip = blob_clip(np.zeros((60, 2)))
        clip = dataclasses.replace(clip, time_s=times)
        tracker = CentroidTracker(untrained(), path, labelled_s)
        track_clip(tracker, clip, (clip.frames[0], clip.mask[0]))
        whole = np.ceil(AHEAD_S * frames_per_s - 1e-6) / frames_per_s
        late = [age for at, age in ages.items() if at > 3.0]
        np.testing.assert_allclose(late, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("time_s", "place_mm", "words"),
    [
        ([], np.zeros((0, 2)), "times"),
        ([0.0, 1.0], np.zeros((3, 2)), "places"),
        ([0.0, 1.0], np.zeros((2, 3)), "places"),
        ([0.0, 0.0], np.zeros((2, 2)), "do not rise"),
        ([0.0, 1.0], [[0.0, 0.0], [np.nan, 0.0]], "not finite"),
    ],
)
def test_a_path_that_is_none_is_refused(time_s, place_mm, words):
    with pytest.raises(UserError, match=words):
        TruePath(time_s, place_mm)


def test_a_path_on_another_clock_is_refused():
    with pytest.raises(UserError, match="frame 0 at 0 s, the true path from 5 to"):
        answers_mm(TruePath(TIME_S + 5.0, wave(TIME_S)))


def test_pasts_are_held_before_their_first_known_place():
    places = np.arange(TAPS, dtype=float)[None].repeat(200, 0)
    short = np.asarray(held(jax.random.key(0), places))
    first = short[:, 0].astype(int)
    assert 0.3 < np.mean(first > 0) < 0.7 and first.max() > TAPS - 5
    for row, start in zip(short, first, strict=True):
        np.testing.assert_array_equal(row, np.maximum(np.arange(TAPS), start))


def test_without_a_path_or_an_outline_it_is_refused():
    with pytest.raises(UserError, match="no true path"):
        RIVALS["centroids_delayed"].build(None, None)
    tracker = CentroidTracker(untrained(), TruePath(TIME_S, wave(TIME_S)))
    with pytest.raises(UserError, match="no reference"):
        tracker.init(VIEW)


@pytest.mark.slow
def test_trained_it_halves_the_error_of_the_last_known_place():
    params = centroids.fit()
    draw = jax.jit(lambda key: breathing_signal(sample_breathing(key, 16.0), known_s))
    known_s = np.arange(320) / 20.0
    missed = []
    for number in range(6):
        inhaled = np.asarray(draw(jax.random.key(500 + number))[0])
        place_mm = np.stack([-12.0 * inhaled, 2.0 * inhaled], -1)
        for at in range(160, 320, 4):
            last = at - round(20.0 * AHEAD_S)
            seen = slice(0, last + 1)
            found = centroids.predict_mm(
                params, known_s[seen], place_mm[seen], known_s[at]
            )
            missed.append(
                [np.hypot(*(x - place_mm[at])) for x in (found, place_mm[last])]
            )
    ours, without = np.mean(missed, axis=0)
    print(f"after {AHEAD_S} s: {ours:.2f} mm, last known place {without:.2f} mm")
    assert ours < 0.5 * without
