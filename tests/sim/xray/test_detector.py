import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluoro_jax.geometry import square_panel
from fluoro_jax.sim.xray import detector as dt
from fluoro_jax.sim.xray import exposure as ex
from fluoro_jax.sim.xray import spectrum as sp
from fluoro_jax.sim.xray.scatter import AntiscatterGrid, Scatter

VIEW = square_panel(32)
KEY = jax.random.key(7)


def slabs(frames=3, pixels=32):  # as many frames as in test_exposed_clip.py
    """Soft tissue and bone `[2, T, H, W]` g/cm^2: lungs, mediastinum, a spine, air."""
    column = np.abs(np.arange(pixels) / pixels - 0.5)
    soft = np.where(column < 0.12, 22.0, np.where(column < 0.42, 9.0, 0.0))
    bone = np.where(column < 0.05, 3.0, 0.0)
    areal_density = np.stack([soft, bone]).reshape(2, 1, 1, pixels)
    return np.broadcast_to(areal_density, (2, frames, pixels, pixels)).astype("f")


line_of = jax.jit(sp.line_integral)


@pytest.fixture(scope="module")
def line():
    return line_of(slabs(), sp.make_beam(sp.mono_spectrum()))


def test_all_off_hands_back_the_same_bits(line):
    assert dt.read_out(line, VIEW, ex.ideal()) is line
    np.testing.assert_array_equal(dt.acquire(slabs(), VIEW, ex.ideal()), line)


def test_spectrum_alone_is_the_polychromatic_line_integral():
    exposure = ex.Exposure(tube=ex.Tube(90.0))
    beam = jax.jit(lambda kvp: sp.make_beam(sp.tube_spectrum(kvp)))(90.0)
    want = line_of(slabs(), beam)
    np.testing.assert_allclose(dt.acquire(slabs(), VIEW, exposure), want, atol=2e-5)
    plain = exposure.replace(output="line_integral", scatter=Scatter())
    np.testing.assert_allclose(dt.acquire(slabs(), VIEW, plain), want, atol=2e-6)


@pytest.mark.parametrize("noise", ["poisson", "gaussian"])
def test_counts_have_equal_mean_and_variance(noise):
    flat = jnp.full((1, 300, 300), 2.0)
    view = square_panel(300)
    exposure = ex.Exposure(quanta=3000.0, noise=noise, output="counts")
    counts = np.asarray(dt.read_out(flat, view, exposure, KEY), np.float64)
    want = 3000.0 * np.exp(-2.0)
    assert counts.mean() == pytest.approx(want, rel=2e-3)
    assert counts.var() == pytest.approx(want, rel=2e-2)


def test_tube_gives_the_published_quanta():
    """8.2e4 and 2.1e5 photons a mAs on 0.388 mm at 1500 mm; 0.6 mm CsI stops most."""
    view = square_panel(100, detector_mm=38.8)

    @jax.jit
    def share_and_quanta(kvp):
        spectrum = sp.tube_spectrum(kvp)
        share = sp.absorbed_share(spectrum.energy_kev, 0.6) * spectrum.fluence
        quanta = ex.quanta_per_pixel(view, ex.Exposure(tube=ex.Tube(kvp), mas=1.0))
        return share.sum() / spectrum.fluence.sum(), quanta

    for kvp, incident in ((80.0, 8.2e4), (120.0, 2.1e5)):
        share, got = (float(v) for v in share_and_quanta(kvp))
        assert got == pytest.approx(incident * share, rel=0.01)
        assert 0.7 < share < 0.95


def test_more_charge_less_relative_noise():
    spread = []
    for mas in (0.001, 0.01, 0.1):
        exposure = ex.Exposure(tube=ex.Tube(80.0), mas=mas)
        noisy = dt.acquire(slabs(), VIEW, exposure, KEY)
        clean = dt.acquire(slabs(), VIEW, exposure.replace(noise="none"), KEY)
        spread.append(np.std(np.asarray(noisy) - np.asarray(clean)))
    assert spread[0] > 2.0 * spread[1] > 4.0 * spread[2]


@pytest.mark.parametrize("grid", [None, AntiscatterGrid(0.7, 0.2)])
def test_scatter_asked_is_scatter_got_behind_a_grid_too(grid, line):
    exposure = ex.Exposure(quanta=1e6, noise="none", output="counts", grid=grid)
    primary, both = (
        np.asarray(dt.read_out(line, VIEW, e))[0]
        for e in (exposure, exposure.replace(scatter=Scatter(spr=3.0)))
    )
    dense = np.asarray(line)[0] > 4.0
    ratio = (both - primary)[dense].sum() / primary[dense].sum()
    assert ratio == pytest.approx(3.0 if grid is None else 3.0 * 0.2 / 0.7, rel=1e-3)


def test_air_reads_zero_with_and_without_a_grid(line):
    for grid in (None, AntiscatterGrid()):
        exposure = ex.Exposure(quanta=1e5, noise="none", grid=grid)
        log = dt.read_out(line, VIEW, exposure)
        np.testing.assert_allclose(log, line, atol=1e-4)


