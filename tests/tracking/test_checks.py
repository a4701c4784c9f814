"""What trackers refuse, warn about, and accept; no network is run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, square_panel
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.checks import begin, check_clip, next_frame
from fluoro_jax.tracking.learned import TrainingDomain

SPEC = StudySpec(rows=16, cols=16)
LEARNED = TrainingDomain.from_study(dataclasses.asdict(SPEC))
VIEW = square_panel(16)


def chest(count=4):
    frames = np.full((count, 16, 16), 3.0, np.float32)
    frames[:, :, 6:10] = 5.0  # spine and mediastinum
    return frames


def clip_of(**changed):
    frames = changed.pop("frames", chest())
    values = {"time_s": 0.5 * np.arange(len(frames)), "geometry": VIEW}
    return Clip(frames=frames, **{**values, **changed})


def test_a_network_of_two_angles_accepts_both_and_no_others():
    learned = TrainingDomain.from_study(dataclasses.asdict(SPEC), (0.0, 90.0))
    for angle in (359.0, 2.0, 87.0):
        view = dataclasses.replace(VIEW, gantry_deg=angle)
        check_clip(clip_of(geometry=view), learned)
    view = dataclasses.replace(VIEW, gantry_deg=45.0)
    with pytest.raises(UserError, match="at most 5 degrees either side of 0 or 90"):
        check_clip(clip_of(geometry=view), learned)


def learned_of(**changed):
    return TrainingDomain.from_study({**dataclasses.asdict(SPEC), **changed})


def test_a_clip_like_those_trained_on_passes():
    check_clip(clip_of(), LEARNED, (chest()[0], np.ones((16, 16))))
    jitter = 0.5 * np.arange(4) + np.array([0.0, 0.05, -0.05, 0.02])
    check_clip(clip_of(time_s=jitter), LEARNED)
    turned = dataclasses.replace(VIEW, gantry_deg=357.0)
    check_clip(clip_of(geometry=turned), LEARNED)
    following = dataclasses.replace(VIEW, offset_mm=(-150.0, 90.0))
    check_clip(clip_of(geometry=following), learned_of(collimate=True))
    oblique = dataclasses.replace(VIEW, gantry_deg=-48.0)
    check_clip(clip_of(geometry=oblique), learned_of(name="gantry"))


@pytest.mark.parametrize("angle", [0.0, 14.0, -10.0, 61.0, 180.0])
def test_angles_outside_of_the_trained_ranges_are_refused(angle):
    view = dataclasses.replace(VIEW, gantry_deg=angle)
    with pytest.raises(UserError, match="15 to 60 degrees either side of 0"):
        check_clip(clip_of(geometry=view), learned_of(name="gantry"))


def first_frame(frame, learned=LEARNED, domain="line_integral"):
    return next_frame(begin(VIEW, None, domain=domain, learned=learned), frame, 0.0)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (8.0 - chest()[0], "inverted polarity likely"),
        (chest()[0] / 8.0, "wrong scale likely"),
        (chest()[0] * 3.0, "wrong scale likely"),
        (chest()[0] - 6.0, "wrong scale likely"),
    ],
)
def test_unlikely_frames_give_a_warning_with_a_next_step(frame, words):
    with pytest.warns(UserWarning, match=words) as caught:
        first_frame(frame)
    text = str(caught[0].message)
    assert text.startswith("WARNING") and "Next: " in text


def test_panels_log_gives_a_warning_unless_it_was_learned():
    with pytest.warns(UserWarning, match="without scatter"):
        first_frame(chest()[0], domain="log")
    first_frame(chest()[0], learned_of(name="exposed"), domain="log")


def test_a_bed_of_another_view_is_not_taken_for_inverted():
    first_frame(8.0 - chest()[0], learned_of(collimate=True))


def test_one_gap_is_a_warning_and_a_slower_clip_an_error():
    check, _ = first_frame(chest()[0])
    with pytest.warns(UserWarning, match="1 s between two frames"):
        late, _ = next_frame(check, chest()[0], 1.0)
    next_frame(late, chest()[0], 1.5)
    with pytest.raises(UserError, match="1 s between the frames at 1 and 2 s"):
        next_frame(late, chest()[0], 2.0)
    with pytest.raises(UserError, match="1 s between"):
        check_clip(clip_of(time_s=np.arange(4.0)), LEARNED)


def test_a_tracker_that_never_looks_takes_any_scale_and_spacing():
    view = Geometry(1000.0, 1500.0, 90.0, 16, 16, (3.0, 2.0), (400.0, 0.0))
    frames = 1000.0 * chest()
    check_clip(clip_of(frames=frames, geometry=view, domain="counts"))
    check = begin(view, None, domain="counts")
    next_frame(next_frame(check, frames[0], 0.0)[0], frames[1], 60.0)
