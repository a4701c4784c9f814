"""Outlines of tumours that are hardly larger than a voxel of the planning phases."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from small_phases import GRID, SHAPE, small_phases

from fluoro_jax.geometry import Grid, project_point, square_panel
from fluoro_jax.metrics import centroid_px
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_mask
from fluoro_jax.tracking.baselines import phases as phases_of
from fluoro_jax.tracking.baselines.film_fit import moved_track
from fluoro_jax.tracking.baselines.outline import fine_outlines, inside_voxels
from fluoro_jax.tracking.baselines.phases import PatientPhases, centroid_mm
from fluoro_jax.tracking.baselines.projection_fit import (
    ProjectionFitTracker,
    moved_by,
)
from fluoro_jax.tracking.baselines.tumor_voxels import tumor_share

SIDE_MM, DIAMETER_MM = 5.0, 8.0
COARSE = Grid((-50.0, -50.0, -50.0), (SIDE_MM,) * 3)
SPHERE = Tumor(np.zeros(3, np.float32), DIAMETER_MM, 0.0, 0.0)
# On a voxel, between two, between eight, and anywhere.
CENTRES_MM = np.array(
    [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [2.5, 2.5, 2.5], [11.3, -7.9, 3.1]]
)


def shares():
    return np.stack(
        [tumor_share(SPHERE, at, COARSE, (21, 21, 21)) for at in CENTRES_MM]
    )


def test_a_sphere_of_8_mm_on_voxels_of_5_mm_keeps_volume_and_centroid():
    assert (shares()[2] < 0.5).all()  # cut at one half, nothing would be left
    outlines, grids = fine_outlines(shares(), COARSE)
    true_mm3 = np.pi / 6.0 * DIAMETER_MM**3
    for inside, grid, centre_mm in zip(outlines, grids, CENTRES_MM, strict=True):
        volume_mm3 = inside.sum() * np.prod(np.array(grid.spacing_mm))
        assert volume_mm3 == pytest.approx(true_mm3, rel=0.15)
        found_mm = centroid_mm(inside.astype(float), grid)
        assert np.linalg.norm(found_mm - centre_mm) < 0.3
        # A ball and not a box: hardly anything further out than a millimetre or two.
        index = np.argwhere(inside)[:, ::-1]
        away = index * np.array(grid.spacing_mm) + np.array(grid.origin_mm) - centre_mm
        assert np.linalg.norm(away, axis=1).max() < 0.5 * DIAMETER_MM + 2.0


def test_the_mask_of_a_phase_has_the_area_of_the_tumour_in_the_radiograph():
    view = square_panel(128, detector_mm=200.0)
    mu = np.full((4, 21, 21, 21), 0.01, np.float32)
    fields = np.zeros((4, 3, 21, 21, 21), np.float32)
    patient = PatientPhases(mu, shares(), COARSE, fields, 0, view)
    for (_, mask), centre_mm in zip(patient.films(), CENTRES_MM, strict=True):
        true = np.asarray(tumor_mask(view, SPHERE, centre_mm.astype(np.float32)))
        assert mask.sum() == pytest.approx(true.sum(), rel=0.15)
        np.testing.assert_allclose(centroid_px(mask), centroid_px(true), atol=0.3)


def test_at_least_one_voxel_is_inside_and_a_large_tumour_is_cut_at_one_half():
    for share in shares():
        assert 1 <= inside_voxels(share).sum() <= 3
    large = Tumor(np.zeros(3, np.float32), 40.0, 0.0, 0.0)
    share = tumor_share(large, CENTRES_MM[3], COARSE, (21, 21, 21))
    away = np.logical_xor(inside_voxels(share), share >= 0.5).sum()
    assert away <= 0.05 * (share >= 0.5).sum()


def test_a_registered_field_meets_the_contour_of_a_small_tumour(monkeypatch):
    """The demons field is made 0, so that the correction is all of it."""
    still = lambda *a, **k: type("R", (), {"field_mm": np.zeros((3, 21, 21, 21))})()
    monkeypatch.setattr(phases_of, "register", still)
    share = shares()
    fields = phases_of.register_to_first(share * 0.02, share, COARSE, iterations=1)
    for phase in (1, 2, 3):
        weight = share[phase] / share[phase].sum()
        moved = (fields[phase] * weight).sum(axis=(1, 2, 3)) + CENTRES_MM[phase]
        np.testing.assert_allclose(moved, CENTRES_MM[0], atol=0.6)
        # And far from the tumour there is none of it.
        assert np.abs(fields[phase][:, 0, 0, 0]).max() < 0.1


def test_a_fitted_model_answers_with_a_small_tumours_mask():
    patient = small_phases()
    dot = np.zeros(SHAPE, np.float32)
    dot[11:13, 9:11, 8:10] = 0.25
    small = dataclasses.replace(patient, share=np.stack([dot] * 6))
    model = ProjectionFitTracker(small, modes=2).model
    film = jnp.asarray(small.films()[0][0])
    patient, field_mm = moved_by(model, model.scores[0], small.view)
    track = moved_track(0, patient, field_mm, film, small.view, small.view)
    assert track.status != "missed"
    expected = project_point(small.view, centroid_mm(dot, GRID))
    np.testing.assert_allclose(track.centroid_px, expected, atol=0.2)
    middle = ndimage.center_of_mass(track.probability >= 0.5)
    np.testing.assert_allclose(middle, expected, atol=0.5)
