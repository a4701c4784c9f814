import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import Geometry, lps_to_iec, square_panel
from fluoro_jax.sim import background
from fluoro_jax.sim import fluoroscope as fl
from fluoro_jax.sim.body import solids, volume
from fluoro_jax.sim.body.anatomy import Anatomy, sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.motion import pose_at
from fluoro_jax.sim.placement import to_numpy
from fluoro_jax.sim.tumor.shapes import sample_shape
from fluoro_jax.sim.tumor.tumor import Tumor, sphere_centroid_px, tumor_mask
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector

VIEW = square_panel(32)
BREATH = Breathing(5.0, 24.0, 12.0)
TIMES = np.array([0.0, 1.0, 2.0], np.float32)


def make_case(seed=None, *, centre=(-70.0, 15.0, 35.0), diameter=30.0):
    anatomy = Anatomy() if seed is None else sample_anatomy(jax.random.key(seed))
    tumor = Tumor(np.array(centre, np.float32), diameter, 20.0, 8.0)
    # typed as the studies' cases are: one program serves them all
    return to_numpy(fl.Case(anatomy, BREATH, tumor, TIMES))


@pytest.fixture(scope="module")
def case():
    return make_case()


@pytest.fixture(scope="module")
def without_tumor(case):
    return fl.render_body(case, VIEW, voxel_mm=8.0)


def spot(frames, row, col):
    """Mean over a few pixels about a place given as fractions of the frame."""
    r, c = int(row * frames.shape[1]), int(col * frames.shape[2])
    return frames[:, r - 1 : r + 2, c - 1 : c + 2].mean((1, 2))


@pytest.mark.parametrize("seed", range(8))
def test_line_integrals_are_those_of_a_chest(seed):
    frames = np.asarray(fl.render_body(make_case(seed), VIEW, voxel_mm=8.0))
    assert frames.shape == (3, 32, 32) and np.isfinite(frames).all()
    lung = np.concatenate([spot(frames, 0.32, 0.27), spot(frames, 0.32, 0.74)])
    spine = spot(frames, 0.38, 0.5)
    abdomen = np.concatenate([spot(frames, 0.85, 0.3), spot(frames, 0.85, 0.7)])
    assert lung.min() > 1.8 and lung.max() < 3.5
    assert spine.min() > 4.0 and spine.max() < 6.5
    assert abdomen.min() > 3.7 and abdomen.max() < 5.6
    assert lung.min() / spine.max() > 0.33 and lung.max() / spine.min() < 0.8


def test_what_breathes_moves_and_what_does_not_stays(without_tumor):
    without_tumor = np.asarray(without_tumor)
    # the right dome comes down by the 24 mm of the breath, 2.4 pixels
    column = without_tumor[:, :, 9]
    edge = [np.interp(3.9, c[14:24], np.arange(14, 24)) for c in column]
    assert 1.2 < edge[2] - edge[0] < 3.5
    # with the chest filling, lung gets darker: fewer line integrals
    assert without_tumor[2, 10, 9] < without_tumor[0, 10, 9]


def test_image_is_seen_from_the_source(without_tumor):
    """The heart and the lower dome lie at the patient's left: image right."""
    frame = np.asarray(without_tumor[2])
    assert frame[17:20, 18:22].mean() > frame[17:20, 10:14].mean()
    assert frame[26:, 8:24].mean() > frame[8:12, 8:14].mean()


def test_lateral_view_is_seen_from_the_patients_left(case):
    """The lung reaches furthest down at the back, which lies at the right."""
    lateral = square_panel(32, gantry_deg=90.0)
    frame = np.asarray(fl.render_body(case, lateral, voxel_mm=8.0))[0]
    assert frame[18:22, 21:24].mean() < frame[18:22, 11:14].mean() - 1.0


def test_lung_keeps_its_mass(case):
    density = np.asarray(fl.lung_density(case.anatomy, BREATH, TIMES))

    @jax.jit
    def volumes():
        place = solids.grid_axes(*solids.body_grid(5.0))

        def volume_of(moved):
            pose = pose_at(Anatomy(), *moved)
            return jnp.sum(solids.occupancy(solids.lung_distance(pose, place), 5.0))

        return jax.lax.map(volume_of, fl.breathing_displacement_mm(BREATH, TIMES))

    masses = density * np.asarray(volumes())
    np.testing.assert_allclose(masses, masses[0], rtol=0.01)
    assert density[2] < 0.85 * density[0]
    assert float(density[0]) == pytest.approx(0.29)


