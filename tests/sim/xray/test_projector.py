import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import Geometry, Grid, project_point
from fluoro_jax.sim.xray import projector
from fluoro_jax.sim.xray.projector import project

march = jax.jit(projector.march)  # one program for all grids and views of a size


def view(angle, size=24, **kwargs):
    spec = dict(rows=size, cols=size + 4, pixel_mm=(9.0, 7.0), offset_mm=(5.0, -8.0))
    return Geometry(1000.0, 1500.0, angle, **{**spec, **kwargs})


def centred(shape, spacing):
    origin = [-0.5 * (n - 1) * s for n, s in zip(shape[::-1], spacing, strict=True)]
    return Grid(tuple(origin), spacing)


def general(mu, grid, geometry):
    return projector._project_general(mu, grid, geometry)


point_px = jax.jit(project_point)


def ray_factor(g):
    v = (np.arange(g.rows) - (g.rows - 1) / 2) * g.pixel_mm[0] + g.offset_mm[0]
    u = (np.arange(g.cols) - (g.cols - 1) / 2) * g.pixel_mm[1] + g.offset_mm[1]
    return np.sqrt(1 + (v[:, None] / g.sdd_mm) ** 2 + (u[None] / g.sdd_mm) ** 2)


@pytest.fixture(scope="module")
def blob():
    """A smooth, lopsided volume: no symmetry hides a wrong axis."""
    shape, spacing = (22, 18, 20), (6.0, 6.0, 7.0)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mu = np.exp(-6 * ((x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2))
    mu += 0.7 * np.exp(-20 * ((x + 0.5) ** 2 + (y - 0.4) ** 2 + (z + 0.5) ** 2))
    return (0.02 * mu).astype(np.float32), centred(shape, spacing)


@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, 270.0])
@pytest.mark.parametrize("path", [project, general])
def test_slab_measures_its_voxels_exactly(angle, path):
    shape, spacing = (60, 10, 60), (6.0, 6.0, 6.0)
    if angle in (90.0, 270.0):
        shape = (60, 60, 10)
    g = view(angle, 8, pixel_mm=(6.0, 6.0))
    grid = centred(shape, spacing)
    grid = grid.replace(origin_mm=tuple(o + 1.7 for o in grid.origin_mm))
    got = path(np.full(shape, 0.02, np.float32), grid, g)
    np.testing.assert_allclose(got, 10 * 6.0 * 0.02 * ray_factor(g), rtol=2e-5)


def test_outside_the_volume_is_nothing():
    beside = view(0.0, offset_mm=(600.0, 600.0))
    got = project(np.ones((9, 9, 9), "f"), centred((9, 9, 9), (4.0,) * 3), beside)
    np.testing.assert_array_equal(got, np.zeros((24, 28)))


@pytest.mark.parametrize("angle", [0.0, 90.0, 33.0])
def test_mass_of_an_impulse(angle):
    """sum(P cos) du dv = sum mu (SDD / depth)^2 dV."""
    shape, spacing = (9, 9, 9), (5.0, 5.0, 5.0)
    grid = centred(shape, spacing)
    mu = np.zeros(shape, np.float32)
    mu[6, 2, 5] = 1.0
    place = np.array([grid.origin_mm[i] + (5, 2, 6)[i] * 5.0 for i in range(3)])
    a = np.deg2rad(angle)
    depth = 1000 - place[0] * np.sin(a) + place[1] * np.cos(a)
    g = view(angle, 160, pixel_mm=(0.75, 0.75), offset_mm=(0.0, 0.0))
    image = np.asarray(project(mu, grid, g))
    mass = np.sum(image / ray_factor(g)) * 0.75**2
    np.testing.assert_allclose(mass, 125.0 * (1500 / depth) ** 2, rtol=0.01)
    at = np.indices(image.shape).reshape(2, -1) @ image.ravel() / image.sum()
    np.testing.assert_allclose(at, point_px(g, place), atol=0.15)


