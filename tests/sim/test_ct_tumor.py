"""A sphere put into a CT: closed forms of its chord, its place and its motion."""

import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid, project_point, square_panel
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import CtVolume
from fluoro_jax.sim.ct_field import Landmarks, displacement_mm, tissue_origin_mm
from fluoro_jax.sim.ct_tumor import path_mm, sample_sites, sphere_clip, sphere_frame
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_chord_mm
from fluoro_jax.sim.xray import attenuation as att

GRID = Grid((-60.0, -60.0, -60.0), (4.0, 4.0, 4.0))
VIEW = square_panel(64, detector_mm=120.0)
MARKS = Landmarks(120.0, -60.0, 50.0, -60.0, 80.0, 0.0, 120.0)
CENTRE = np.array([12.0, -7.0, 9.0], np.float32)


def lung(density):
    soft = jnp.full((31, 31, 31), density, jnp.float32)
    return CtVolume(soft, jnp.zeros_like(soft), GRID)


@pytest.mark.parametrize("density", [0.0, 0.26])
def test_a_sphere_adds_its_chord_times_the_contrast(density):
    got = np.asarray(sphere_frame(lung(density), VIEW, CENTRE, 24.0))
    tumor = Tumor(CENTRE, 24.0, 0.0, 0.0)
    chord = np.asarray(tumor_chord_mm(VIEW, tumor, CENTRE))
    want = (att.mu_tumor(1.06) - att.mu_tumor(density)) * chord
    # half a voxel of the box (0.45 mm) blurs the edge; inside and in sum it is exact
    inner = chord > 12.0
    np.testing.assert_allclose(got[inner], want[inner], rtol=0.02)
    assert got.sum() == pytest.approx(want.sum(), rel=0.01)
    assert np.abs(got[chord == 0.0]).max() < 0.1 * want.max()


def test_it_lies_where_its_centre_projects():
    got = np.asarray(sphere_frame(lung(0.26), VIEW, CENTRE, 16.0))
    rows, cols = np.mgrid[:64, :64]
    middle = [(rows * got).sum() / got.sum(), (cols * got).sum() / got.sum()]
    np.testing.assert_allclose(middle, project_point(VIEW, CENTRE), atol=0.1)


@pytest.mark.parametrize("gantry_deg", [0.0, 30.0])
def test_a_sphere_of_training_adds_chord_times_contrast_where_it_projects(gantry_deg):
    view = square_panel(64, detector_mm=120.0, gantry_deg=gantry_deg)
    marks, breath = MARKS.replace(taken_at=0.5), Breathing(5.0, 24.0, 10.0)
    times, volume = np.array([0.0, 1.0, 2.0]), lung(0.26)
    moves = displacement_mm(marks, breath, times)
    path = path_mm(marks, breath, times, CENTRE)
    assert float(path[0, 2] - path[2, 2]) > 5.0
    added, mask = (
        np.asarray(x)
        for x in sphere_clip(volume.mu(), GRID, marks, moves, path, 24.0, view)
    )
    rows, cols = np.mgrid[:64, :64]
    for t, centre in enumerate(path):
        back, thinner = tissue_origin_mm(marks, tuple(centre), moves[0][t], moves[1][t])
        np.testing.assert_allclose(back, CENTRE, atol=1e-3)
        chord = tumor_chord_mm(view, Tumor(CENTRE, 24.0, 0.0, 0.0), centre)
        contrast = att.mu_tumor(1.06) - att.mu_tumor(0.26) / float(thinner)
        row, col = np.round(np.asarray(project_point(view, centre))).astype(int)
        want = contrast * float(chord[row, col])
        assert added[t, row, col] == pytest.approx(want, rel=0.005)
        np.testing.assert_array_equal(mask[t], np.asarray(chord) > 0.0)
        middle = [(rows * mask[t]).sum(), (cols * mask[t]).sum()] / mask[t].sum()
        np.testing.assert_allclose(middle, project_point(view, centre), atol=0.3)


def test_a_site_at_the_dome_follows_the_diaphragm_and_one_at_the_apex_stays():
    breath = Breathing(period_s=5.0, si_mm=20.0, ap_mm=0.0)
    times = np.array([0.0, 2.0])  # exhale, inhale
    low = path_mm(MARKS, breath, times, np.array([60.0, 0.0, -60.0]))
    high = path_mm(MARKS, breath, times, np.array([60.0, 0.0, 120.0]))
    np.testing.assert_allclose(low[1] - low[0], [0.0, 0.0, -20.0], atol=1e-3)
    np.testing.assert_allclose(high[1] - high[0], 0.0, atol=1e-4)


def test_every_sphere_lies_in_the_lung():
    z, y, x = np.mgrid[:31, :31, :31] * 4.0 - 60.0
    ball = x * x + y * y + z * z < 40.0**2
    rng = np.random.default_rng(0)
    sites = sample_sites(rng, ball, GRID, count=50, diameter_mm=(10.0, 40.0))
    reach = [np.linalg.norm(centre) + 0.5 * size for centre, size in sites]
    assert max(reach) < 40.0 + 4.0  # the mask is known to a voxel
    assert len({tuple(centre) for centre, _ in sites}) > 40


def test_a_sphere_without_room_is_refused():
    with pytest.raises(UserError, match="at most"):
        sample_sites(
            np.random.default_rng(0),
            np.ones((5, 5, 5), bool),
            GRID,
            count=1,
            diameter_mm=(10.0, 900.0),
        )
