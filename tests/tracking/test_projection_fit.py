"""The motion model fitted to films of known deformation."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from marks import further
from small_phases import GRID, VIEW, away_mm, phase_clip, small_phases

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.tracking.baselines.film_fit import (
    local_moments,
    make_film,
    small_film,
)
from fluoro_jax.tracking.baselines.pca_network import (
    PcaNetworkTracker,
    draw_weights,
    vary,
)
from fluoro_jax.tracking.baselines.projection_fit import (
    ProjectionFitTracker,
    fit_film,
    misfit,
    moved_by,
)
from fluoro_jax.tracking.tracker import Tracker, track_clip


@pytest.fixture(scope="module")
def phases():
    return small_phases()


@pytest.mark.parametrize("intensity", ["affine", further("patch")])
def test_the_weights_of_a_film_are_found_whatever_its_gain(phases, intensity):
    model = ProjectionFitTracker(phases, modes=2).model
    truth, zero = np.float32([0.8, -0.6]), np.zeros(2, np.float32)
    film = np.asarray(make_film(*moved_by(model, truth, VIEW), VIEW, quarter=0))
    film = np.float32(1.7) * film - np.float32(0.4)
    same = {"quarter": 0, "intensity": intensity}
    found = fit_film(model, film, VIEW, zero, **same)
    np.testing.assert_allclose(found, truth, atol=0.02)
    assert misfit(model, film, VIEW, truth, **same) < 1e-4
    assert misfit(model, film, VIEW, zero, **same) > 1e-2


def test_every_phase_is_followed_without_a_reference(phases):
    clip, tracker = phase_clip(phases), ProjectionFitTracker(phases, modes=2)
    assert isinstance(tracker, Tracker) and tracker.causal
    tracks = track_clip(tracker, clip)
    assert away_mm(tracks, clip).max() < 0.3
    assert all(t.status == "ok" and t.confidence > 0.99 for t in tracks)
    mask = tracks[1].probability >= 0.5
    assert np.logical_xor(mask, clip.mask[1] >= 0.5).sum() <= 4


def test_a_shift_of_the_patient_needs_the_rigid_shifts(phases):
    clip = phase_clip(phases, (0, 3))
    x, y, z = GRID.origin_mm
    moved = dataclasses.replace(phases, grid=Grid((x + 10.0, y, z), GRID.spacing_mm))
    plain = track_clip(ProjectionFitTracker(moved, modes=2), clip)
    shifted = track_clip(ProjectionFitTracker(moved, modes=2, shifts=True), clip)
    assert np.median(away_mm(plain, clip)) > 1.0
    assert away_mm(shifted, clip).max() < 0.5


def test_a_small_film_averages_and_keeps_the_panel():
    view = dataclasses.replace(VIEW, rows=128, cols=96, pixel_mm=(2.0, 3.0))
    film, small = small_film(np.full((128, 96), 2.5, np.float32), view)
    assert film.shape == (64, 64) and small.pixel_mm == (4.0, 4.5)
    np.testing.assert_allclose(film, 2.5, atol=1e-5)


def test_local_moments_follow_gain_and_offset():
    film = np.random.default_rng(2).standard_normal((48, 48)).astype(np.float32)
    run = jax.jit(lambda film: local_moments(film, VIEW))
    mean, sd = jax.device_get(run(film))
    other_mean, other_sd = run(np.float32(3.0) * film + np.float32(1.0))
    np.testing.assert_allclose(other_mean, 3.0 * mean + 1.0, atol=1e-4)
    np.testing.assert_allclose(other_sd, 3.0 * sd, rtol=1e-3)


def test_counts_and_unknown_settings_are_refused(phases):
    with pytest.raises(UserError, match="intensity"):
        ProjectionFitTracker(phases, intensity="histogram")
    with pytest.raises(UserError, match="line_integral or log"):
        ProjectionFitTracker(phases).init(VIEW, domain="counts")


@pytest.fixture(scope="module")
def hardly_trained(phases):
    return PcaNetworkTracker.fit(phases, modes=2, films=4, steps=2)


@pytest.mark.thorough
def test_a_network_answers_every_frame_of_its_own_view(phases, hardly_trained):
    clip = phase_clip(phases)
    assert isinstance(hardly_trained, Tracker) and hardly_trained.causal
    tracks = track_clip(hardly_trained, clip)
    assert [t.frame for t in tracks] == [0, 1, 2, 3]
    other = dataclasses.replace(VIEW, gantry_deg=90.0)
    with pytest.raises(UserError, match="not trained for"):
        hardly_trained.init(other)
    again = PcaNetworkTracker.fit(phases, modes=2, films=4, steps=2)
    jax.tree.map(np.testing.assert_array_equal, again.params, hardly_trained.params)


@pytest.mark.slow
def test_a_network_learns_the_weights_of_films(phases):
    losses = []
    tracker = PcaNetworkTracker.fit(
        phases,
        modes=2,
        films=96,
        steps=250,
        progress=lambda step, loss: losses.append(loss),
    )
    assert len(losses) == 250
    assert np.mean(losses[-20:]) < 0.3 * np.mean(losses[:20])
    clip = phase_clip(phases)
    # Standing still at the middle of the path is 4.5 mm off.
    assert np.median(away_mm(track_clip(tracker, clip), clip)) < 2.0


def test_drawn_weights_lie_around_the_phases_and_a_seed_repeats_them(phases):
    model = ProjectionFitTracker(phases, modes=2).model
    draw = lambda: draw_weights(np.random.default_rng(5), model, 400)
    np.testing.assert_array_equal(draw(), draw())
    assert np.abs(draw()).max() < 4.0 and (np.std(draw(), axis=0) > 0.6).all()


def test_varied_films_differ_by_scatter_and_noise():
    blank = np.zeros((4, 48, 48), np.float32)
    films = np.asarray(jax.jit(vary)(jax.random.key(0), blank))
    assert 0.1 < float(films.std()) < 0.6
    assert not np.allclose(films[0], films[1])