def ellipsoid(voxel):
    semi, middle = np.array([60.0, 45.0, 70.0]), np.array([8.0, -5.0, 6.0])
    shape = tuple(int(n / voxel) for n in (180, 130, 150))
    grid = centred(shape, (voxel,) * 3)
    axes = [grid.origin_mm[i] + np.arange(shape[2 - i]) * voxel for i in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    p = [(v - m) / s for v, m, s in zip((x, y, z), middle, semi, strict=True)]
    norm = np.sqrt(p[0] ** 2 + p[1] ** 2 + p[2] ** 2) + 1e-9
    slope = np.sqrt(sum((q / s) ** 2 for q, s in zip(p, semi, strict=True))) / norm
    share = np.clip(0.5 - (norm - 1) / (slope + 1e-9) / voxel, 0, 1)
    return (0.02 * share).astype(np.float32), grid, semi, middle


def ellipsoid_truth(g, angle, semi, middle):
    a = np.deg2rad(angle)
    v = (np.arange(g.rows) - (g.rows - 1) / 2) * g.pixel_mm[0] + g.offset_mm[0]
    u = (np.arange(g.cols) - (g.cols - 1) / 2) * g.pixel_mm[1] + g.offset_mm[1]
    beam = np.array([-np.sin(a), np.cos(a), 0])
    ray = (
        1500 * beam
        + u[None, :, None] * np.array([np.cos(a), np.sin(a), 0])
        + v[:, None, None] * np.array([0, 0, -1.0])
    )
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    o, d = (-1000 * beam - middle) / semi, ray / semi
    A, B = np.sum(d * d, -1), d @ o
    return 0.02 * 2 * np.sqrt(np.maximum(B**2 - A * (o @ o - 1), 0)) / A


@pytest.mark.parametrize("angle", [0.0, 90.0, 25.0])
def test_ellipsoid_matches_its_closed_form_and_converges(angle):
    g = view(angle, 40, pixel_mm=(6.0, 6.5))
    rms = []
    for voxel in (8.0, 4.0):
        mu, grid, semi, middle = ellipsoid(voxel)
        truth = ellipsoid_truth(g, angle, semi, middle)
        error = np.asarray(project(mu, grid, g)) - truth
        rms.append(np.sqrt(np.mean(error**2)) / truth.max())
    # first order: the voxelised silhouette; behind it the error is far smaller
    assert rms[1] < 0.02 and rms[1] < 0.6 * rms[0]
    thick = truth > 0.5 * truth.max()
    assert np.sqrt(np.mean(error[thick] ** 2)) < 0.005 * truth.max()


@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, 270.0, 20.0, 141.0])
def test_factorised_is_marching(blob, angle):
    mu, grid = blob
    g = view(angle)
    got, want = general(mu, grid, g), np.asarray(march(mu, grid, g))
    np.testing.assert_allclose(got, want, atol=1e-4 * want.max())
    # the slices' own planes differ from marching's only by the quadrature
    np.testing.assert_allclose(project(mu, grid, g), want, atol=8e-3 * want.max())


def test_gantry_180_is_the_volume_turned(blob):
    mu, grid = blob
    turned = mu[:, ::-1, ::-1]
    for path in (project, general):
        got, want = path(mu, grid, view(180.0)), path(turned, grid, view(0.0))
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 50.0])
def test_adjoint(blob, angle):
    mu, grid = blob
    g = view(angle)
    rng = np.random.default_rng(0)
    image, x = (rng.normal(size=s).astype("f") for s in ((g.rows, g.cols), mu.shape))

    @jax.jit
    def there_and_back(x, image):
        forward, back = jax.vjp(lambda m: project(m, grid, g), x)
        return forward, back(image)[0]

    forward, back = jax.device_get(there_and_back(x, image))
    left, right = np.vdot(forward, image), np.vdot(x, back)
    size = np.linalg.norm(forward) * np.linalg.norm(image)
    assert abs(left - right) < 1e-5 * size


def test_gradients_match_finite_differences(blob):
    mu, grid = blob
    weight = np.random.default_rng(2).normal(size=(24, 28)).astype("f")

    @jax.jit
    def score(angle, shift):
        g = view(angle, offset_mm=(shift, -8.0))
        return jnp.vdot(weight, project(mu, grid, g))

    by_angle, by_shift = jax.jit(jax.grad(score, argnums=(0, 1)))(40.0, 5.0)
    step = 0.5
    at = lambda *place: float(score(*place))
    want = (at(40.0 + step, 5.0) - at(40.0 - step, 5.0)) / (2 * step)
    np.testing.assert_allclose(by_angle, want, rtol=0.05, atol=1e-3)
    want = (at(40.0, 5.0 + step) - at(40.0, 5.0 - step)) / (2 * step)
    np.testing.assert_allclose(by_shift, want, rtol=0.05, atol=1e-3)


def square_slope(path, mu, grid, g):
    """Gradient of the sum of squares of a radiograph with respect to the volume."""
    total = lambda m: jnp.sum(jnp.square(path(m, grid, g)))
    return np.asarray(jax.jit(jax.grad(total))(mu))