@pytest.mark.parametrize("part", ["optical", "spot"])
def test_blur_conserves_energy(part, line):
    fine = square_panel(32, detector_mm=8.0)
    plain = ex.Exposure(quanta=1e4, noise="none", output="counts")
    blurred = plain.replace(focal_spot_mm=1.2)
    if part == "optical":
        blurred = plain.replace(panel=ex.Panel(blur_mm=0.4))
    before, after = (np.asarray(dt.read_out(line, fine, e)) for e in (plain, blurred))
    np.testing.assert_allclose(after.sum((1, 2)), before.sum((1, 2)), rtol=1e-5)
    assert (
        np.abs(np.diff(after[0, 0])).max() < 0.8 * np.abs(np.diff(before[0, 0])).max()
    )


def test_optical_blur_follows_the_noise_and_correlates_pixels():
    fine = square_panel(200, detector_mm=80.0)
    exposure = ex.Exposure(quanta=1e4, panel=ex.Panel(blur_mm=0.4), output="counts")
    flat = jnp.zeros((1, 200, 200))
    noise = np.asarray(dt.read_out(flat, fine, exposure, KEY))[0] - 1e4
    assert 0.05e4 < noise.var() < 0.3e4
    assert np.mean(noise[:, 1:] * noise[:, :-1]) > 0.5 * noise.var()


def test_lag_is_causal_and_loses_nothing():
    frames = np.zeros((60, 2, 2), np.float32)
    frames[3] = 1.0
    lag = ex.Lag(held=0.1, kept=0.6)
    lagging = jax.jit(lambda frames: dt.add_lag(frames, lag))
    out = np.asarray(lagging(frames))
    assert (out[:3] == 0.0).all()
    want = np.r_[0.9, 0.1 * 0.4 * 0.6 ** np.arange(56)]
    np.testing.assert_allclose(out[3:, 0, 0], want, atol=1e-6)
    assert out[:, 0, 0].sum() == pytest.approx(1.0, abs=1e-5)
    still = np.full((60, 2, 2), 7.0, np.float32)
    np.testing.assert_allclose(lagging(still), still, rtol=1e-6)
    frames[30] = 5.0
    later = np.asarray(lagging(frames))
    np.testing.assert_array_equal(later[:30], out[:30])


def test_fixed_pattern_is_fixed_and_seeded(line):
    gains = jax.jit(lambda seed: dt.gain_map(VIEW, 0.05, seed))
    gain = lambda seed: np.asarray(gains(seed))
    np.testing.assert_array_equal(gain(1), gain(1))
    assert not np.array_equal(gain(1), gain(2))
    assert float(gain(3).std()) == pytest.approx(0.05, rel=0.1)
    panel = ex.Panel(gain_sd=0.05, native_mm=7.5)  # four own pixels a image pixel
    exposure = ex.Exposure(quanta=1e6, noise="none", output="counts", panel=panel)
    flat = exposure.replace(panel=ex.Panel())
    ratio = np.divide(*(dt.read_out(line, VIEW, e) for e in (exposure, flat)))
    want = 1.0 + 0.5 * (gain(0)[0] - 1.0)
    np.testing.assert_allclose(ratio[0], want, rtol=1e-5)
    np.testing.assert_allclose(ratio[1], ratio[0], rtol=1e-5)


def test_saturation_holds_and_electronic_noise_adds_in_quadrature():
    flat, view = jnp.zeros((1, 200, 200)), square_panel(200, detector_mm=400.0)
    panel = ex.Panel(native_mm=1.0, electronic_quanta=30.0)
    exposure = ex.Exposure(quanta=1000.0, output="counts", panel=panel)
    counts = np.asarray(dt.read_out(flat, view, exposure, KEY), np.float64)
    # 4 own pixels a image pixel: their variances add
    assert counts.var() == pytest.approx(1000.0 + 4 * 30.0**2, rel=0.03)
    full = panel.replace(saturation_quanta=240.0)
    held = dt.read_out(flat, view, exposure.replace(panel=full), KEY)
    assert float(held.max()) == pytest.approx(960.0) and float(held.min()) >= 0.0


def test_binning_adds_pixels_and_their_noise(line):
    fine = dt.refine(VIEW, 2)
    assert (fine.rows, fine.pixel_mm[0]) == (64, VIEW.pixel_mm[0] / 2)
    big = jnp.asarray(np.repeat(np.repeat(np.asarray(line), 2, axis=1), 2, axis=2))
    exposure = ex.Exposure(
        quanta=250.0, noise="none", output="counts", panel=ex.Panel(binning=2)
    )
    want = 1000.0 * np.exp(-np.asarray(line))
    np.testing.assert_allclose(dt.read_out(big, fine, exposure), want, rtol=1e-5)
    log = dt.read_out(big, fine, exposure.replace(output="log"))
    want = -np.log(np.maximum(want, 0.5) / 1000.0)
    np.testing.assert_allclose(log, want, atol=1e-4)


