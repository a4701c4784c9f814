"""Contours as volumes: shares, holes, gaps, oblique planes, consensus."""

import numpy as np
import patients
import pytest
from skimage.draw import polygon2mask

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io.contours import centroid_mm, consensus, rasterise, volume_ml
from fluoro_jax.io.dicom.write_ct import mask_contours
from fluoro_jax.io.volumes import Roi

GRID = Grid((-20.0, -18.0, -10.0), (1.0, 1.5, 2.0))
SHAPE = (11, 25, 41)
VOXEL_ML = 1.0 * 1.5 * 2.0 / 1000.0


def disc(radius_mm, heights, *, centre_mm=(1.3, -0.4)):
    return [patients.circle(centre_mm, radius_mm, z, points=720) for z in heights]


def test_a_cylinder_keeps_volume_and_centroid():
    roi = Roi("a", tuple(disc(9.0, (-4.0, -2.0, 0.0, 2.0))))
    truth = np.pi * 81.0 * 8.0 / 1000.0
    assert volume_ml(roi) == pytest.approx(truth, rel=1e-3)
    np.testing.assert_allclose(centroid_mm(roi), (1.3, -0.4, -1.0), atol=1e-3)
    share = rasterise(roi, GRID, SHAPE)
    assert share.sum() * VOXEL_ML == pytest.approx(truth, rel=2e-3)
    assert share.min() == 0.0 and share.max() == 1.0 and share.dtype == np.float32
    # The same whatever the voxels: finer, coarser, and not on the contours' planes.
    for spacing in ((0.5, 0.7, 0.9), (3.0, 2.5, 1.7)):
        shape = tuple(int(40.0 / s) + 1 for s in spacing[::-1])
        other = Grid((-18.7, -20.1, -19.9), spacing)
        total = rasterise(roi, other, shape).sum() * np.prod(spacing) / 1000.0
        assert total == pytest.approx(truth, rel=2e-3)


def test_a_sphere_by_its_slices_keeps_its_volume():
    radius, step = 13.0, 2.5
    for first in (0.0, 0.6, 1.25, 2.0):
        heights = np.arange(-20.0 + first, 20.0, step)
        heights = heights[np.abs(heights) < radius - 1e-6]
        rings = [disc(np.sqrt(radius**2 - z * z), [z])[0] for z in heights]
        roi = Roi("ball", tuple(rings))
        truth = 4.0 / 3.0 * np.pi * radius**3 / 1000.0
        assert volume_ml(roi) == pytest.approx(truth, rel=0.01)


def test_shares_agree_with_scikit_image():
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0.0, 2.0 * np.pi, 17))
    radius = rng.uniform(4.0, 15.0, 17)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    ring = np.stack([x, y, np.zeros(17)], axis=-1)
    share = rasterise(Roi("a", (ring,), spacing_mm=2.0), GRID, SHAPE)[5]
    fine = 15  # points along each side of a pixel
    corners = np.stack([(y + 18.75) / 1.5 * fine, (x + 20.5) * fine], axis=-1) - 0.5
    mask = polygon2mask((SHAPE[1] * fine, SHAPE[2] * fine), corners)
    expected = mask.reshape(SHAPE[1], fine, SHAPE[2], fine).mean(axis=(1, 3))
    assert np.abs(share - expected).max() < 0.08
    assert share.sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_contours_in_one_plane_are_combined_by_xor():
    rings = disc(9.0, (0.0, 2.0)) + disc(5.0, (0.0,)) + disc(2.0, (0.0,))
    roi = Roi("a", tuple(rings))
    area = np.pi * (81.0 - 25.0 + 4.0 + 81.0)
    assert volume_ml(roi) == pytest.approx(area * 2.0 / 1000.0, rel=2e-3)
    share = rasterise(roi, GRID, SHAPE)
    assert share[5, 12, 21] == 1.0 and share[5, 12, 25] == 0.0 and share[5, 12, 29] == 1


def test_a_skipped_plane_is_filled_and_a_gap_is_not():
    filled = Roi("a", tuple(disc(9.0, (-4.0, -2.0, 2.0, 4.0))), spacing_mm=2.0)
    two = Roi("a", tuple(disc(9.0, (-6.0, -4.0, 4.0, 6.0))), spacing_mm=2.0)
    area = np.pi * 81.0 / 1000.0
    assert volume_ml(filled) == pytest.approx(area * 10.0, rel=2e-3)
    assert volume_ml(two) == pytest.approx(area * 8.0, rel=2e-3)


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0)])
def test_contours_in_other_planes(axes):
    rings = [ring[:, list(axes)] for ring in disc(8.0, (-4.0, -2.0, 0.0, 2.0, 4.0))]
    roi = Roi("a", tuple(rings))
    truth = np.pi * 64.0 * 10.0 / 1000.0
    assert volume_ml(roi) == pytest.approx(truth, rel=2e-3)
    middle = np.array((1.3, -0.4, 0.0))[list(axes)]
    np.testing.assert_allclose(centroid_mm(roi), middle, atol=1e-3)
    share = rasterise(roi, GRID, SHAPE)
    assert share.sum() * VOXEL_ML == pytest.approx(truth, rel=0.01)


def test_contours_of_a_mask_come_back():
    heights = (-4.0, -2.0, 0.0, 2.0)
    roi = Roi("a", tuple(disc(9.0, heights) + disc(4.0, heights)))
    share = rasterise(roi, GRID, SHAPE)
    again = Roi("a", mask_contours(share, GRID))
    # Level lines between voxels cut a round outline by a little.
    assert volume_ml(again) == pytest.approx(volume_ml(roi), rel=0.03)
    np.testing.assert_allclose(centroid_mm(again), centroid_mm(roi), atol=0.1)


def test_consensus_of_readers():
    rois = [Roi(str(r), tuple(disc(r, (0.0, 2.0)))) for r in (4.0, 6.0, 8.0, 10.0)]
    half = consensus(rois, GRID, SHAPE)
    every = consensus(rois, GRID, SHAPE, agreement=1.0)
    assert half.sum() * VOXEL_ML == pytest.approx(np.pi * 64.0 * 4e-3, rel=0.01)
    assert every.sum() * VOXEL_ML == pytest.approx(np.pi * 16.0 * 4e-3, rel=0.01)
    apart = [
        Roi("a", tuple(disc(3.0, (0.0, 2.0), centre_mm=(x, 0.0)))) for x in (-9.0, 9.0)
    ]
    with pytest.raises(UserError, match="no voxel on which 90 % of 2 readers"):
        consensus(apart, GRID, SHAPE, agreement=0.9)


def test_what_has_no_volume_is_refused():
    ring = disc(5.0, (0.0,))
    with pytest.raises(UserError, match="no closed contours"):
        volume_ml(Roi("a", ()))
    with pytest.raises(UserError, match="no distance of slices"):
        volume_ml(Roi("a", tuple(ring)))
    line = np.zeros((4, 3))
    with pytest.raises(UserError, match="encloses no volume"):
        centroid_mm(Roi("a", (line,), spacing_mm=1.0))
    away = Roi("a", tuple(disc(5.0, (300.0, 302.0))))
    with pytest.raises(UserError, match="is empty on this volume"):
        rasterise(away, GRID, SHAPE)
    tangle = np.tile([[0.0, -9.0, 0.0], [1.0, 9.0, 0.0]], (20_000, 1))
    with pytest.raises(UserError, match=r"cross .* scan lines"):
        volume_ml(Roi("a", (tangle,), spacing_mm=1.0))
