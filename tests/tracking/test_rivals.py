"""The registry of the comparison, and what its trackers reach on an easy clip."""

from __future__ import annotations

import time

import numpy as np
import pytest
from blobs import blob_clip
from small_phases import small_phases

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines.phases import (
    centroid_mm,
    phases_of_case,
    register_to_first,
)
from fluoro_jax.tracking.baselines.registry import KNOWLEDGE, RIVALS
from fluoro_jax.tracking.baselines.tune import errors_mm, training_clips
from fluoro_jax.tracking.baselines.tune_learned import (
    TESTED,
    TRAINED,
    arrays_of,
    easy_case,
)
from fluoro_jax.tracking.tracker import Tracker, track_clip

LEARNED = ("siamese", "mask_propagation")  # from training clips
# Trained by build, in minutes.
BY_BUILD = (
    *("pca_network", *LEARNED),
    *(name for name, rival in RIVALS.items() if rival.knowledge == "past truth"),
)


def training_of(clip):
    return {
        "mask": clip.mask[None],
        "centroid_px": clip.centroid_px[None],
        "centre_mm": np.zeros((1, len(clip.time_s), 3)),
        "time_s": clip.time_s[None],
    }


@pytest.mark.parametrize("name", RIVALS)
def test_every_tracker_says_what_it_knows_and_builds(name):
    rival = RIVALS[name]
    assert rival.knowledge in KNOWLEDGE and rival.trials >= 1
    assert rival.extra in ("", "classical")
    if name in BY_BUILD:
        return
    tracker = rival.build(training_of(blob_clip()), small_phases())
    assert isinstance(tracker, Tracker) and tracker.causal


def test_what_a_tracker_cannot_do_without_is_asked_for():
    for name in ("static_blind", *LEARNED):
        with pytest.raises(UserError, match="no training clips"):
            RIVALS[name].build(None, None)
    for name, rival in RIVALS.items():
        if rival.knowledge == "phases":
            with pytest.raises(UserError, match="no planning phases"):
                RIVALS[name].build(None, None)


def test_what_knows_nothing_answers_without_a_reference():
    clip = blob_clip()
    for rival in RIVALS.values():
        if rival.knowledge == "nothing":
            tracker = rival.build(training_of(clip), None)
            assert len(track_clip(tracker, clip)) == len(clip.time_s)


def test_contours_put_the_tumour_of_every_phase_onto_that_of_the_first():
    pytest.importorskip("SimpleITK")
    phases = small_phases()
    fields = register_to_first(phases.mu, phases.share, phases.grid, iterations=5)
    target = centroid_mm(phases.share[0], phases.grid)
    for share, field in zip(phases.share, fields, strict=True):
        weight = share / share.sum()
        moved = centroid_mm(share, phases.grid) + (field * weight).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(moved, target, atol=0.3)


@pytest.fixture(scope="module")
def easy():
    """A tumour of 30 mm in free lung, breathing evenly: the case and its clip."""
    return easy_case()


@pytest.fixture(scope="module")
def visible(easy):
    """The clip, and the patient's planning phases."""
    pytest.importorskip("SimpleITK")
    case, clip = easy
    return clip, phases_of_case(case, clip.geometry)


@pytest.fixture(scope="module")
def training():
    """Arrays of 40 training cases of the group study, 128 x 128 pixels."""
    return arrays_of(training_clips(TESTED + TRAINED)[TESTED:])


LIMITS_MM = {
    "template_fixed": 2.0,
    "template_updated": 2.0,
    "template_phases": 2.0,
    "flow_reference": 2.0,
    "flow_successive": 2.0,
    "flow_contour": 2.0,
    "pca_projection": 1.5,
    "pca_projection_shifts": 1.5,
    "pca_projection_patch": 1.5,
    "pca_projection_freeform": 1.5,
    "bspline_projection": 2.0,
    "pca_network": 2.0,
    "siamese": 1.5,
    "mask_propagation": 2.0,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS_MM)
def test_an_easy_tumour_is_followed(easy, name, request):
    clip, learned = easy[1], name in LEARNED
    # Phases and training clips take a minute each: only for those that need them.
    given = "training" if learned else "visible"
    found = request.getfixturevalue(given)
    arrays, phases = (found, None) if learned else (None, found[1])
    start = time.perf_counter()
    tracker = RIVALS[name].build(arrays, phases)
    took_s = time.perf_counter() - start
    errors = errors_mm(tracker, clip)
    print(f"{name}: built in {took_s:.0f} s")
    print(f"{name}: median {np.median(errors):.2f} mm, largest {errors.max():.2f} mm")
    assert np.median(errors) < LIMITS_MM[name]


@pytest.mark.slow
def test_a_drift_of_the_patient_fails_the_motion_model_and_shifts_repair_it(visible):
    """As published: 4 to 5 mm off at up to 5 mm of drift (Dhou 2015, PMC4432909)."""
    clip, phases = visible
    drifted = phases.moved(np.array([5.0, 0.0, 0.0]))
    median = lambda name: np.median(errors_mm(RIVALS[name].build(None, drifted), clip))
    plain, shifted = median("pca_projection"), median("pca_projection_shifts")
    print(f"5 mm of drift: {plain:.2f} mm; with rigid shifts {shifted:.2f} mm")
    assert plain > 3.0 and shifted < 1.5
