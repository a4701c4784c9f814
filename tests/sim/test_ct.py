import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chest import PITCH_MM, SHAPE, chest_hu

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, Grid
from fluoro_jax.sim import ct, ct_field
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.xray.attenuation import SOFT
from fluoro_jax.sim.xray.projector import project

densities = jax.jit(ct.densities)
PITCH = (PITCH_MM,) * 3
LIFE = ct.Landmarks(110.0, -60.0, 40.0, -70.0, 75.0, 0.0, 115.0)


@pytest.fixture(scope="module")
def volume():
    return ct.ct_volume(chest_hu(spine=True), Grid((0.0, 0.0, 0.0), PITCH))


def test_water_and_soft_tissue_have_their_attenuation():
    soft, bone = ct.densities(np.array([-1000.0, -2048.0, -750.0, 0.0, 50.0]))
    np.testing.assert_allclose(bone, 0.0)
    mu = np.asarray(ct.CtVolume(soft, bone, None).mu())
    soft = np.asarray(soft)
    np.testing.assert_allclose(soft[:2], 0.0, atol=1e-6)
    # water as soft tissue: 1.5 % more photoelectric effect at 60 than at 70 keV
    assert float(mu[3]) == pytest.approx(0.02059, rel=0.006)
    assert float(mu[2]) == pytest.approx(0.25 * 0.02059, rel=0.006)
    assert float(soft[4]) == pytest.approx(1.06, abs=0.01)


@pytest.mark.parametrize("hu", [100.0, 300.0, 700.0, 1200.0, 1600.0, 3000.0])
def test_bone_attenuates_as_its_hu_says_and_weighs_as_the_line_says(hu):
    soft, bone = (float(v) for v in densities(np.float32(hu)))
    mu70 = soft * ct.CT_SOFT_MU_PER_DENSITY + bone * ct.CT_BONE_MU_PER_DENSITY
    assert mu70 == pytest.approx(0.01929 * (1 + hu / 1000), rel=1e-5)
    assert soft >= 0.0 and bone > 0.0
    if hu < 1700.0:
        assert soft + bone == pytest.approx(1.03 + 0.5886e-3 * hu, rel=1e-5)


def test_densities_are_continuous_and_rise():
    hu = np.arange(-1100.0, 3200.0, 1.0)
    soft, bone = np.asarray(densities(hu))
    mu = np.asarray(ct.CtVolume(soft, bone, None).mu())
    assert (np.diff(mu) >= -1e-7).all() and np.diff(mu).max() < 2e-4
    assert np.abs(np.diff(bone)).max() < 6e-3
    assert mu[-1] == mu[np.searchsorted(hu, 3071.0)]  # metal is clipped


def test_a_slab_of_water_projects_to_its_thickness():
    hu = np.full((20, 20, 20), 50.0, np.float32)
    hu[0] = -1000.0
    block = ct.ct_volume(hu, Grid((5.0, 6.0, 7.0), (10.0, 10.0, 10.0)))
    view = Geometry(1000.0, 1500.0, 0.0, 1, 1, (1.0, 1.0))
    line = float(project(block.mu(), block.grid, view)[0, 0])
    assert line == pytest.approx(200.0 * SOFT, rel=0.01)


MARKERS = {  # LPS mm about the isocentre: +x left, +y posterior, +z superior
    "left": ((70.0, 0.0, 20.0), 1000.0),
    "anterior": ((0.0, -60.0, -20.0), 3000.0),
    "superior": ((-30.0, 20.0, 80.0), 2000.0),
}


@pytest.mark.parametrize("gantry_deg", [0.0, 90.0, 180.0, 270.0, 30.0])
def test_markers_fall_where_a_reader_seen_from_the_source_expects(gantry_deg):
    """At 0 the left is at the right, at 90 anterior is at the left; row 0 is up."""
    grid = Grid((300.0, -200.0, -900.0), (4.0, 4.0, 5.0))
    middle = (300.0 + 40 * 4.0, -200.0 + 35 * 4.0, -900.0 + 30 * 5.0)
    view = Geometry(1000.0, 1500.0, gantry_deg, 90, 130, (4.0, 3.0), (6.0, -9.0))
    for place, hu_value in MARKERS.values():
        hu = np.full((61, 71, 81), -1000.0, np.float32)
        index = [
            round(40 + place[0] / 4),
            round(35 + place[1] / 4),
            round(30 + place[2] / 5),
        ]
        hu[index[2], index[1], index[0]] = hu_value
        volume = ct.ct_volume(hu, grid, isocentre_mm=middle)
        image = np.asarray(project(volume.mu(), volume.grid, view), float)
        rows, cols = (np.arange(n) for n in image.shape)
        row = (image.sum(1) @ rows) / image.sum()
        col = (image.sum(0) @ cols) / image.sum()
        down = (row - 44.5) * 4.0 + 6.0
        right = (col - 64.5) * 3.0 - 9.0
        angle = np.deg2rad(gantry_deg)
        x, y, z = ((np.array(index) - (40, 35, 30)) * (4.0, 4.0, 5.0)).tolist()
        depth = 1000.0 - x * np.sin(angle) + y * np.cos(angle)
        across = x * np.cos(angle) + y * np.sin(angle)
        assert down == pytest.approx(-z * 1500.0 / depth, abs=0.5)
        assert right == pytest.approx(across * 1500.0 / depth, abs=0.5)