def test_marching_gradient_is_the_factorised_gradient(blob):
    mu, grid = blob
    g = view(35.0, 12)
    got, want = (square_slope(path, mu, grid, g) for path in (general, march))
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_markers_with_non_square_pixels_and_offsets(angle):
    shape, spacing = (40, 36, 44), (5.0, 5.0, 5.0)
    grid = centred(shape, spacing)
    g = view(angle, 60, pixel_mm=(6.0, 4.0), offset_mm=(15.0, -10.0))
    for index in ((30, 10, 8), (5, 30, 30)):
        mu = np.zeros(shape, np.float32)
        mu[index] = 1.0
        place = np.array([grid.origin_mm[i] + index[2 - i] * 5.0 for i in range(3)])
        image = np.asarray(project(mu, grid, g))
        at = np.indices(image.shape).reshape(2, -1) @ image.ravel() / image.sum()
        np.testing.assert_allclose(at, point_px(g, place), atol=0.35)


def test_traced_angle_takes_the_general_path_with_the_same_answer(blob):
    mu, grid = blob
    traced = jax.jit(lambda angle: project(mu, grid, view(angle)))(90.0)
    want = np.asarray(project(mu, grid, view(90.0)))
    np.testing.assert_allclose(traced, want, atol=8e-3 * want.max())


def test_vmap_over_volumes_is_a_loop(blob):
    mu, grid = blob
    both = np.stack([mu, 2 * mu])
    g = view(0.0)
    got = np.asarray(jax.jit(jax.vmap(lambda m: project(m, grid, g)))(both))
    np.testing.assert_allclose(got[1], project(2 * mu, grid, g), atol=1e-6)


EXTREMES = {
    "fine pixels": dict(pixel_mm=(0.3, 0.2)),
    "coarse pixels": dict(pixel_mm=(60.0, 45.0)),
    "tall": dict(rows=50, cols=7),
    "wide": dict(rows=3, cols=61),
    "off one corner": dict(offset_mm=(-150.0, 100.0)),
    "strong magnification": dict(sad_mm=300.0),
    "panel near": dict(sdd_mm=1010.0, pixel_mm=(6.0, 5.0)),
}


@pytest.fixture(scope="module")
def even_blob(blob):
    """As many slices as marching has planes among them, in the same places."""
    mu, grid = blob
    assert len(projector._planes((22, 16, 16), grid)[0]) % 2 == 0
    return mu[:, 2:, 2:18], grid


@pytest.mark.parametrize("change", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("angle", [0.0, 90.0, 40.0])
def test_any_panel_sees_what_marching_sees(even_blob, angle, change):
    g = dataclasses.replace(view(angle), **change)
    want = np.asarray(march(*even_blob, g))
    assert want.max() > 1e-3
    np.testing.assert_allclose(project(*even_blob, g), want, atol=1e-4 * want.max())


@pytest.mark.parametrize("angle", [0.0, 90.0])
def test_gradient_of_a_quarter_turn_is_that_of_marching(even_blob, angle):
    mu, grid = even_blob
    g = view(angle, 12, offset_mm=(20.0, 35.0))
    got, want = (square_slope(path, mu, grid, g) for path in (project, march))
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_of_one_voxel_falls_to_zero_on_both_sides(blob, axis):
    mu, grid = blob
    thin = np.take(mu, [9], axis=axis)
    g = view(0.0)
    want = np.asarray(march(thin, grid, g))
    np.testing.assert_allclose(general(thin, grid, g), want, atol=1e-4 * want.max())
    wide = np.pad(thin, [(2, 2) if i == axis else (0, 0) for i in range(3)])
    origin = list(grid.origin_mm)
    origin[2 - axis] -= 2 * grid.spacing_mm[2 - axis]
    want = np.asarray(project(wide, grid.replace(origin_mm=tuple(origin)), g))
    assert want.max() > 1e-3
    np.testing.assert_allclose(project(thin, grid, g), want, atol=1e-4 * want.max())


def test_one_program_serves_every_grid_and_panel_of_a_size(blob):
    mu, grid = blob
    radiograph = jax.jit(lambda grid, g: project(mu, grid, projector.turned(g, 0)))
    for size in (0.5, 6.0, 20.0):
        g = view(0.0, pixel_mm=(size, 0.7 * size))
        near = grid.replace(spacing_mm=(5.0, size, 3.0))
        want = np.asarray(project(mu, near, g))
        np.testing.assert_allclose(radiograph(near, g), want, atol=1e-5 * want.max())
    assert radiograph._cache_size() == 1
