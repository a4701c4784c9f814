import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import Geometry, project_point, square_panel
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal
from fluoro_jax.sim.body.motion import lung_displacement_mm
from fluoro_jax.sim.tumor.tumor import (
    Tumor,
    sphere_centroid_px,
    sphere_chord_mm,
    tumor_mask,
    tumor_path_mm,
)

CENTRE = np.array([70.0, -40.0, 55.0])
chord_of = jax.jit(sphere_chord_mm)
mask_of = jax.jit(tumor_mask)
path_of = jax.jit(tumor_path_mm)


def ball(diameter):
    return Tumor(CENTRE, diameter, 0.0, 0.0)


def chord_float64(angle, g, centre, diameter):
    """Independent: quadratic discriminant in float64."""
    a = np.deg2rad(angle)
    right, down = np.array([np.cos(a), np.sin(a), 0]), np.array([0, 0, -1.0])
    beam = np.array([-np.sin(a), np.cos(a), 0])
    v = (np.arange(g.rows) - (g.rows - 1) / 2) * g.pixel_mm[0] + g.offset_mm[0]
    u = (np.arange(g.cols) - (g.cols - 1) / 2) * g.pixel_mm[1] + g.offset_mm[1]
    ray = 1500 * beam + u[None, :, None] * right + v[:, None, None] * down
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    c = centre + 1000 * beam
    along = ray @ c
    inside = (diameter / 2) ** 2 - (c @ c - along**2)
    return 2 * np.sqrt(np.maximum(inside, 0))


@pytest.mark.parametrize("angle", [0.0, 90.0, 217.0])
def test_chord_and_mask_match_float64(angle):
    g = Geometry(1000.0, 1500.0, angle, 96, 80, (4.0, 5.0), (10.0, -20.0))
    want = chord_float64(angle, g, CENTRE, 30.0)
    chord = np.asarray(chord_of(g, CENTRE, 30.0))
    firm = (want > 1.0) | (want == 0)
    np.testing.assert_allclose(chord[firm], want[firm], atol=0.02)
    mask = np.asarray(mask_of(g, ball(30.0), CENTRE))
    assert np.sum(mask != (want > 0)) <= 1 and set(np.unique(mask)) == {0, 1}


def test_small_sphere_keeps_its_thickness_in_float32():
    g = Geometry(1000.0, 1500.0, 0.0, 1, 1, (1.0, 1.0))
    chord = chord_of(g, np.zeros(3), 2.0)
    np.testing.assert_allclose(chord, 2.0, rtol=1e-5)


def test_centroid_is_the_supersampled_shadows_not_the_projected_centre():
    centre = np.array([130.0, 0.0, 110.0])
    fine = Geometry(1000.0, 1500.0, 0.0, 2000, 2000, (0.25, 0.25))
    rows, cols = np.nonzero(np.asarray(mask_of(fine, ball(60.0), centre)))
    want = np.array([rows.mean(), cols.mean()])
    got = np.asarray(jax.jit(sphere_centroid_px)(fine, centre, 60.0))
    np.testing.assert_allclose(got, want, atol=0.02)
    off = np.abs(np.asarray(jax.jit(project_point)(fine, centre)) - want)
    assert off.min() > 0.2  # the ellipse term is not nothing


def test_gradients_are_finite_everywhere():
    g = square_panel(128)

    @jax.jit
    def total(centre, diameter):
        return jnp.sum(sphere_chord_mm(g, centre, diameter))

    centre = CENTRE.astype(np.float32)
    slopes = jax.jit(jax.grad(total, argnums=(0, 1)))
    by_centre, by_size = jax.device_get(slopes(centre, 40.0))
    assert np.isfinite(by_centre).all() and by_size > 0
    step = (float(total(centre, 40.5)) - float(total(centre, 39.5))) / 1.0
    np.testing.assert_allclose(by_size, step, rtol=0.1)


def test_path_goes_down_and_forward_by_the_tumours_own_amplitudes():
    tumor = Tumor(CENTRE, 30.0, si_mm=24.0, ap_mm=8.0)
    path = path_of(tumor, Breathing(5.0, si_mm=99.0), np.array([0.0, 1.0, 2.0]))
    want = CENTRE + np.array([[0, 0, 0], [0, -4, -12], [0, -8, -24]])
    np.testing.assert_allclose(path, want, atol=1e-4)


def test_path_has_a_sideways_amplitude_and_a_lag_of_its_own():
    breath = Breathing(4.0, ap_lag=0.1, start=0.2)
    plain = Tumor(CENTRE, 30.0, si_mm=24.0, ap_mm=8.0)
    odd = plain.replace(lr_mm=-6.0, lag=0.25)
    time_s = np.array([0.0, 0.7, 1.9, 3.0])
    want = np.array(path_of(plain, breath, time_s - 1.0))
    want[:, 0] += 6.0 * (want[:, 2] - CENTRE[2]) / 24.0  # to the right as it sinks
    np.testing.assert_allclose(path_of(odd, breath, time_s), want, atol=1e-3)


def test_mask_of_a_sphere_off_the_panel_is_empty():
    outside = np.array([500.0, 0.0, 0.0])
    assert np.asarray(mask_of(square_panel(16), ball(30.0), outside)).sum() == 0


def test_a_tumour_that_rides_goes_where_the_lung_goes():
    anatomy, breathing = Anatomy(), Breathing(si_mm=20.0, ap_mm=10.0)
    time_s = np.array([0.0, 1.0, 2.0], np.float32)
    moved_by = jax.jit(lung_displacement_mm)
    fractions = jax.device_get(jax.jit(breathing_signal)(breathing, time_s))
    low = []
    for height in (100.0, 20.0):
        centre = np.array([60.0, 10.0, height], np.float32)
        tumor = Tumor(centre, 20.0, si_mm=3.0, ap_mm=4.0, rides=True)
        path = np.asarray(path_of(tumor, breathing, time_s, anatomy))
        for place, si, ap in zip(path, *fractions, strict=True):
            moved = np.asarray(moved_by(anatomy, 20.0 * si, 10.0 * ap, centre))
            np.testing.assert_allclose(place, centre + moved, atol=1e-4)
        np.testing.assert_allclose(path[0], centre, atol=1e-4)  # exhale
        low.append(path[2, 2] - centre[2])
    assert -20.0 < low[1] < low[0] < 0.0  # the base descends further than the apex


def test_a_tumour_that_rides_needs_a_lung():
    tumor = Tumor(np.zeros(3), 20.0, si_mm=3.0, ap_mm=4.0, rides=True)
    with pytest.raises(ValueError, match="anatomy"):
        tumor_path_mm(tumor, Breathing(), np.zeros(1))