def test_the_two_views_in_words():
    grid = Grid((-100.0, -100.0, -100.0), (10.0, 10.0, 10.0))
    spot = {}
    for name, index in (
        ("left", (10, 10, 17)),
        ("front", (10, 3, 10)),
        ("up", (17, 10, 10)),
    ):
        hu = np.full((21, 21, 21), -1000.0, np.float32)
        hu[index] = 1000.0
        mu = ct.ct_volume(hu, grid).mu()
        for angle in (0.0, 90.0):
            view = Geometry(1000.0, 1500.0, angle, 60, 80, (8.0, 6.0))
            image = np.asarray(project(mu, grid, view))
            spot[name, angle] = np.unravel_index(image.argmax(), image.shape)
    assert spot["left", 0.0][1] > 50  # the patient's left at the image's right
    assert spot["front", 90.0][1] < 30  # anterior at the image's left
    assert spot["up", 0.0][0] < 20 and spot["up", 90.0][0] < 20


def test_lungs_are_found_and_give_the_landmarks(volume):
    lung = ct.find_lung(volume)
    want = chest_hu(spine=True) == -750.0
    assert (lung & want).sum() / (lung | want).sum() > 0.97
    marks = ct.find_landmarks(lung, volume.grid)
    assert float(marks.apex_mm) == pytest.approx(110.0, abs=9.0)
    assert float(marks.dome_mm) == pytest.approx(-55.0, abs=20.0)
    assert float(marks.sternum_mm) == pytest.approx(-72.0, abs=9.0)
    assert float(marks.half_width_mm) == pytest.approx(112.0, abs=9.0)
    assert float(marks.middle_mm) == pytest.approx(0.0, abs=5.0)


def test_bowel_gas_and_the_trachea_give_no_landmarks(volume):
    """Beside the lungs of the chest: gas in front of the belly, a windpipe above."""
    want = ct.find_landmarks(ct.find_lung(volume), volume.grid)
    hu = chest_hu(spine=True)
    light = np.argwhere(hu == -750.0)
    top = light[:, 0].max()
    middle = hu.shape[2] // 2
    y, x = light[light[:, 0] == top][0, 1:]
    hu[top : top + 4, y, x] = -950.0  # joined to a lung, one voxel wide
    hu[2:5, 6:9, middle : middle + 3] = -950.0
    assert 27 * PITCH_MM**3 / 1000.0 < ct.LEAST_LUNG_ML
    other = ct.ct_volume(hu, Grid((0.0, 0.0, 0.0), PITCH))
    lung = ct.find_lung(other)
    assert lung[top + 2, y, x] and not lung[3, 7, middle + 1]
    assert ct.find_landmarks(lung, other.grid) == want


