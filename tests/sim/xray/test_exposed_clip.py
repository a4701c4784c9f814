"""The X-ray machine on the phantom: `simulate(..., exposure=...)`."""

import jax
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import square_panel
from fluoro_jax.sim import fluoroscope as fl
from fluoro_jax.sim.body.anatomy import sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.placement import to_numpy
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.xray import exposure as ex
from fluoro_jax.sim.xray.scatter import Scatter

VIEW = square_panel(32)
TIMES = np.array([0.0, 1.0, 0.5], np.float32)  # as many as in test_fluoroscope.py
TUMOR = Tumor(np.array([-70.0, 15.0, 35.0], np.float32), 30.0, 20.0, 8.0)


@pytest.fixture(scope="module")
def case():
    anatomy = sample_anatomy(jax.random.key(1))
    still = fl.Case(anatomy, Breathing(5.0, 24.0, 12.0), TUMOR, TIMES)
    # typed as the studies' cases are, and beating as the command's: the same programs
    return to_numpy(still).replace(heartbeat=True)


@pytest.fixture(scope="module")
def areal_density(case):
    return fl.render_areal_density(case, VIEW, voxel_mm=8.0)


@pytest.fixture(scope="module")
def ideal(case):
    return fl.simulate(case, VIEW, voxel_mm=8.0)


def expose(areal_density, case, exposure, key=None):
    return fl.expose_tumor(areal_density, case, VIEW, exposure=exposure, key=key)


def spot(frames, row, col):
    r, c = int(row * 32), int(col * 32)
    return np.asarray(frames)[..., r - 1 : r + 2, c - 1 : c + 2].mean((-2, -1))


def test_all_off_is_the_ideal_clip_bit_for_bit(case, ideal):
    exposed = fl.simulate(case, VIEW, voxel_mm=8.0, exposure=ex.ideal())
    np.testing.assert_array_equal(exposed.frames, ideal.frames)
    assert exposed.domain == ideal.domain == "line_integral"
    noisy = fl.simulate(
        case, VIEW, jax.random.key(1), voxel_mm=8.0, photons=1e4, exposure=ex.ideal()
    )
    want = fl.simulate(case, VIEW, jax.random.key(1), voxel_mm=8.0, photons=1e4)
    np.testing.assert_array_equal(noisy.frames, want.frames)


def test_areal_density_at_60_kev_gives_the_same_clip(case, areal_density, ideal):
    assert areal_density.shape == (2, 3, 32, 32)
    exposed = expose(areal_density, case, ex.ideal())
    np.testing.assert_allclose(exposed.frames, ideal.frames, atol=2e-3)
    soft, bone = (spot(p[0], 0.4, 0.5) for p in np.asarray(areal_density))
    assert 15.0 < soft < 30.0 and 0.5 < bone < 8.0  # over the spine


def test_truth_is_that_of_the_ideal_clip(case, areal_density, ideal):
    exposed = expose(areal_density, case, ex.varian_fluoro(), jax.random.key(0))
    assert exposed.frames.shape == ideal.frames.shape and exposed.domain == "log"
    np.testing.assert_array_equal(exposed.mask, ideal.mask)
    np.testing.assert_array_equal(exposed.centroid_px, ideal.centroid_px)


def test_tumour_shows_in_any_exposure_and_scatter_pales_it(case, areal_density):
    """30 mm of tumour over lung at 80 kVp: 30 to 45 % of the primary."""
    inside = np.asarray(expose(areal_density, case, ex.ideal()).mask)[0] > 0
    clear = np.asarray(fl.lung_density(case.anatomy, case.breathing, TIMES))
    without = case.replace(tumor=case.tumor.replace(density_g_cc=clear[0]))
    contrast = {}
    tube = ex.Tube(80.0)
    for name, exposure in {
        "primary": ex.Exposure(tube=tube),
        "scatter": ex.Exposure(tube=tube, scatter=Scatter(spr=2.5)),
    }.items():
        exposed = [
            np.asarray(expose(areal_density, c, exposure).frames)[0]
            for c in (case, without)
        ]
        contrast[name] = (1.0 - np.exp(exposed[1] - exposed[0])[inside]).max()
    assert 0.3 < contrast["primary"] < 0.45
    assert 0.4 < contrast["scatter"] / contrast["primary"] < 0.8