def test_tumour_adds_its_contrast_times_the_chord(case, without_tumor):
    clip = fl.add_tumor(without_tumor, case, VIEW)
    extra = np.asarray(clip.frames) - np.asarray(without_tumor)
    assert (extra[np.asarray(clip.mask) == 0] == 0).all()
    density = np.asarray(fl.lung_density(case.anatomy, BREATH, TIMES))
    top = (att.mu_tumor(1.06) - att.mu_lung(density)) * 30.0
    assert (extra.max((1, 2)) <= top * 1.002).all()
    assert (extra.max((1, 2)) > 0.8 * top).all()


def test_a_tumour_on_the_hilum_adds_less_than_one_on_parenchyma():
    """Its contrast is that of the soft tissue it brings, not of what was there."""
    case = make_case(centre=(-48.0, 14.0, 20.0))
    blank = np.zeros((3, 32, 32), np.float32)
    lung = fl.lung_at(case)
    bare = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf) + 1e3), (lung.vessel, lung.airway)
    )
    bare = lung.replace(vessel=bare[0], airway=bare[1])
    with_tubes, without = (
        np.asarray(fl.add_tumor(blank, case, VIEW, lung=tubes).frames).sum((1, 2))
        for tubes in (lung, bare)
    )
    share = 1.0 - with_tubes / without
    assert (share > 0.005).all() and share.max() < 0.3


def test_truth_is_the_closed_form(case, without_tumor):
    clip = jax.device_get(fl.add_tumor(without_tumor, case, VIEW))
    centre = np.array([-70.0, 15.0 - 8.0, 35.0 - 20.0], np.float32)
    np.testing.assert_allclose(clip.centre_mm[2], lps_to_iec(centre), atol=1e-3)
    closed_form = jax.jit(
        lambda tumor, centre: (
            tumor_mask(VIEW, tumor, centre),
            sphere_centroid_px(VIEW, centre, 30.0),
        )
    )
    mask, want = closed_form(case.tumor, centre)
    np.testing.assert_array_equal(clip.mask[2], mask)
    np.testing.assert_allclose(clip.centroid_px[2], want, atol=1e-3)


def test_simulate_is_the_two_steps(case, without_tumor):
    key = jax.random.key(3)
    want = fl.add_tumor(without_tumor, case, VIEW, photons=2e4, key=key)
    clip, again = (
        fl.simulate(case, VIEW, key, voxel_mm=8.0, photons=2e4) for _ in "12"
    )
    np.testing.assert_array_equal(clip.mask, want.mask)
    assert_same_counts(clip, want)
    np.testing.assert_array_equal(again.frames, clip.frames)
    noise = jax.jit(lambda f, c, k: fl.add_tumor(f, c, VIEW, photons=2e4, key=k))
    assert_same_counts(noise(without_tumor, case, key), want)


def assert_same_counts(clip, want):
    """A count at a rounding edge may fall on either side, a quantum apart."""
    off = np.abs(np.asarray(clip.frames) - np.asarray(want.frames))
    assert np.mean(off > 1e-4) < 0.01


