"""The measures of TrackRAD2025, as the challenge has them and corrected."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.trackrad_metrics import NAMES, trackrad_metrics

PITCH = (1.25, 1.25)


def disc(row, column, radius=9.0, size=64):
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def moving(offset=0.0, frames=6):
    return np.stack([disc(30 + t + offset, 30) for t in range(frames)])


def test_a_perfect_track():
    for compat in (True, False):
        found = trackrad_metrics(moving(), moving(), PITCH, compat=compat)
        assert tuple(found) == NAMES
        assert found["dsc"] == 1.0
        assert found["hd95"] == found["masd"] == found["cd"] == 0.0
        assert found["relative_d98_decrease_pct"] == pytest.approx(0.0, abs=1e-6)


def test_a_track_two_pixels_low_is_two_pixels_or_their_millimetres():
    pred = moving(2.0)
    pixels = trackrad_metrics(pred, moving(), PITCH, compat=True)
    mm = trackrad_metrics(pred, moving(), PITCH, compat=False)
    assert pixels["cd"] == pytest.approx(2.0)
    assert mm["cd"] == pytest.approx(2.5)
    assert pixels["hd95"] == pytest.approx(2.0, abs=0.3)
    # The beam's margin of 3 covers an error of 2.
    assert mm["relative_d98_decrease_pct"] == pytest.approx(0.0, abs=1.0)


def test_a_beam_far_beside_loses_the_dose():
    pred = moving(20.0)
    for compat in (True, False):
        found = trackrad_metrics(pred, moving(), PITCH, compat=compat)
        assert found["relative_d98_decrease_pct"] == pytest.approx(100.0, abs=1.0)


def test_silence_pays_in_the_challenge_and_not_here():
    pred = moving(6.0)
    silent = pred.copy()
    silent[3:] = False
    pred[:3] = silent[:3] = moving()[:3]
    said = trackrad_metrics(pred, moving(), PITCH, compat=True)
    quiet = trackrad_metrics(silent, moving(), PITCH, compat=True)
    assert quiet["dsc"] == 1.0 > said["dsc"]
    assert quiet["relative_d98_decrease_pct"] is None
    honest = trackrad_metrics(silent, moving(), PITCH, compat=False)
    assert honest["dsc"] == 0.5
    assert honest["cd"] == pytest.approx(0.5 * 0.5 * np.hypot(64, 64) * 1.25)


def test_the_challenges_surface_distance_runs_one_way():
    pred, truth = moving(), moving()
    truth = truth | np.stack([disc(55, 55, 4)] * len(truth))  # more than predicted
    one_way = trackrad_metrics(pred, truth, (1.0, 1.0), compat=True)
    both = trackrad_metrics(pred, truth, (1.0, 1.0), compat=False)
    assert one_way["masd"] == 0.0 < both["masd"]


def test_frames_without_a_target_are_left_out():
    pred, truth = moving(), moving()
    truth[0] = False
    found = trackrad_metrics(pred, truth, PITCH, compat=False)
    assert found["dsc"] == 1.0


@pytest.mark.parametrize(
    ("pred", "truth", "words"),
    [
        (moving(), moving(frames=5), "the same frames"),
        (moving(), np.zeros_like(moving()), "without a target"),
    ],
)
def test_refusals(pred, truth, words):
    with pytest.raises(UserError) as caught:
        trackrad_metrics(pred, truth, PITCH, compat=True)
    assert words in str(caught.value)


def test_a_frame_without_an_answer_gives_no_dose_when_corrected():
    pred = moving(frames=20)
    pred[1:] = False
    found = trackrad_metrics(pred, moving(frames=20), PITCH, compat=False)
    assert found["relative_d98_decrease_pct"] == pytest.approx(95.0, abs=6.0)
