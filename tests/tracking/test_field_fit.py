"""Fields by B-splines, and trackers that fit them, on films of known displacement."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_phases import GRID, SHAPE, SIDE_MM, VIEW, away_mm, phase_clip, small_phases

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import project_point, px_to_iso_mm
from fluoro_jax.tracking.baselines.bspline_projection import BSplineTracker
from fluoro_jax.tracking.baselines.field_fit import FieldFit, fit_field
from fluoro_jax.tracking.baselines.film_fit import difference, make_film
from fluoro_jax.tracking.baselines.freeform import FreeformTracker
from fluoro_jax.tracking.baselines.motion_model import (
    deformed,
    reference_phase,
    share_centroid_mm,
)
from fluoro_jax.tracking.baselines.projection_fit import ProjectionFitTracker
from fluoro_jax.tracking.baselines.spline_field import (
    BENDING,
    GRADIENT,
    energy,
    field_mm,
    make_basis,
)
from fluoro_jax.tracking.tracker import Tracker, track_clip

KNOTS = (5, 4, 6)
# Of each voxel from the first, in LPS mm along (z, y, x).
PLACES_MM = SIDE_MM * np.indices(SHAPE)


def basis_of(degree):
    return make_basis(SHAPE, GRID, knots=KNOTS, degree=degree)


def nodes_mm(basis, degree):
    """Returns where a spline has its middle, along (z, y, x), mm from voxel 0."""
    steps = [
        SIDE_MM * (n - 1) / (knots - 1) for n, knots in zip(SHAPE, KNOTS, strict=True)
    ]
    first = -1 if degree == 3 else 0
    axes = [
        step * (first + np.arange(k))
        for step, k in zip(steps, basis.shape[1:], strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize("degree", [1, 3])
def test_splines_add_up_to_one_and_draw_straight_lines(degree):
    basis = basis_of(degree)
    for values in basis.values:
        np.testing.assert_allclose(np.sum(values, axis=1), 1.0, atol=1e-6)
    # The same shift everywhere is a rigid one; places themselves are drawn exactly.
    shift = np.array([3.0, -2.0, 1.0], np.float32).reshape(3, 1, 1, 1)
    draw = jax.jit(functools.partial(field_mm, basis))
    drawn = draw(np.broadcast_to(shift, basis.shape))
    np.testing.assert_allclose(drawn, np.broadcast_to(shift, drawn.shape), atol=1e-5)
    places = draw(np.float32(nodes_mm(basis, degree)))
    np.testing.assert_allclose(places, PLACES_MM, atol=1e-4)


def test_energies_of_simple_fields_are_those_of_the_closed_form():
    cubic, linear = basis_of(3), basis_of(1)
    z, y, x = nodes_mm(cubic, 3)
    affine = np.array([0.2 * x - 0.1 * z + 4.0, 0.3 * y, -0.4 * z], np.float32)
    run = jax.jit(energy, static_argnames="terms")
    slopes = 0.2**2 + 0.1**2 + 0.3**2 + 0.4**2
    np.testing.assert_allclose(run(cubic, affine, terms=GRADIENT), slopes, rtol=1e-4)
    assert abs(float(run(cubic, affine, terms=BENDING))) < 1e-7
    z, y, x = nodes_mm(linear, 1)
    affine = np.array([0.2 * x - 0.1 * z + 4.0, 0.3 * y, -0.4 * z], np.float32)
    np.testing.assert_allclose(run(linear, affine, terms=GRADIENT), slopes, rtol=1e-4)
    # x z has one mixed derivative; it occurs twice.
    z, _, x = nodes_mm(cubic, 3)
    saddle = np.array([0.01 * x * z, 0.0 * x, 0.0 * x], np.float32)
    np.testing.assert_allclose(run(cubic, saddle, terms=BENDING), 2e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def phases():
    return small_phases()


def film_of(patient, moved_mm):
    """Returns the radiograph of a deformed patient, of another gain and offset."""
    film = make_film(patient, np.float32(moved_mm), VIEW, quarter=0)
    return np.float32(1.7) * film - np.float32(0.4)


def at_tumor(patient, moved_mm):
    """Returns a field `[3]` mm averaged over the tumour."""
    share = np.asarray(patient.share)
    return (np.asarray(moved_mm) * share).sum(axis=(1, 2, 3)) / share.sum()


def test_a_shift_in_the_image_plane_is_found_whatever_the_gain(phases):
    patient, basis = reference_phase(phases), basis_of(3)
    zero = np.zeros((3, *SHAPE), np.float32)
    shift_mm = np.array([4.0, 0.0, -3.0])  # right and down; y is along the ray
    film = film_of(patient, zero + shift_mm.reshape(3, 1, 1, 1))
    found = fit_field(
        (patient, jnp.asarray(zero)),
        film,
        VIEW,
        basis,
        jnp.zeros(basis.shape),
        quarter=0,
        how=FieldFit(60, BENDING, 1.0),
    )
    moved_mm = at_tumor(patient, field_mm(basis, found))
    np.testing.assert_allclose(moved_mm[[0, 2]], shift_mm[[0, 2]], atol=0.5)
    # Depth is not seen, and kept tame.
    assert abs(moved_mm[1]) < 2.0


def test_the_gradient_of_a_film_is_finite_and_the_slope(phases):
    patient, basis = reference_phase(phases), basis_of(3)
    film = film_of(patient, np.zeros((3, *SHAPE)))

    @jax.jit
    def misfit(coefficients):
        drr = make_film(patient, field_mm(basis, coefficients), VIEW, quarter=0)
        rough = energy(basis, coefficients, BENDING)
        return jnp.mean(jnp.square(difference(drr, film))) + rough

    rng = np.random.default_rng(4)
    at, along = (rng.standard_normal(basis.shape).astype(np.float32) for _ in range(2))
    slope = np.asarray(jax.jit(jax.grad(misfit))(at))
    assert np.isfinite(slope).all()
    step = np.float32(0.02)
    change = (misfit(at + step * along) - misfit(at - step * along)) / (2.0 * step)
    np.testing.assert_allclose(np.sum(slope * along), change, rtol=0.05)


# The box is small: knots as far apart as twelve on a body.
SPLINES = functools.partial(BSplineTracker, knots=5)
TRACKERS = (FreeformTracker, SPLINES)


@pytest.mark.parametrize(("kind", "share"), [(FreeformTracker, 0.05), (SPLINES, 0.25)])
def test_every_phase_is_followed_without_a_reference(phases, kind, share):
    clip, tracker = phase_clip(phases), kind(phases)
    assert isinstance(tracker, Tracker) and tracker.causal
    tracks = track_clip(tracker, clip)
    assert [t.frame for t in tracks] == [0, 1, 2, 3]
    # Against an answer that stands still in the reference phase.
    first = np.asarray(px_to_iso_mm(VIEW, clip.centroid_px - clip.centroid_px[0]))
    still_mm = np.linalg.norm(first, axis=1).max()
    assert away_mm(tracks, clip).max() < share * still_mm
    assert all(t.status == "ok" and t.confidence > 0.99 for t in tracks)


def test_a_tumour_that_leaves_its_motion_model_needs_the_free_displacement(phases):
    still = ProjectionFitTracker(phases, shifts=True)
    patient = still.model
    away = np.indices(SHAPE) - np.array([11, 9, 8]).reshape(3, 1, 1, 1)
    near = np.exp(-0.5 * np.square(away).sum(axis=0) / 3.0**2)
    bump_mm = near * np.array([3.0, 0.0, 3.0]).reshape(3, 1, 1, 1)
    centre = share_centroid_mm(deformed(patient.share, bump_mm, GRID), GRID)
    clip = Clip(
        frames=np.asarray(film_of(patient, bump_mm))[None],
        time_s=np.zeros(1),
        geometry=VIEW,
        centroid_px=np.asarray(project_point(VIEW, centre))[None],
    )
    model = away_mm(track_clip(still, clip), clip)[0]
    free = away_mm(track_clip(FreeformTracker(phases), clip), clip)[0]
    assert model > 1.0 and free < 0.5 * model


@pytest.mark.parametrize("kind", TRACKERS)
def test_counts_are_refused(phases, kind):
    with pytest.raises(UserError, match="line_integral or log"):
        kind(phases).init(VIEW, domain="counts")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (BSplineTracker, {"knots": 1}),
        (BSplineTracker, {"knots": 2.5}),
        (BSplineTracker, {"steps": 0}),
        (FreeformTracker, {"node_mm": 0.0}),
        (FreeformTracker, {"node_mm": -5.0}),
        (FreeformTracker, {"weight": float("nan")}),
    ],
)
def test_impossible_settings_are_refused(phases, kind, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        kind(phases, **wrong)