@pytest.mark.parametrize("kvp", [80.0, 120.0])
def test_scatter_by_region_is_as_published(case, areal_density, kvp):
    """Scatter over primary without a grid: mediastinum 1 to 4, lung 0.3 to 1."""
    tube, veil = ex.Tube(kvp), Scatter(spr=2.0)
    primary, both = (
        np.asarray(expose(areal_density, case, exposure).frames)
        for exposure in (ex.Exposure(tube=tube), ex.Exposure(tube=tube, scatter=veil))
    )
    ratio = np.exp(primary - both) - 1.0
    lung = np.r_[spot(ratio, 0.32, 0.27), spot(ratio, 0.32, 0.74)]
    assert lung.min() > 0.3 and lung.max() < 1.0
    middle = spot(ratio, 0.38, 0.5)
    assert middle.min() > 1.0 and middle.max() < 4.0
    dense = np.exp(-primary[0])
    dense = dense <= np.quantile(dense, 0.1)
    transmitted = np.exp(-primary[0])[dense]
    got = (ratio[0][dense] * transmitted).sum() / transmitted.sum()
    assert got == pytest.approx(2.0, rel=0.01)


def test_lower_voltage_shows_more(case, areal_density):
    exposed = {
        kvp: np.asarray(
            expose(areal_density, case, ex.Exposure(tube=ex.Tube(kvp))).frames
        )
        for kvp in (60.0, 120.0)
    }
    assert (exposed[60.0] >= exposed[120.0] - 1e-5).all()
    gain = spot(exposed[60.0], 0.38, 0.5) / spot(exposed[120.0], 0.38, 0.5)
    # behind 22 g/cm^2, mu of soft tissue as seen by the panel: 45 and 64 keV
    assert gain.min() > 1.2 and gain.max() < 1.35


def test_motion_blur_averages_moments_about_the_frame(case, areal_density):
    base = ex.Exposure(tube=ex.Tube(80.0), sub_phases=3)
    one = case.replace(time_s=TIMES[1:2])
    run = lambda pulse_s: fl.simulate(
        one, VIEW, voxel_mm=8.0, exposure=base.replace(pulse_s=pulse_s)
    )
    still, long = run(0.0), run(0.8)
    all_sharp = expose(areal_density, case, ex.Exposure(tube=ex.Tube(80.0)))
    frames, mask = (np.asarray(x)[1:2] for x in (all_sharp.frames, all_sharp.mask))
    np.testing.assert_allclose(still.frames, frames, atol=2e-3)
    np.testing.assert_array_equal(long.mask, mask)
    moments = fl._moments(case, base.replace(pulse_s=0.6))
    want = TIMES + np.array([[-0.2], [0.0], [0.2]])
    np.testing.assert_allclose(moments, want, atol=1e-6)
    # at 1 s the dome moves fast: its edge spreads
    assert np.abs(np.asarray(long.frames) - frames).max() > 0.05


@pytest.mark.slow
def test_binned_clip_has_the_size_and_truth_asked_for(case, ideal):
    panel = ex.Panel(binning=2)
    exposed = fl.simulate(case, VIEW, voxel_mm=8.0, exposure=ex.Exposure(panel=panel))
    np.testing.assert_array_equal(exposed.mask, ideal.mask)
    # a pixel holds the mean of its intensities, not its middle
    assert np.abs(np.asarray(exposed.frames - ideal.frames)).mean() < 0.05


@pytest.mark.slow
def test_jit_and_vmap_over_tumours_agree_with_a_loop(case, areal_density):
    exposure = ex.Exposure(tube=ex.Tube(80.0), scatter=Scatter())
    sizes = np.array([20.0, 30.0], np.float32)
    run = lambda size: (
        expose(
            areal_density, case.replace(tumor=TUMOR.replace(diameter_mm=size)), exposure
        ).frames
    )
    for got, size in zip(jax.jit(jax.vmap(run))(sizes), sizes, strict=True):
        np.testing.assert_allclose(got, run(size), atol=1e-4)


def test_photons_and_exposure_exclude_each_other(case):
    with pytest.raises(UserError, match="photons and exposure"):
        fl.simulate(case, VIEW, photons=1e4, exposure=ex.varian_fluoro())