def test_jaws_close_the_field_where_they_stand():
    jaws = ex.Jaws(up_mm=80.0, down_mm=40.0, left_mm=100.0, right_mm=20.0)
    exposure = ex.Exposure(quanta=1e6, noise="none", output="counts", jaws=jaws)
    frame = np.asarray(dt.read_out(jnp.zeros((1, 32, 32)), VIEW, exposure))[0]
    open_field = frame > 5e5
    # 15 mm pixels, magnified 1.5: one is 10 mm at the isocentre
    rows, cols = np.flatnonzero(open_field.any(1)), np.flatnonzero(open_field.any(0))
    assert (rows[0], rows[-1], cols[0], cols[-1]) == (8, 19, 6, 17)
    assert float(frame[0, 0]) == pytest.approx(1e3, rel=1e-3)


def test_motion_blur_is_the_mean_of_intensities():
    moments = [np.float32(share) * slabs() for share in (1.0, 1.2, 1.4)]
    areal_density = np.stack(moments, axis=1)
    exposure = ex.Exposure(tube=ex.Tube(80.0))
    got = dt.acquire(areal_density, VIEW, exposure)
    parts = [
        np.exp(-np.asarray(dt.acquire(moment, VIEW, exposure))) for moment in moments
    ]
    np.testing.assert_allclose(np.exp(-np.asarray(got)), sum(parts) / 3.0, rtol=1e-5)
    same = jax.jit(dt.expose)(np.stack([got, got]))
    np.testing.assert_allclose(same, got, atol=1e-6)


def test_polarity_of_each_output(line):
    bright = dict(log=True, counts=False, display=True)
    base = ex.Exposure(quanta=1e6, noise="none")
    for output, bone_bright in bright.items():
        frame = np.asarray(dt.acquire(slabs(), VIEW, base.replace(output=output)))
        frame = frame[0, 16]
        assert (frame[16] > frame[6]) == bone_bright
    black = base.replace(output="display", display=ex.Display(bone="black"))
    frame = np.asarray(dt.acquire(slabs(), VIEW, black))[0]
    assert frame[16, 16] < frame[16, 6]
    assert frame.min() >= 0.0 and frame.max() <= 1.0


@pytest.mark.slow
def test_clips_repeat_and_jit_and_vmap_agree():
    exposure = ex.varian_fluoro(mas=0.01)
    keys = jax.random.split(KEY, 2)
    run = lambda key: dt.acquire(slabs(), VIEW, exposure, key)
    one = run(keys[0])
    np.testing.assert_array_equal(one, run(keys[0]))
    assert not np.array_equal(one, run(keys[1]))
    both = jax.jit(jax.vmap(run))(keys)
    for got, key in zip(both, keys, strict=True):
        # a count at a rounding edge may fall on either side: one of 1e4 quanta
        np.testing.assert_allclose(got, run(key), atol=2e-3)
        assert np.mean(np.abs(got - run(key)) > 1e-5) < 0.2


def test_one_compilation_serves_all_numbers():
    dt.acquire(slabs(), VIEW, ex.varian_fluoro(80.0, 0.1), KEY)
    before = dt._read_out._cache_size()
    dt.acquire(slabs(), VIEW, ex.varian_fluoro(95.0, 0.7), KEY)
    assert dt._read_out._cache_size() == before


@settings(max_examples=8, deadline=None)
@given(
    kvp=st.floats(60.0, 120.0, width=32),
    mas=st.floats(1e-4, 4.0),
    spr=st.floats(0.0, 9.0),
    thick=st.floats(0.0, 3.0),
    seed=st.integers(0, 1000),
)
def test_nothing_is_nan_and_thicker_is_never_brighter(kvp, mas, spr, thick, seed):
    exposure = ex.varian_fluoro(kvp, mas)
    exposure = exposure.replace(scatter=Scatter(spr=spr))
    scaled = lambda by: (slabs() * by).astype(np.float32)
    noisy = dt.acquire(scaled(thick), VIEW, exposure, jax.random.key(seed))
    assert np.isfinite(noisy).all()
    still = exposure.replace(noise="none", scatter=None)
    thin, thicker = (
        np.asarray(dt.acquire(scaled(by), VIEW, still)) for by in (thick, thick + 0.1)
    )
    assert (thicker - thin > -1e-4).all()


def test_clip_has_a_gradient_with_respect_to_the_machine():
    base = ex.Exposure(quanta=1e7, noise="gaussian")

    @jax.jit
    def darkness(kvp, spr):
        exposure = base.replace(tube=ex.Tube(kvp), scatter=Scatter(spr=spr))
        return jnp.mean(dt.acquire(slabs(), VIEW, exposure, KEY)[:, :, 14:18])

    slopes = jax.grad(darkness, argnums=(0, 1))(80.0, 2.0)
    assert slopes[0] < 0.0 and slopes[1] < 0.0  # harder and foggier: less dark
    step = (darkness(80.0, 2.05) - darkness(80.0, 1.95)) / 0.1
    assert float(slopes[1]) == pytest.approx(float(step), rel=0.02)
