import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluoro_jax.errors import UserError
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import spectrum as sp

# kVp: half value layer (mm Al), mean energy (keV), photons per cm^2 and mAs at 1 m: as
# SpekPy 2.5.4 itself gives them (printed by tables/make_spectra.py)
SPEKPY = {
    60.0: (2.557, 37.61, 5.521e7),
    72.5: (3.041, 42.09, 9.419e7),
    80.0: (3.346, 44.76, 1.224e8),
    97.5: (4.079, 50.35, 1.997e8),
    100.0: (4.181, 51.05, 2.115e8),
    110.0: (4.604, 53.80, 2.623e8),
    120.0: (5.005, 56.30, 3.138e8),
}
# effective energies (keV) behind 0, 10 and 20 cm of water, computed with NIST tables
EFFECTIVE = {60.0: (36, 42, 45), 80.0: (41, 49, 53), 120.0: (48, 57, 63)}

line = jax.jit(sp.line_integral)
absorbed = jax.jit(sp.absorbed_share)
weights_of = jax.jit(sp.signal_weights)
tube = jax.jit(sp.tube_spectrum)
beam_of = jax.jit(sp.make_beam, static_argnames="nodes")


def mean_energy_kev(spectrum):
    energy, fluence = (np.asarray(x, np.float64) for x in vars(spectrum).values())
    return np.sum(energy * fluence) / np.sum(fluence)


def layer_of(spectrum):
    """Half value layer: aluminium that halves the air kerma, mm, by bisection."""
    energy = np.asarray(spectrum.energy_kev)
    absorbed = att.mass_attenuation("air_absorbed", energy)
    kerma = np.asarray(spectrum.fluence, np.float64) * energy * absorbed
    mu = 0.1 * sp.ALUMINIUM_G_CC * att.mass_attenuation("aluminium", energy)
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        if np.sum(kerma * np.exp(-mu * middle)) > 0.5 * np.sum(kerma):
            low = middle
        else:
            high = middle
    return low


def effective(spectrum, csi_mm, *, water_g_cm2):
    """Energy, keV, at which water attenuates as the panel sees it do behind water."""
    weights = np.asarray(weights_of(spectrum, csi_mm, water_g_cm2=water_g_cm2))
    mean = np.sum(weights * att.mass_attenuation("water", spectrum.energy_kev))
    columns = att.table("attenuation")
    falling, energy = (np.log(columns[k])[::-1] for k in ("water", "energy_kev"))
    return np.exp(np.interp(np.log(mean), falling, energy))


@pytest.mark.parametrize("kvp", SPEKPY)
def test_table_keeps_spekpys_half_value_layer_mean_energy_and_output(kvp):
    layer, mean, photons = SPEKPY[kvp]
    spectrum = tube(kvp)
    assert float(layer_of(spectrum)) == pytest.approx(layer, rel=0.02)
    assert float(mean_energy_kev(spectrum)) == pytest.approx(mean, rel=0.003)
    energy, fluence = np.asarray(spectrum.energy_kev), np.asarray(spectrum.fluence)
    assert np.sum(fluence) == pytest.approx(photons, rel=0.003)
    assert fluence[energy > kvp + 4].sum() == 0.0


@pytest.mark.parametrize("kvp", [60.0, 80.0, 100.0, 120.0])
def test_counting_quanta_understates_noise(kvp):
    """Noise as drawn against an energy-integrating signal's; docs/xray.md quotes it."""
    spectrum = tube(kvp)
    energy = np.asarray(spectrum.energy_kev, np.float64)
    share = np.asarray(absorbed(spectrum.energy_kev, 0.6))
    fluence = np.asarray(np.asarray(spectrum.fluence) * share, np.float64)
    for soft_g_cm2, low, high in ((0.0, 0.025, 0.055), (22.0, 0.105, 0.145)):
        behind = fluence * np.exp(-soft_g_cm2 * att.mass_attenuation("soft", energy))
        true = np.sqrt(behind @ energy**2) / (behind @ energy)
        signal = (behind @ energy) / (fluence @ energy)
        drawn = 1.0 / np.sqrt(fluence.sum() * signal)
        assert low < 1.0 - drawn / true < high


@pytest.mark.parametrize("kvp", EFFECTIVE)
def test_beam_hardens_behind_water(kvp):
    spectrum = tube(kvp)
    got = [effective(spectrum, 0.6, water_g_cm2=float(w)) for w in (0, 10, 20)]
    np.testing.assert_allclose(got, EFFECTIVE[kvp], atol=0.55)  # they are rounded


def test_half_value_layer_of_one_energy_is_closed_form():
    mu = float(att.mass_attenuation("aluminium", 60.0)) * sp.ALUMINIUM_G_CC
    layer = float(layer_of(sp.mono_spectrum(60.0)))
    assert layer == pytest.approx(10.0 * np.log(2) / mu, rel=1e-4)


def test_aluminium_hardens_and_costs_photons():
    plain, hard = tube(80.0), tube(80.0, added_al_mm=3.0)
    assert layer_of(hard) > layer_of(plain) + 0.5
    assert np.sum(np.asarray(hard.fluence)) < 0.8 * np.sum(np.asarray(plain.fluence))


