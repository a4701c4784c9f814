"""A tumour cut out of a CT: nothing is left of it, and it adds what it weighed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, Grid, project_point
from fluoro_jax.metrics import centroid_px
from fluoro_jax.sim.ct import densities
from fluoro_jax.sim.ct_gtv import Gtv, cut_gtv, gtv_clip
from fluoro_jax.sim.xray.attenuation import BONE_MU_PER_DENSITY, SOFT_MU_PER_DENSITY

LUNG, TUMOUR = -800.0, 40.0
RADIUS_MM, CENTRE_MM = 9.0, (12.0, -7.5, 20.0)
GRID = Grid((-38.0, -48.0, -30.0), (1.0, 1.0, 2.5))
SHAPE = (40, 80, 100)
VIEW = Geometry(1000.0, 1500.0, 0.0, 96, 128, (1.5, 1.2))


def sphere(grid=GRID, shape=SHAPE, radius_mm=RADIUS_MM):
    """Returns the share of every voxel inside a sphere, from 4^3 points of each."""
    axes = [
        o + d * (np.arange(4 * n) / 4 - 0.375)
        for o, d, n in zip(grid.origin_mm, grid.spacing_mm, shape[::-1], strict=True)
    ]
    x, y, z = (
        a.reshape(s) - c
        for a, s, c in zip(
            axes, ((1, 1, -1), (1, -1, 1), (-1, 1, 1)), CENTRE_MM, strict=True
        )
    )
    inside = (x * x + y * y + z * z <= radius_mm**2).astype(np.float32)
    nz, ny, nx = shape
    return inside.reshape(nz, 4, ny, 4, nx, 4).mean(axis=(1, 3, 5))


@pytest.fixture(scope="module")
def cut():
    share = sphere()
    hu = (LUNG + share * (TUMOUR - LUNG)).astype(np.float32)
    return (share, *cut_gtv(hu, GRID, share))


def mu(hu):
    soft, bone = densities(np.float32(hu))
    return float(SOFT_MU_PER_DENSITY * soft + BONE_MU_PER_DENSITY * bone)


def test_lung_is_left_in_its_place(cut):
    _, without, _, _ = cut
    np.testing.assert_allclose(without, LUNG, atol=0.5)


def test_its_centroid_and_volume_are_the_spheres(cut):
    _, _, gtv, centre_mm = cut
    np.testing.assert_allclose(centre_mm, CENTRE_MM, atol=0.02)
    volume_ml = float(np.sum(gtv.share)) / 1000.0  # voxels of 1 mm
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.01)


@pytest.mark.parametrize("gantry_deg", [0.0, 30.0])
def test_it_adds_its_chord_wherever_it_is_put(cut, gantry_deg):
    _, _, gtv, _ = cut
    view = Geometry(1000.0, 1500.0, gantry_deg, 96, 128, (1.5, 1.2))
    path = np.array([[0.0, 0.0, 0.0], [9.0, -4.0, -11.0]], np.float32)
    added, mask = gtv_clip(gtv, path, view)
    places = np.asarray(project_point(view, path))
    # a mask of 20 pixels: its centroid is good to 0.15 of them, 0.12 mm here
    np.testing.assert_allclose(centroid_px(np.asarray(mask)), places, atol=0.15)
    # a ray through the middle; the contour's rim of 2.5 mm slices blurs the chord
    middle = float(np.asarray(added)[0].max())
    assert middle == pytest.approx((mu(TUMOUR) - mu(LUNG)) * 2 * RADIUS_MM, rel=0.03)
    # what is added, all told, is the tumour's volume at its magnification
    area = 1.5 * 1.2 / 1.5**2
    weight = float(np.asarray(added)[0].sum()) * area
    expected = (mu(TUMOUR) - mu(LUNG)) * 4 / 3 * np.pi * RADIUS_MM**3
    assert weight == pytest.approx(expected, rel=0.02)


def test_no_tumour_and_no_lung_are_refused():
    hu = np.full(SHAPE, LUNG, np.float32)
    with pytest.raises(UserError, match=r"0\.000 ml on the CT's voxels") as caught:
        cut_gtv(hu, GRID, np.zeros(SHAPE))
    assert caught.value.needed == "at least 0.02 ml"
    assert "the contours belong to this CT" in caught.value.fix
    with pytest.raises(UserError, match="of lung around the tumour"):
        cut_gtv(np.full(SHAPE, 30.0), GRID, sphere())


def test_it_is_a_pytree_of_arrays():
    box = Gtv(jnp.zeros((2, 2, 2)), jnp.zeros((2, 2, 2)), Grid((0, 0, 0), (1, 1, 1)))
    added, mask = gtv_clip(box, np.zeros((1, 3), np.float32), VIEW)
    assert added.shape == mask.shape == (1, 96, 128) and not np.any(mask)
