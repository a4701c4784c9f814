"""Planning phases and the motion model: closed forms on a box of tissue."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from small_phases import AMOUNTS, GRID, SHAPE, SIDE_MM, small_phases

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.baselines.motion_model import (
    deformed,
    displacement_mm,
    make_model,
    share_centroid_mm,
)
from fluoro_jax.tracking.baselines.phases import centroid_mm

move = jax.jit(functools.partial(deformed, grid=GRID))
centroid_of = jax.jit(functools.partial(share_centroid_mm, grid=GRID))


@pytest.fixture(scope="module")
def phases():
    return small_phases()


def test_two_components_hold_two_fields_whole(phases):
    model = make_model(phases, modes=2)
    found = jax.jit(jax.vmap(lambda scores: displacement_mm(model, scores)))
    np.testing.assert_allclose(found(model.scores), phases.fields_mm, atol=1e-4)
    np.testing.assert_allclose(np.mean(model.scores, axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.var(model.scores, axis=0), 1.0, atol=1e-4)


def test_the_first_component_is_the_larger_motion(phases):
    scores = np.asarray(make_model(phases, modes=1).scores)[:, 0]
    together = np.corrcoef(scores, AMOUNTS[:, 0])[0, 1]
    assert abs(together) > 0.99


def test_a_volume_moves_against_its_field_by_whole_and_half_voxels():
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    field = np.zeros((3, *SHAPE), np.float32)
    field[2] = SIDE_MM  # reads one voxel further along z
    whole = np.asarray(move(volume, field))[:-1]
    np.testing.assert_allclose(whole, volume[1:], atol=1e-6)
    field[2], field[0] = 0.0, 0.5 * SIDE_MM
    half = 0.5 * (volume[..., 1:] + volume[..., :-1])
    found = np.asarray(move(volume, field))[..., :-1]
    np.testing.assert_allclose(found, half, atol=1e-6)


def test_the_derivative_of_a_deformed_volume_is_its_slope(phases):
    model = make_model(phases, modes=2)
    run = lambda w: deformed(model.mu, displacement_mm(model, w), GRID)
    at, along = np.float32([0.31, -0.17]), np.float32([1.0, 0.5])
    slope = jax.jit(lambda w: jax.jvp(run, (w,), (along,))[1])(at)
    step, found = np.float32(1e-2), jax.jit(run)
    run = lambda w: np.asarray(found(w))
    change = (run(at + step * along) - run(at - step * along)) / (2.0 * step)
    # A voxel whose place crosses a voxel's face within the step has two slopes.
    off = np.abs(np.asarray(slope - change))
    assert np.median(off) < 1e-6 and np.quantile(off, 0.98) < 1e-4


def test_the_centroid_of_one_voxel_is_its_place():
    share = np.zeros(SHAPE, np.float32)
    share[3, 5, 7] = 0.5
    expected = np.array(GRID.origin_mm) + SIDE_MM * np.array([7, 5, 3])
    np.testing.assert_allclose(centroid_mm(share, GRID), expected)
    np.testing.assert_allclose(centroid_of(share), expected, atol=1e-4)


def test_moved_phases_have_their_tumour_so_much_further_on(phases):
    shift_mm = np.array([5.0, -2.0, 1.0])
    moved = phases.moved(shift_mm)
    for share in phases.share:
        there, here = (centroid_mm(share, p.grid) for p in (moved, phases))
        np.testing.assert_allclose(there - here, shift_mm, atol=1e-6)
    assert moved.grid.spacing_mm == phases.grid.spacing_mm


def test_phases_that_do_not_belong_together_are_refused(phases):
    empty = phases.share.copy()
    empty[2] = 0.0
    for change in (
        {"mu": phases.mu[:3]},
        {"share": phases.share[:, :-1]},
        {"share": empty},
        {"reference": 9},
    ):
        with pytest.raises(UserError, match="fix"):
            dataclasses.replace(phases, **change)
    with pytest.raises(UserError, match="principal components"):
        make_model(phases, modes=6)


def test_a_radiograph_of_every_phase_has_the_tumour_in_it(phases):
    films = phases.films()
    assert len(films) == 6
    for frame, mask in films:
        assert frame.shape == mask.shape == (48, 48) and 20 < mask.sum() < 400