@pytest.mark.parametrize(
    ("material", "energy", "published"),  # NIST XCOM / Hubbell and Seltzer, cm^2/g
    [
        ("water", 30.0, 0.3756),
        ("water", 60.0, 0.2059),
        ("water", 100.0, 0.1707),
        ("soft", 60.0, 0.2048),
        ("bone", 40.0, 0.6655),
        ("bone", 60.0, 0.3148),
        ("adipose", 80.0, 0.1800),
        ("aluminium", 60.0, 0.2778),
        ("air_absorbed", 40.0, 0.06833),
        ("air_absorbed", 80.0, 0.02407),
    ],
)
def test_attenuation_is_nists(material, energy, published):
    got = float(att.mass_attenuation(material, energy))
    assert got == pytest.approx(published, rel=0.01)


def test_table_agrees_with_the_constants_at_60_kev():
    soft = 0.1 * float(att.mass_attenuation("soft", 60.0))
    lung = 0.1 * float(att.mass_attenuation("lung", 60.0))
    assert soft == pytest.approx(att.SOFT_MU_PER_DENSITY, rel=5e-4)
    assert lung == pytest.approx(att.LUNG_MU_PER_DENSITY, rel=0.01)


def test_one_energy_gives_exactly_the_line_integral():
    areal_density = np.array(
        [[0.0, 3.0, 25.0, 60.0], [0.0, 1.0, 4.0, 12.0]], np.float32
    )
    beam = beam_of(sp.mono_spectrum(60.0))
    mu = np.asarray(beam.mass_attenuation)
    want = mu[0, 0] * areal_density[0] + mu[1, 0] * areal_density[1]
    np.testing.assert_array_equal(line(areal_density, beam), want)
    np.testing.assert_allclose(mu[:2, 0], [0.20485, 0.31483], rtol=1e-4)


@pytest.mark.parametrize("kvp", [60.0, 80.0, 97.5, 120.0])
def test_few_nodes_stand_for_the_whole_spectrum(kvp):
    soft, bone = np.meshgrid(np.linspace(0, 45, 19), np.linspace(0, 8, 9))
    areal_density = np.stack([soft, bone]).astype(np.float32)
    spectrum = tube(kvp)
    few = line(areal_density, beam_of(spectrum))
    whole = beam_of(spectrum, nodes=1000)
    weights = np.asarray(weights_of(spectrum, 0.6), np.float64)
    mu = np.asarray(whole.mass_attenuation, np.float64)[:2]
    passed = np.exp(
        -np.einsum("mk,mij->kij", mu, np.asarray(areal_density, np.float64))
    )
    want = -np.log(np.einsum("k,kij->ij", weights, passed))
    np.testing.assert_allclose(line(areal_density, whole), want, atol=2e-5)
    np.testing.assert_allclose(few, want, rtol=0.002, atol=1e-4)


def test_effective_energy_shortcut_is_near_at_its_depth_and_linear():
    spectrum = tube(80.0)
    short = beam_of(spectrum, nodes=1)
    areal_density = np.array([[15.0, 15.1, 30.0], [0.0, 0.0, 0.0]], np.float32)
    one, whole = (
        np.asarray(line(areal_density, b)) for b in (short, beam_of(spectrum))
    )
    slope = lambda reading: float(reading[1] - reading[0])
    assert slope(one) == pytest.approx(slope(whole), rel=0.01)
    assert float(one[2]) == pytest.approx(2.0 * float(one[0]), rel=1e-6)


def test_open_beam_passes_whole():
    beam = beam_of(tube(100.0))
    through = np.asarray(line(np.zeros((2, 3), np.float32), beam))
    np.testing.assert_allclose(through, 0.0, atol=1e-6)
    assert np.sum(np.asarray(beam.weight)) == pytest.approx(1.0, abs=1e-6)
    assert beam.weight.shape == (12,)


@settings(max_examples=20, deadline=None)
@given(
    kvp=st.floats(60.0, 120.0, width=32),
    soft=st.floats(0.0, 60.0, width=32),
    bone=st.floats(0.0, 15.0, width=32),
    fat=st.floats(0.0, 15.0, width=32),
)
def test_more_tissue_never_gives_more_signal(kvp, soft, bone, fat):
    path = np.array([soft, bone, fat], np.float32).reshape(3, 1)
    more = path + np.eye(3, dtype=np.float32) * np.float32(0.5)
    beam = beam_of(tube(kvp))
    # the three alike and the three longer ones in one array: one program
    readings = np.asarray(line(np.hstack([path, more]), beam))
    base, longer = readings[:1], readings[1:]
    assert np.isfinite(base).all() and float(base[0]) > -1e-5
    assert (longer - base > 0.05).all()


def test_gradients_are_those_of_differences_and_finite_at_the_tables_knots():
    areal_density = jnp.array([[20.0], [2.0]])
    run = jax.jit(lambda kvp: line(areal_density, beam_of(tube(kvp)))[0])
    slope = jax.jit(jax.grad(run))
    assert float(slope(82.0)) == pytest.approx(float(run(82.5) - run(81.5)), rel=0.03)
    assert all(-0.1 < slope(v) < 0.0 for v in (60.0, 80.0, 120.0))


def test_jit_and_vmap_agree_with_a_loop():
    areal_density = jnp.array([[20.0, 5.0], [2.0, 0.0]])
    run = lambda kvp: line(areal_density, beam_of(tube(kvp)))
    volts = jnp.array([60.0, 81.0, 120.0])
    want = np.stack([run(v) for v in volts])
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(volts), want, atol=1e-5)


def test_unknown_material_is_refused():
    with pytest.raises(UserError, match="one of soft, bone"):
        att.mass_attenuation("gold", 60.0)
