import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax import geometry as geo
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry

# Four markers no symmetry maps on each other: (left, posterior, superior) mm.
MARKERS = np.array([[40, 0, 0], [0, 25, 0], [0, 0, 60], [-15, -35, -70]], np.float32)


def view(angle, **kwargs):
    spec = dict(rows=48, cols=64, pixel_mm=(8.0, 6.0), offset_mm=(12.0, -9.0))
    return Geometry(1000.0, 1500.0, angle, **{**spec, **kwargs})


def pinhole(angle, point, g):
    """Independent: IEC source position and similar triangles, in float64."""
    a = np.deg2rad(angle)
    xf, yf, zf = point[0], point[2], -point[1]  # IEC: left, superior, anterior
    depth = 1000.0 - (xf * np.sin(a) + zf * np.cos(a))
    right = (xf * np.cos(a) - zf * np.sin(a)) * 1500.0 / depth
    down = -yf * 1500.0 / depth
    row = (down - g.offset_mm[0]) / g.pixel_mm[0] + (g.rows - 1) / 2
    col = (right - g.offset_mm[1]) / g.pixel_mm[1] + (g.cols - 1) / 2
    return row, col


@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, 180.0, 270.0])
def test_markers_land_where_similar_triangles_say(angle):
    g = view(angle)
    got = np.asarray(geo.project_point(g, MARKERS))
    want = np.array([pinhole(angle, m.astype(float), g) for m in MARKERS])
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_anatomical_directions_on_the_image():
    middle = np.asarray(geo.project_point(view(0.0), np.zeros(3)))
    ap = np.asarray(geo.project_point(view(0.0), MARKERS)) - middle
    assert ap[0, 1] > 0 and ap[2, 0] < 0  # left goes right, superior goes up
    lateral = np.asarray(geo.project_point(view(90.0), MARKERS)) - middle
    assert lateral[1, 1] > 0 and abs(lateral[0, 1]) < 1e-4  # posterior goes right
    # from behind, left is on the viewer's left
    assert np.asarray(geo.project_point(view(180.0), MARKERS))[0, 1] < middle[1]


def test_source_is_anterior_at_0_and_left_at_90():
    np.testing.assert_allclose(geo.source_mm(view(0.0)), [0, -1000, 0], atol=1e-3)
    np.testing.assert_allclose(geo.source_mm(view(90.0)), [1000, 0, 0], atol=1e-3)


def test_magnification_is_one_and_a_half_at_the_isocentre():
    g = geo.square_panel(480)
    shift = geo.project_point(g, jnp.array([10.0, 0.0, 0.0]))
    shift = shift - geo.project_point(g, jnp.zeros(3))
    np.testing.assert_allclose(shift, [0.0, 15.0], atol=1e-3)
    np.testing.assert_allclose(geo.px_to_detector_mm(g, shift), [0, 15.0], atol=1e-3)
    np.testing.assert_allclose(geo.px_to_iso_mm(g, shift), [0, 10.0], atol=1e-3)


def test_non_square_pixels_scale_each_direction_by_its_own_pitch():
    g = Geometry(1000.0, 1500.0, 0.0, 10, 10, (0.4, 0.3))
    np.testing.assert_allclose(
        geo.px_to_detector_mm(g, jnp.ones((3, 2))), [[0.4, 0.3]] * 3, rtol=1e-6
    )


def test_offset_moves_the_panel_down_and_right():
    plain, moved = view(0.0, offset_mm=(0.0, 0.0)), view(0.0, offset_mm=(8.0, 6.0))
    shift = geo.project_point(moved, MARKERS) - geo.project_point(plain, MARKERS)
    np.testing.assert_allclose(shift, -np.ones((4, 2)), atol=1e-4)


def test_pixel_and_position_agree():
    g = view(0.0)
    point = jnp.array([[22.0, 0.0, 31.0]])
    place = geo.position_iso_mm(g, geo.project_point(g, point))
    np.testing.assert_allclose(place, [[31.0, 22.0]], atol=1e-3)


def test_iec_round_trip_and_meaning():
    np.testing.assert_array_equal(
        geo.lps_to_iec(jnp.array([1.0, 2.0, 3.0])), [1, 3, -2]
    )
    back = geo.iec_to_lps(geo.lps_to_iec(jnp.asarray(MARKERS)))
    np.testing.assert_array_equal(back, MARKERS)


def test_presets_have_the_panels_size():
    g = geo.varian()
    np.testing.assert_allclose([g.rows * 0.388, g.cols * 0.388], [297.984, 397.312])
    assert geo.elekta(binning=4).rows * geo.elekta(binning=4).pixel_mm[0] == 409.6


@pytest.mark.parametrize(
    ("angle", "name"),
    [(0, "LR"), (180, "LR"), (90, "AP"), (270, "AP"), (45, "lateral@45")],
)
def test_axis_names(angle, name):
    assert geo.axis_names(float(angle)) == ("SI", name)


def test_pose_gradient_matches_a_finite_difference():
    point = jnp.array([30.0, -20.0, 10.0])
    column = lambda a: geo.project_point(view(a), point)[1]
    slope = jax.grad(column)(30.0)
    np.testing.assert_allclose(slope, (column(31.0) - column(29.0)) / 2, rtol=1e-2)


def test_clip_is_a_pytree_with_static_flags():
    clip = Clip(jnp.zeros((2, 3, 3)), jnp.zeros(2), geo.square_panel(3), periodic=True)
    twice = jax.tree.map(lambda x: x * 2, clip)
    assert twice.periodic and twice.geometry.rows == 3 and twice.mask is None