@pytest.mark.slow
def test_jit_and_vmap_over_cases_are_a_loop():
    cases = [make_case(1), make_case(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    both = jax.jit(jax.vmap(lambda c: fl.simulate(c, VIEW, voxel_mm=8.0)))(stacked)
    for i, case in enumerate(cases):
        alone = fl.simulate(case, VIEW, voxel_mm=8.0)
        np.testing.assert_allclose(both.frames[i], alone.frames, atol=1e-4)
        np.testing.assert_array_equal(both.mask[i], alone.mask)


def test_frames_are_compiled_once_beside_the_still_body(case, caplog, monkeypatch):
    # As in a fresh process, where nothing has been rendered.
    monkeypatch.setattr(background, "_compiled", set())
    background._still_at.cache_clear()
    background._render_frames.clear_cache()
    # Not the usual device: the other thread must compile for the same one.
    with (
        jax.default_device(jax.local_devices()[-1]),
        jax.log_compiles(),
        caplog.at_level("WARNING"),
    ):
        fl.render_body(case, VIEW, voxel_mm=8.0)
    # Logged of this thread alone: the frames' program was there when it was called.
    said = [record.getMessage() for record in caplog.records]
    compiled = [m for m in said if m.startswith(("Compiling", "Finished XLA"))]
    assert any("tracing draw_still" in m for m in said)
    assert not any("jit(_render_frames)" in m for m in compiled)


def test_one_compilation_serves_all_cases_and_lengths(case, without_tumor, monkeypatch):
    """Seven frames go through the program of three, and come out the same."""
    monkeypatch.setattr(background, "FRAMES_AT_ONCE", len(TIMES))
    fl.add_tumor(without_tumor, case, VIEW)
    fl.render_body(case, VIEW, voxel_mm=8.0)
    programs = (background._render_frames, background.lung_state, fl._tumor_frames)
    before = [program._cache_size() for program in programs]
    fl.render_body(make_case(20), VIEW, voxel_mm=8.0)
    longer = case.replace(time_s=np.arange(7, dtype=np.float32))
    frames = fl.render_body(longer, VIEW, voxel_mm=8.0)
    clip = fl.add_tumor(frames, longer, VIEW)
    assert [program._cache_size() for program in programs] == before
    assert clip.frames.shape == (7, 32, 32) and clip.centroid_px.shape == (7, 2)
    np.testing.assert_array_equal(np.asarray(frames)[:3], without_tumor)
    np.testing.assert_array_equal(
        np.asarray(clip.mask)[:3], fl.add_tumor(without_tumor, case, VIEW).mask
    )


def test_noise_has_poisson_mean_and_variance():
    photons = 4000.0
    noise = jax.jit(lambda line: fl.add_quantum_noise(line, jax.random.key(0), photons))
    noisy = noise(np.full((400, 400), 2.0, np.float32))
    counts = photons * np.exp(-np.asarray(noisy, np.float64))
    expected = photons * np.exp(-2.0)
    assert counts.mean() == pytest.approx(expected, rel=2e-3)
    assert counts.var() == pytest.approx(expected, rel=2e-2)
    dark = noise(np.full((400, 400), 50.0, np.float32))
    np.testing.assert_allclose(dark, np.log(photons / 0.5), rtol=1e-5)


def test_no_photons_or_no_key_is_noiseless(case, without_tumor):
    plain = fl.add_tumor(without_tumor, case, VIEW)
    for extra in ({"key": jax.random.key(0)}, {"photons": 1e4}):
        got = fl.add_tumor(without_tumor, case, VIEW, **extra)
        np.testing.assert_array_equal(got.frames, plain.frames)


def brute_clearance(case, points):
    """Whether random points of the ball lie in lung at every time."""
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(points, 3))
    ball *= (rng.uniform(size=(points, 1)) ** (1 / 3)) / np.linalg.norm(
        ball, axis=1, keepdims=True
    )
    ball = ball * case.tumor.diameter_mm / 2
    moved = np.outer([0.0, 0.5, 1.0], [0, 8.0, 20.0])
    centres = case.tumor.centre_mm - moved
    balls = ball + centres[:, None]
    return -float(_deepest(case, np.moveaxis(balls, -1, 1).astype(np.float32)))


@jax.jit
def _deepest(case, balls):
    """Largest distance of points `[T, 3, N]` from lung at the case's times, mm."""

    def deepest(at):
        ball, si, ap = at
        place = solids.to_reference(case.anatomy, (ball[0], ball[1], ball[2]))
        return jnp.max(solids.lung_distance(pose_at(case.anatomy, si, ap), place))

    moves = fl.breathing_displacement_mm(case.breathing, case.time_s)
    return jnp.max(jax.lax.map(deepest, (balls, *moves)))


@pytest.mark.parametrize(
    "centre", [(-70, 15, 35), (60, 30, 40), (-70, 15, 0), (0, 0, 30), (-100, 0, 60)]
)
def test_clearance_judges_as_brute_force_does(centre):
    c = make_case(4, centre=centre)
    got = float(fl.lung_clearance_mm(c.anatomy, c.breathing, c.tumor, c.time_s))
    want = brute_clearance(c, 4000)
    assert (got >= 0) == (want >= 0) or abs(want) < 1.5
    assert got < want + 1.0  # a ball's surface is its worst part


def test_a_large_tumour_with_the_papers_amplitudes_fits_in_many_places():
    """45 mm, 40 mm SI and 20 mm AP: a fair share of an even grid of places."""
    breath = Breathing(5.0, 40.0, 20.0)
    x, y, z = np.meshgrid(
        np.linspace(-100, 100, 11), np.linspace(-50, 60, 6), np.linspace(0, 80, 5)
    )
    centres = np.stack([x.ravel(), y.ravel(), z.ravel()], -1).astype(np.float32)
    clear = jax.jit(
        jax.vmap(
            lambda c: fl.lung_clearance_mm(
                Anatomy(), breath, Tumor(c, 45.0, 40.0, 20.0), TIMES
            )
        )
    )(centres)
    inside = np.asarray(clear) >= 0
    assert inside.mean() > 0.04
    assert (centres[inside, 0] < 0).any() and (centres[inside, 0] > 0).any()


@pytest.mark.slow
def test_tumour_replaces_lung_only_where_the_volume_is_lung(case):
    grid, shape = solids.body_grid(8.0)
    still = jax.jit(lambda a: volume.draw_still(a, grid, shape))(case.anatomy)
    still = still.replace(vessel=jax.tree.map(jnp.zeros_like, still.vessel))
    moved = volume.move(case.anatomy, still.vessel, (0.0, 0.0))
    draw = jax.jit(
        lambda s: volume.body_volume(grid, still=s, moved=moved, mu_lung=0.005)
    )
    mu = draw(still)
    x, y, z = solids.grid_axes(grid, shape)
    centre = case.tumor.centre_mm
    distance = jnp.sqrt(
        (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    )
    np.testing.assert_allclose(mu[distance < 15.0], 0.005, atol=1e-6)


def test_overlap_finds_the_heart_and_ribs():
    over, clear = (
        jax.device_get(overlap(make_case(centre=centre), VIEW, voxel_mm=8.0))
        for centre in ((35.0, 40.0, 0.0), (-85.0, 15.0, 60.0))
    )
    assert over["heart"].min() > 0.7 and clear["heart"].max() == 0.0
    for shares in (over, clear):
        assert all(((v >= 0) & (v <= 1)).all() for v in shares.values())
    assert float(clear["rib"].max()) > 0.0


@pytest.mark.slow
def test_overlap_looks_at_the_tumours_part_of_the_panel_alone():
    shape = sample_shape(np.random.default_rng(0), "spiculated")
    case = make_case(centre=(45.0, 20.0, 0.0), diameter=40.0)
    case = case.replace(tumor=case.tumor.replace(shape=shape))
    part = overlap(case, VIEW, voxel_mm=8.0)
    # traced, a tumour may be of any size
    whole = jax.jit(lambda c: overlap(c, VIEW, voxel_mm=8.0))(case)
    assert float(whole["heart"].max()) > 0.1
    for name, share in whole.items():
        np.testing.assert_array_equal(part[name], share, err_msg=name)


def test_a_heart_beat_changes_the_heart_alone(case):
    """Three times the same phase of the breath: diastole, mid systole, diastole."""
    assert not case.heartbeat
    anatomy = case.anatomy.replace(heart_rate_hz=1.05)  # 5.25 beats in a breath
    times = np.array([0.0, 5.0, 10.0], np.float32)
    still = to_numpy(case.replace(anatomy=anatomy, time_s=times))
    beating = still.replace(heartbeat=True)
    plain = np.asarray(fl.render_body(still, VIEW, voxel_mm=8.0))
    change = np.asarray(fl.render_body(beating, VIEW, voxel_mm=8.0)) - plain
    np.testing.assert_allclose(change[[0, 2]], 0.0, atol=5e-6)

    @jax.jit
    def shadow():
        grid, shape = solids.body_grid(8.0)
        place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
        heart = solids.heart_distance(pose_at(anatomy, 0.0, 0.0), place)
        return projector.project(solids.occupancy(heart - 8.0, 8.0), grid, VIEW)

    near = shadow()
    assert change[1].min() < -0.02  # lung where the ventricles were
    assert np.abs(change[1][np.asarray(near) == 0.0]).max() < 5e-6


@pytest.mark.slow
def test_clip_gradient_with_respect_to_the_body_is_finite(case):
    small = Geometry(1000.0, 1500.0, 0.0, 12, 12, (40.0, 40.0))

    def total(anatomy):
        body = case.replace(anatomy=anatomy, time_s=jnp.array([1.0]))
        return jnp.mean(fl.render_body(body, small, voxel_mm=16.0))

    slopes = jax.grad(total)(jax.tree.map(jnp.float32, case.anatomy))
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes))
    assert float(slopes.fat_mm) < 0 < float(slopes.scale_ap)
