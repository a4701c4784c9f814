"""A tumour takes the place of vessels and bronchi: closed forms, and a drawn volume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import Geometry, square_panel
from fluoro_jax.sim import fluoroscope as fl
from fluoro_jax.sim.body import shapes, solids
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.tubes import Tubes
from fluoro_jax.sim.lung import LungState
from fluoro_jax.sim.tumor import replaced as sampling
from fluoro_jax.sim.tumor.replaced import replaced_path_mm
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_chord_mm
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector

TUMOR = Tumor(np.zeros(3, np.float32), 30.0, 0.0, 0.0)
VIEW = square_panel(65, detector_mm=97.5)  # 1 mm at the isocentre
DRAWN = Geometry(1000.0, 1500.0, 0.0, 24, 24, (3.0, 3.0))
NOWHERE = ((400.0, 0.0, 0.0), (410.0, 0.0, 0.0))
ACROSS = ((-60.0, 0.0, 0.0), (60.0, 0.0, 0.0))


def tube(start, end, radius=3.0):
    ends = [np.array([p], np.float32) for p in (start, end)]
    return Tubes(*(jnp.asarray(leaf) for leaf in (*ends, np.full((1, 2), radius, "f"))))


@pytest.fixture
def finer(monkeypatch):
    """Halves the distances of rays and of points, and the width of a tube's edge."""
    for name, factor in (("RAYS", 2), ("POINTS", 2), ("SOFT_EDGE_MM", 0.5)):
        monkeypatch.setattr(sampling, name, factor * getattr(sampling, name))
    fl._tumor_frames.clear_cache()  # compiled with the constants
    yield
    fl._tumor_frames.clear_cache()


def replaced(vessel, airway, view=VIEW):
    centre = TUMOR.centre_mm

    @jax.jit  # a new function each time: `finer` changes what is compiled in
    def run(view, tubes):
        chord = tumor_chord_mm(view, TUMOR, centre)
        return replaced_path_mm(
            view, TUMOR, centre, chord, vessel=tubes[0], airway=tubes[1]
        )

    return jax.device_get(run(view, (vessel, airway)))


def test_a_vessel_across_a_tumour_has_its_closed_volume_and_depth():
    """A cylinder through a sphere's centre: 4 pi / 3 (R^3 - (R^2 - r^2)^1.5).

    Pixels of 0.25 mm at the isocentre leave the sampling as the only error.
    """
    across = tube(*ACROSS)
    vessel, airway = replaced(across, tube(*NOWHERE))
    assert volume_error(across) < 0.03
    assert float(vessel[32, 32]) == pytest.approx(6.0, rel=0.1)
    assert float(airway.max()) == 0.0
    outside = np.asarray(tumor_chord_mm(VIEW, TUMOR, TUMOR.centre_mm)) == 0.0
    assert np.asarray(vessel)[outside].max() == 0.0


def volume_error(vessel):
    """Relative error of the volume of `ACROSS` within the tumour."""
    fine = square_panel(260, detector_mm=97.5)
    found = float(replaced(vessel, tube(*NOWHERE), fine)[0].sum()) * 0.25**2
    want = 4.0 * np.pi / 3.0 * (15.0**3 - (15.0**2 - 3.0**2) ** 1.5)
    return abs(found / want - 1.0)


@pytest.mark.slow
def test_the_error_of_the_volume_halves_with_the_spacing(request):
    coarse = volume_error(tube(*ACROSS))
    request.getfixturevalue("finer")
    assert volume_error(tube(*ACROSS)) < 0.5 * coarse


def test_a_vessel_along_the_beam_fills_the_whole_chord():
    along = tube((0.0, -60.0, 0.0), (0.0, 60.0, 0.0), 5.0)
    vessel, _ = replaced(along, tube(*NOWHERE))
    assert float(vessel[32, 32]) == pytest.approx(30.0, rel=1e-3)


def test_where_airway_and_vessel_cross_there_is_airway():
    ends = ((-60.0, 0.0, 0.0), (60.0, 0.0, 0.0))
    alone, _ = replaced(tube(*ends, 6.0), tube(*NOWHERE))
    vessel, airway = replaced(tube(*ends, 3.0), tube(*ends, 6.0))
    np.testing.assert_allclose(airway, alone, atol=1e-4)
    assert float(vessel.max()) < 1e-3


def added_and_painted(height_mm, voxel=2.0):
    """Frames without tumour, with it added, and with it painted over the volume."""
    lung_g_cc = 0.29
    mu_lung = att.mu_lung(lung_g_cc)
    first, count = 0.5 * voxel - 48.0, round(96.0 / voxel)
    grid, shape = solids.Grid((first,) * 3, (voxel,) * 3), (count,) * 3
    ends = ((-90.0, 0.0, height_mm), (90.0, 0.0, height_mm))

    @jax.jit
    def volumes(ends):
        place = solids.grid_axes(grid, shape)
        vessel = shapes.occupancy(shapes.capsule(place, *ends, 4.0), voxel)
        tumor = shapes.occupancy(shapes.length(*place) - 15.0, voxel)
        body = mu_lung + vessel * (att.BLOOD - mu_lung)
        return body, body + tumor * (att.mu_tumor(1.06) - body)

    body, painted = volumes(ends)
    lead = lambda found: jax.tree.map(lambda leaf: np.asarray(leaf)[None], found)
    zero = np.zeros(1, np.float32)
    state = LungState(
        zero, zero, zero + lung_g_cc, lead(tube(*ends, 4.0)), lead(tube(*NOWHERE))
    )
    case = fl.Case(Anatomy(), Breathing(), TUMOR, np.zeros(1, np.float32))
    background = projector.project(body, grid, DRAWN)
    added = fl.add_tumor(background[None], case, DRAWN, lung=state).frames[0]
    return [
        np.asarray(x)
        for x in (background, added, projector.project(painted, grid, DRAWN))
    ]


@pytest.mark.parametrize("height_mm", [0.0, 9.0])
def test_a_tumour_on_a_tube_is_the_volume_with_the_tumour_painted_over(height_mm):
    """Adding to a clip of lung with a vessel equals projecting lung, vessel, tumour."""
    background, added, painted = added_and_painted(height_mm)
    # a chord of 5 mm lies 0.2 mm from the silhouette: nearer to it the drawn tumour's
    # own 2 mm voxels are the larger error
    assert largest_error(background, added, painted, 5.0) < 0.06
    # without the correction the sum would be off by the vessel's share of the tumour
    total = (added - background).sum() / (painted - background).sum()
    assert total == pytest.approx(1.0, abs=0.02)


def largest_error(background, added, painted, chord_mm):
    """Largest error of a ray with more than such a chord, share of the contrast."""
    inner = np.asarray(tumor_chord_mm(DRAWN, TUMOR, TUMOR.centre_mm)) > chord_mm
    contrast = float((painted - background).max())
    return np.abs(added - painted)[inner].max() / contrast


@pytest.mark.slow
@pytest.mark.parametrize("height_mm", [0.0, 9.0])
def test_the_error_of_a_ray_halves_with_the_spacing(height_mm, request):
    """Points half as far apart, and voxels of 0.5 mm so that they do not count."""
    coarse = largest_error(*added_and_painted(height_mm), 15.0)
    request.getfixturevalue("finer")
    fine = largest_error(*added_and_painted(height_mm, voxel=0.5), 15.0)
    assert fine < 0.5 * coarse