def test_gaps_are_filled_by_millimetres_not_by_voxels():
    light = np.ones((9, 9, 9), bool)
    light[4] = False  # a gap along z
    light[:, :, 4] = False  # and one along x
    filled = ct._closed(light, Grid((0.0, 0.0, 0.0), (1.0, 1.0, 10.0)))
    assert filled[2, 4, 4] and not filled[4, 4, 4]
    # All axes alike: twice 3 mm are reached across, seven voxels are not.
    for gap, closed in ((5, True), (7, False)):
        light = np.ones((1, 1, 21), bool)
        light[..., 7 : 7 + gap] = False
        filled = ct._closed(light, Grid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
        assert filled.all() == closed, gap


def test_a_breathing_ct_keeps_its_lung_mass_and_its_spine(volume):
    lung = ct.find_lung(volume)
    marks = ct.find_landmarks(lung, volume.grid)
    soft = np.asarray(volume.soft) * lung
    only = volume.replace(soft=soft, bone=np.zeros_like(soft))
    breath = Breathing(5.0, si_mm=24.0, ap_mm=10.0)
    clips = [
        [
            np.asarray(v.soft)
            for v in ct.animate(part, marks, breath, [0.0, 1.0, 2.0], lung=lung)
        ]
        for part in (only, volume)
    ]
    masses = [v.sum() for v in clips[0]]
    np.testing.assert_allclose(masses, masses[0], rtol=0.01)
    np.testing.assert_allclose(clips[1][0], volume.soft, atol=1e-5)
    light = [(v > 0.05).sum() for v in clips[0]]
    assert light[2] > 1.08 * light[0]  # the lung is larger at inhale
    (moved,) = ct.animate(volume, marks, breath, [2.0], lung=lung)
    spine = np.asarray(volume.bone) > 0.2
    np.testing.assert_allclose(
        np.asarray(moved.bone)[spine], np.asarray(volume.bone)[spine], atol=0.02
    )


def test_the_dome_comes_down_by_the_amplitude(volume):
    lung = ct.find_lung(volume)
    marks = ct.find_landmarks(lung, volume.grid)
    breath = Breathing(5.0, si_mm=24.0, ap_mm=0.0)
    z = volume.grid.origin_mm[2] + 8.0 * np.arange(SHAPE[0])
    edge = []
    for v in ct.animate(volume, marks, breath, [0.0, 2.0], lung=lung):
        column = np.asarray(v.soft)[:, 14, 13]  # through the middle of the right lung
        below = column[: SHAPE[0] // 2]
        edge.append(np.interp(-0.6, -below, z[: SHAPE[0] // 2]))
    assert edge[0] - edge[1] == pytest.approx(24.0, abs=1.5)


@pytest.mark.parametrize("share", [-0.99, 0.99])
def test_field_is_inverted_up_to_its_limit(share):
    height, depth = 170.0, 110.0
    si, ap = share * 0.8 * height / 1.5, share * 0.8 * depth / 1.5
    for move, at in (
        (lambda q: -si * ct_field.height_share(LIFE, q), np.linspace(-200, 200, 999)),
        (lambda q: -ap * ct_field.forward_share(LIFE, q), np.linspace(-150, 150, 999)),
    ):

        @jax.jit
        def undone(at, move=move):
            origin, stretch = ct_field.undo(at, move)
            return origin + move(origin), stretch

        at = at.astype(np.float32)
        back, stretch = jax.device_get(undone(at))
        np.testing.assert_allclose(back, at, atol=1e-3)
        assert stretch.min() > 0.19 and stretch.max() < 1.81


def test_jacobian_is_that_of_the_field():
    """The product of two stretches is the determinant in all three axes."""
    points = np.random.default_rng(0).uniform((-100, -60, -50), (100, 60, 90), (50, 3))

    def forward(p):
        ahead, low = ct_field.tissue_displacement_mm(
            LIFE, (p[0], p[1], p[2]), 24.0, 10.0
        )
        return p + jnp.stack([0.0 * ahead, -ahead, -low])

    def stretches(p):
        moved, across = forward(p), ct_field.across_share(LIFE, p[0], p[1])
        by_y = ct_field.undo(
            moved[1], lambda q: -10.0 * ct_field.forward_share(LIFE, q)
        )[1]
        sink = lambda q: -24.0 * across * ct_field.height_share(LIFE, q)
        return by_y * ct_field.undo(moved[2], sink)[1]

    points = points.astype(np.float32)
    slopes = jax.jit(jax.vmap(jax.jacfwd(forward)))(points)
    want = np.linalg.det(np.asarray(slopes))
    np.testing.assert_allclose(jax.jit(jax.vmap(stretches))(points), want, atol=2e-3)
    assert float(want.max()) > 1.15


@pytest.mark.parametrize(
    ("breath", "taken_at", "words"),
    [
        (Breathing(si_mm=120.0), 0.0, "at most 90.7 mm"),
        (Breathing(si_mm=120.0), 1.0, "SI motion of -120.0 mm"),
        (Breathing(si_mm=20.0, ap_mm=60.0), 0.0, "at most 58.7 mm"),
        (Breathing(si_mm=np.nan), 0.0, "SI motion of nan mm"),
    ],
)
def test_motion_that_folds_the_lung_is_refused_with_the_limit(
    volume, breath, taken_at, words
):
    with pytest.raises(UserError) as caught:
        ct.animate(volume, LIFE.replace(taken_at=taken_at), breath, [0.0, 2.0])
    assert words in str(caught.value)


def test_what_is_no_ct_is_refused(volume):
    grid = Grid((0.0, 0.0, 0.0), PITCH)
    hu = chest_hu(spine=True)
    hu[0, 0, :3] = np.nan
    with pytest.raises(UserError, match=f"3 of {hu.size} voxels"):
        ct.ct_volume(hu, grid)
    with pytest.raises(UserError, match="RescaleSlope"):
        ct.ct_volume(chest_hu(spine=True) + 1024.0, grid)
    with pytest.raises(UserError, match="0 ml of lung"):
        ct.find_landmarks(np.zeros(SHAPE, bool), grid)
    cropped = jax.tree.map(lambda v: v[:, 10:, :] if np.ndim(v) else v, volume)
    with pytest.raises(UserError, match="not cropped"):
        ct.animate(cropped, LIFE, Breathing(), [0.0])
    upside_down = LIFE.replace(apex_mm=-60.0, dome_mm=110.0)
    with pytest.raises(UserError, match="apex above the dome"):
        ct.animate(volume, upside_down, Breathing(), [0.0])
