"""A phantom written as DICOM and read back: the tumour is where it was put."""

import dataclasses

import jax
import numpy as np
import pytest

from fluoro_jax.geometry import Geometry, Grid, iso_pixel_mm, project_point
from fluoro_jax.io.contours import centroid_mm, rasterise, volume_ml
from fluoro_jax.io.dicom.rtplan import choose_isocentre
from fluoro_jax.io.dicom.rtstruct import rois_by_phase
from fluoro_jax.io.dicom.series import read_4dct
from fluoro_jax.io.volumes import Roi
from fluoro_jax.patient.phantom_dicom import (
    hu_of,
    tumor_contours,
    write_phantom,
)
from fluoro_jax.sim.background import Case
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.ct import densities
from fluoro_jax.sim.tumor.shapes import sample_shape
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_path_mm
from fluoro_jax.tracking.baselines.tumor_voxels import tumor_share

pytest.importorskip("pydicom")
BREATH = Breathing(period_s=4.0, si_mm=12.0, ap_mm=5.0, ap_lag=0.1)
CENTRE_MM = np.array([-68.0, 12.0, 3.0], np.float32)
CASE = Case(
    Anatomy(), BREATH, Tumor(CENTRE_MM, 26.0, 12.0, 5.0, lr_mm=2.0), np.arange(4.0)
)
ISOCENTRE_MM = (13.0, -204.0, 71.5)
# Voxels that differ along every axis: swapped spacings would show.
SPACING_MM = (2.0, 2.4, 2.5)
ANGLES = (0.0, 30.0, 90.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The phantom by patient position, written and read once each."""
    done = {}

    def write(position):
        if position not in done:
            folder = tmp_path_factory.mktemp(position)
            truth = write_phantom(
                folder,
                CASE,
                spacing_mm=SPACING_MM,
                position=position,
                voxel_mm=10.0,
                isocentre_mm=ISOCENTRE_MM,
                z_mm=(-26.0, 20.0),
            )
            done[position] = folder, truth, read_4dct(folder / "ct")
        return done[position]

    return write


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP"])
def test_the_tumour_comes_back_at_every_phase_and_angle(written, position):
    folder, truth, four = written(position)
    np.testing.assert_allclose(four.percents, 10.0 * np.arange(10))
    assert four.phases[0].hu.shape == truth.shape
    np.testing.assert_allclose(four.grid.origin_mm, truth.grid.origin_mm, atol=1e-6)
    rois = rois_by_phase(folder / "rtstruct", "GTV", four)
    time_s = four.percents / 100.0 * BREATH.period_s
    path = np.asarray(tumor_path_mm(CASE.tumor, BREATH, time_s))  # about the isocentre
    centroids = np.stack([centroid_mm(roi) for roi in rois.values()])
    voxel_ml = np.prod(SPACING_MM) / 1000.0
    for index, phase in enumerate(four.phases):
        share = rasterise(rois[index], phase.grid, phase.hu.shape)
        assert volume_ml(rois[index]) == pytest.approx(truth.volume_ml, rel=0.01)
        assert share.sum() * voxel_ml == pytest.approx(truth.volume_ml, rel=0.01)
        # The voxels say the same as the contours: 1.06 g/cc in lung.
        assert phase.hu[share == 1.0].mean() == pytest.approx(52.9, abs=6.0)
    centroids = centroids - np.array(ISOCENTRE_MM)
    seen = jax.jit(project_point)
    for angle in ANGLES:
        view = Geometry(1000.0, 1500.0, angle, 400, 400, (0.4, 0.3))
        shift = np.asarray(seen(view, centroids)) - np.asarray(seen(view, path))
        miss_mm = shift * np.array(iso_pixel_mm(view))
        assert np.linalg.norm(miss_mm, axis=1).max() < 0.2


def test_the_phantom_is_a_chest(written):
    folder, truth, four = written("HFS")
    hu = four.phases[0].hu
    assert hu.min() == -1000.0 and hu.max() > 300.0
    lung = ((hu > -900.0) & (hu < -500.0)).mean()
    assert 0.05 < lung < 0.5
    rois = rois_by_phase(folder / "rtstruct", "GTV", four)
    chosen = choose_isocentre(roi=rois[0])
    np.testing.assert_allclose(chosen.position_mm, truth.centres_mm[0], atol=0.2)


@pytest.mark.parametrize("kind", ["ellipsoid", "lobulated", "spiculated"])
def test_outlines_and_voxels_of_other_shapes_agree(kind):
    shape = sample_shape(np.random.default_rng(4), kind)
    tumor = dataclasses.replace(CASE.tumor, shape=shape, diameter_mm=24.0)
    grid, size = Grid((-16.0, -16.0, -16.0), (0.8, 0.8, 1.0)), (33, 41, 41)
    centre = np.array([0.4, -0.3, 0.2])
    share = tumor_share(tumor, centre, grid, size)
    roi = Roi("a", tumor_contours(tumor, centre, grid, size[0]), spacing_mm=1.0)
    filled = rasterise(roi, grid, size)
    assert filled.sum() == pytest.approx(share.sum(), rel=0.02)
    assert np.abs(filled - share).mean() < 0.05 * share.mean()


def test_hu_is_the_reverse_of_the_densities():
    hu = np.array([-1000.0, -700.0, 0.0, 40.0, 300.0, 1200.0], np.float32)
    np.testing.assert_allclose(jax.device_get(hu_of(*densities(hu))), hu, atol=0.5)
