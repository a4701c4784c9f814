"""A CT made ready for training: voxels, isocentre, what the panel sees, sites."""

import dataclasses

import numpy as np
import pytest
from chest import PITCH_MM, chest_hu

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid, project_point, square_panel
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import animate
from fluoro_jax.sim.ct_body import INWARD_MM, ct_body, resampled
from fluoro_jax.sim.ct_field import displacement_mm
from fluoro_jax.sim.ct_tumor import path_mm, sphere_clip, sphere_frame

GRID = Grid((-500.0, 40.0, 1000.0), (PITCH_MM,) * 3)
VIEW = square_panel(64)


@pytest.fixture(scope="module")
def body():
    return ct_body(chest_hu(spine=True), GRID, VIEW, voxel_mm=8.0)


def test_resampling_keeps_places_and_means():
    z, y, x = np.meshgrid(
        *(np.arange(n, dtype=float) for n in (9, 30, 40)), indexing="ij"
    )
    hu = 2.0 * (x * 0.7 + 5.0) - 3.0 * (y * 0.9 - 7.0) + 4.0 * (z * 3.0)
    got, grid = resampled(hu, Grid((5.0, -7.0, 0.0), (0.7, 0.9, 3.0)), 2.0)
    assert grid.spacing_mm == (2.0, 2.0, 2.0)
    nz, ny, nx = got.shape
    at = lambda k, n: grid.origin_mm[k] + 2.0 * np.arange(n)
    want = 2.0 * at(0, nx) + (4.0 * at(2, nz)[:, None] - 3.0 * at(1, ny))[..., None]
    np.testing.assert_allclose(got, want, atol=0.01)  # a ramp stays that ramp
    assert 2.0 * nx == pytest.approx(0.7 * 40, abs=2.0)


def test_the_isocentre_is_the_middle_of_the_lungs(body):
    """The test chest's lungs have their middle at (0, 0, 20) mm of its own."""
    marks = body.landmarks
    assert marks.middle_mm == pytest.approx(0.0, abs=8.0)
    assert marks.apex_mm + marks.dome_mm == pytest.approx(0.0, abs=24.0)
    assert marks.back_mm + marks.sternum_mm == pytest.approx(0.0, abs=8.0)


def test_the_scan_goes_on_as_far_as_the_panel_sees(body):
    soft, z0 = body.volume.soft, float(body.volume.grid.origin_mm[2])
    seen = 240.0 / 1500.0 * 1200.0
    assert z0 < -seen and z0 + 8.0 * (len(soft) - 1) > seen
    np.testing.assert_array_equal(soft[0], soft[1])
    assert soft[0].max() > 0.9
    assert {n % 4 for n in soft.shape[1:]} == {0}  # blocks of 32 mm


def test_sites_lie_in_the_lung_and_in_view(body):
    rng = np.random.default_rng(0)
    sites = np.array([body.draw_site(rng, 40.0) for _ in range(50)])
    reach = ((np.abs(sites[:, 0]) - 62) / 50) ** 2 + (sites[:, 1] / 72) ** 2
    assert reach.max() < 0.75
    assert {tuple(s > 0.0) for s in sites} >= {(True, True, True), (False,) * 3}
    place = np.asarray(project_point(VIEW, sites)) * 5.0  # mm in the isocentre plane
    assert place.min() >= INWARD_MM and place.max() <= 320.0 - INWARD_MM
    assert (np.diff(body.clear_mm) >= 0.0).all()
    assert body.room_mm == pytest.approx(100.0, abs=16.0)


def test_a_tumour_beside_the_view_is_never_drawn():
    narrow = square_panel(64, detector_mm=150.0)
    body = ct_body(chest_hu(spine=True), GRID, narrow, voxel_mm=8.0)
    place = np.asarray(project_point(narrow, body.centres_mm))
    assert place.min() > 0.0 and place.max() < 63.0
    with pytest.raises(UserError, match="outside of the panel"):
        ct_body(
            chest_hu(spine=True),
            GRID,
            dataclasses.replace(narrow, offset_mm=(0.0, 900.0)),
            voxel_mm=8.0,
        )


def test_a_sphere_of_training_is_that_of_the_moved_volume(body):
    breath, times = Breathing(5.0, 20.0, 8.0), np.array([0.0, 2.0], np.float32)
    marks, grid = body.landmarks, body.volume.grid
    centre = body.draw_site(np.random.default_rng(1), 30.0)
    path = path_mm(marks, breath, times, centre)
    moves = displacement_mm(marks, breath, times)
    added, mask = sphere_clip(body.mu, grid, marks, moves, path, 30.0, VIEW)
    moments = animate(body.volume, marks, breath, times, lung=body.lung)
    for t, now in enumerate(moments):
        want = np.asarray(sphere_frame(now, VIEW, path[t], 30.0))
        inside = np.asarray(mask[t]) > 0
        error = np.asarray(added[t]) - want
        # half a box voxel of `sphere_frame`'s edge; docs/ct.md
        assert np.sqrt(np.mean(error[inside] ** 2)) < 0.02 * want.max()
        assert np.abs(error).max() < 0.15 * want.max()


def test_bowel_gas_is_no_lung():
    hu = chest_hu(spine=False)
    hu[2:6, 10:14, 18:22] = -900.0  # 33 ml under the lungs
    plain = ct_body(chest_hu(spine=False), GRID, VIEW, voxel_mm=8.0)
    found = ct_body(hu, GRID, VIEW, voxel_mm=8.0)
    np.testing.assert_array_equal(found.lung, plain.lung)


def test_a_scan_that_cuts_the_lungs_is_refused():
    hu = chest_hu(spine=True)
    for part, word in ((hu[24:], "lowest"), (hu[:28], "highest")):
        with pytest.raises(UserError, match=f"{word} slices cut the lungs"):
            ct_body(part, GRID, VIEW, voxel_mm=8.0)
