"""Organs against published sizes, and the two densities against attenuation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.geometry import square_panel
from fluoro_jax.sim import fluoroscope
from fluoro_jax.sim.body import bones, organs, solids, tissues, vessels, volume
from fluoro_jax.sim.body.anatomy import Anatomy, sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.motion import lung_displacement_mm, pose_at
from fluoro_jax.sim.body.shapes import occupancy
from fluoro_jax.sim.placement import to_numpy
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.xray import attenuation as att

VOXEL = 8.0
GRID, SHAPE = solids.body_grid(VOXEL)
WORLD = jax.device_get(jax.jit(lambda: solids.grid_axes(GRID, SHAPE))())
CC = VOXEL**3 / 1000.0


@jax.jit
def volumes_cc(anatomy, si, ap):
    """Abdominal organs are measured at exhale, where they are drawn."""
    pose, rest = pose_at(anatomy, si, ap), pose_at(anatomy, 0.0, 0.0)
    place = solids.to_reference(anatomy, WORLD)
    lung = occupancy(solids.lung_distance(pose, place), VOXEL)
    under = jnp.maximum(
        solids.dome_distance(rest, place) + 3.0,
        solids.cage_distance(rest, place) + solids.WALL_MM,
    )
    organ = lambda d: jnp.sum(occupancy(jnp.maximum(d, under), VOXEL)) * CC
    heart = occupancy(solids.heart_distance(pose, place), VOXEL)
    return {
        "left": jnp.sum(lung * (WORLD[0] > 0)) * CC,
        "right": jnp.sum(lung * (WORLD[0] < 0)) * CC,
        "heart": jnp.sum(heart) * CC,
        "liver": organ(organs.liver_distance(anatomy, place)),
        "spleen": organ(organs.spleen_distance(place)),
    }


def test_organs_of_the_mean_person_have_published_sizes():
    """Cubic centimetres.

    Lungs: 1.95 and 1.74 l at inspiration in LIDC-IDRI-0001; each 1.5 to 3 in a
    breath. Heart: 370 cc in LIDC-IDRI-0001. Liver 1800 and 1400, spleen 150 and 130 g
    in man and woman: ICRP Publication 89, table 2.8; about 1.05 g/cc.
    """
    rest = {k: float(v) for k, v in volumes_cc(Anatomy(), 0.0, 0.0).items()}
    full = {k: float(v) for k, v in volumes_cc(Anatomy(), 40.0, 20.0).items()}
    for side in ("left", "right"):
        assert 1400 < rest[side] < 1900
        assert 2000 < full[side] < 3000
    assert rest["right"] > rest["left"]
    assert 250 < rest["heart"] < 450
    assert 1000 < rest["liver"] < 1800
    assert 90 < rest["spleen"] < 250


def test_a_litre_of_breath_needs_a_physiological_excursion():
    """1.66 +- 0.24 cm of diaphragm a litre (Charing Cross 1994), chest moving along."""
    lungs = lambda v: float(v["left"] + v["right"])
    litres = (
        lungs(volumes_cc(Anatomy(), 30.0, 10.0))
        - lungs(volumes_cc(Anatomy(), 0.0, 0.0))
    ) / 1000.0
    assert 0.9 < 3.0 / litres < 2.6


@pytest.fixture(scope="module")
def drawn():
    """Compiled once: densities of the mean patient."""

    @jax.jit
    def run(si, ap, lung):
        still = volume.draw_still(Anatomy(), GRID, SHAPE)
        now = dict(still=still, moved=volume.move(Anatomy(), still.vessel, (si, ap)))
        return volume.body_densities(GRID, lung_g_cc=lung, **now)

    return run


@pytest.mark.slow
def test_densities_attenuate_as_the_volume_does(drawn):
    @jax.jit
    def attenuation(si, ap, lung):
        still = volume.draw_still(Anatomy(), GRID, SHAPE)
        now = dict(still=still, moved=volume.move(Anatomy(), still.vessel, (si, ap)))
        return volume.body_volume(GRID, mu_lung=att.mu_lung(lung), **now)

    soft, bone = drawn(12.0, 6.0, 0.25)
    want = attenuation(12.0, 6.0, 0.25)
    assert soft.shape == bone.shape == SHAPE
    got = soft * att.SOFT_MU_PER_DENSITY + bone * att.BONE_MU_PER_DENSITY
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert float(soft.min()) >= 0.0 and float(bone.min()) >= 0.0
    assert float(soft.max()) < 1.2 and float(bone.max()) < 1.92
    assert np.isfinite(soft).all() and np.isfinite(bone).all()


def test_bone_is_inside_the_body_and_mass_is_that_of_a_trunk(drawn):
    soft, bone = drawn(0.0, 0.0, 0.29)

    @jax.jit
    def skin_distance():
        place = solids.to_reference(Anatomy(), WORLD)
        trunk = solids.skin_distance(pose_at(Anatomy(), 0.0, 0.0), place)
        return jnp.minimum(trunk, bones.arm_distance(Anatomy(), place))

    soft, bone = np.asarray(soft, np.float64), np.asarray(bone, np.float64)
    naked = np.broadcast_to(np.asarray(skin_distance()) > VOXEL, SHAPE)
    assert (bone[naked] == 0.0).all()
    # cortical bone mineral of thorax, shoulders and upper lumbar spine, g
    assert 250.0 < bone.sum() * CC < 900.0
    assert 15e3 < soft.sum() * CC < 28e3


def test_lung_keeps_its_mass():
    """Mass of the lung, vessels apart, to 1 % over the breath."""
    breath = Breathing(5.0, 30.0, 15.0)
    time_s = np.array([0.0, 1.0, 2.0], np.float32)
    density = np.asarray(fluoroscope.lung_density(Anatomy(), breath, time_s))
    si, ap = np.asarray(jax.jit(fluoroscope.breathing_displacement_mm)(breath, time_s))
    mass = [
        float(d * (v["left"] + v["right"]))
        for d, v in zip(
            density,
            (volumes_cc(Anatomy(), s, a) for s, a in zip(si, ap, strict=True)),
            strict=True,
        )
    ]
    np.testing.assert_allclose(mass, mass[0], rtol=0.01)
    assert 700.0 < mass[0] < 1100.0  # g; ICRP 89: 950 (woman) to 1200 with blood


def test_a_rib_over_lung_has_the_contrast_of_a_rib():
    """10 mm of whole rib less lung of 0.26 g/cc: dL about 0.25; on soft tissue 0.09."""
    thick = 5.0
    inner = ((thick - tissues.RIB_SHELL_MM) / thick) ** 2
    mu = lambda t: t[0] * att.SOFT_MU_PER_DENSITY + t[1] * att.BONE_MU_PER_DENSITY
    rib = inner * mu(tissues.RIB_MARROW) + (1.0 - inner) * mu(tissues.RIB_SHELL)
    assert 10.0 * (rib - att.mu_lung(0.26)) == pytest.approx(0.25, rel=0.08)
    assert 10.0 * (rib - att.SOFT) == pytest.approx(0.09, rel=0.2)


@pytest.mark.parametrize(("diameter", "contrast"), [(20, 0.33), (30, 0.49), (40, 0.66)])
def test_a_tumour_has_the_contrast_of_a_tumour(diameter, contrast):
    got = diameter * (att.mu_tumor(1.06) - att.mu_lung(0.26))
    assert got == pytest.approx(contrast, rel=0.15)


ALL_TISSUES = [v for k, v in vars(tissues).items() if isinstance(v, tuple)]


@pytest.mark.parametrize("tissue", ALL_TISSUES)
def test_tissues_attenuate_between_air_and_cortical_bone(tissue):
    mu = tissue[0] * att.SOFT_MU_PER_DENSITY + tissue[1] * att.BONE_MU_PER_DENSITY
    assert 0.0 <= mu < 0.0605 and min(tissue) >= 0.0


@pytest.mark.parametrize("seed", range(3))
def test_line_integrals_of_three_patients_are_those_of_a_chest(seed):
    """60 keV, AP: lung field, over spine and heart, upper abdomen, and their ratios."""
    anatomy = sample_anatomy(jax.random.key(seed))
    tumor = Tumor(np.zeros(3, np.float32), 1.0, 0.0, 0.0)
    time_s = np.array([0.0, 1.0, 2.0], np.float32)
    case = fluoroscope.Case(anatomy, Breathing(5.0, 24.0, 12.0), tumor, time_s)
    case = to_numpy(case)  # as in test_fluoroscope.py: the same programs
    frames = np.asarray(fluoroscope.render_body(case, square_panel(32), voxel_mm=8.0))
    spot = lambda rows, cols: frames[:, rows, cols].mean((1, 2))
    lung = np.stack([spot(slice(9, 12), slice(c, c + 3)) for c in (7, 22)])
    middle = spot(slice(13, 19), slice(15, 19))  # spine and heart
    abdomen = np.stack([spot(slice(26, 29), slice(c, c + 3)) for c in (8, 21)])
    assert lung.min() > 1.8 and lung.max() < 3.5
    assert middle.min() > 4.3 and middle.max() < 6.5
    assert abdomen.min() > 3.7 and abdomen.max() < 5.6
    assert (lung / middle > 0.33).all() and (lung / middle < 0.65).all()
    assert (abdomen / middle > 0.7).all() and (abdomen / middle < 1.05).all()


def test_vessels_branch_taper_and_ride_on_the_lung():
    tree = jax.jit(vessels.grow)(Anatomy())
    start, end, radius = (np.asarray(x) for x in (tree.start, tree.end, tree.radius))
    assert len(end) == 2 * 126
    widths = np.unique(radius[:, 0].round(4))
    assert len(widths) == vessels.LEVELS and 0.8 < radius.min() < 1.5
    # every piece starts where its parent ends, a tube of the level above; two roots
    gap = np.linalg.norm(start[:, None] - end[None], axis=-1)
    parent, attached = gap.argmin(1), gap.min(1) < 1e-3
    assert (~attached).sum() == 4
    np.testing.assert_allclose(radius[attached, 0], radius[parent[attached], 1])
    tips = end[radius[:, 0] < widths[0] + 1e-3]
    assert len(tips) == 2 * vessels.TIPS
    carried = jax.jit(lung_displacement_mm)(Anatomy(), 30.0, 15.0, tips)
    moved = tips + np.asarray(carried)

    @jax.jit
    def distances(points, si, ap):
        pose = pose_at(Anatomy(), si, ap)
        place = solids.to_reference(Anatomy(), tuple(points.T))
        around = (solids.cage_distance, solids.dome_distance, solids.lung_distance)
        return [distance(pose, place) for distance in around]

    for points, si, ap in ((tips, 0.0, 0.0), (moved, 30.0, 15.0)):
        cage, dome, lung = distances(points, si, ap)
        # never through the wall or the diaphragm; a few end in heart or mediastinum
        assert float((cage + solids.WALL_MM).max()) < 0.0
        assert float(dome.min()) > 0.0
        assert (np.asarray(lung) < 0.0).mean() > 0.7
    other = jax.jit(vessels.grow)(Anatomy(vessel_seed=0.5))
    assert np.abs(np.asarray(other.end) - end).max() > 5.0


def test_lung_density_is_that_of_the_parenchyma_and_the_mean_lies_above(drawn):
    """Vessels and bronchi are drawn on top of it; docs/phantom.md gives the mean."""
    soft, _ = drawn(0.0, 0.0, 0.29)

    @jax.jit
    def distance():
        place = solids.to_reference(Anatomy(), WORLD)
        return solids.lung_distance(pose_at(Anatomy(), 0.0, 0.0), place)

    values = np.asarray(soft)[np.asarray(distance()) < -VOXEL]
    parenchyma = 0.29 * tissues.LUNG
    assert np.median(values) == pytest.approx(parenchyma, rel=1e-4)
    assert np.mean(np.abs(values - parenchyma) < 1e-4) > 0.5
    assert 1.03 < values.mean() / parenchyma < 1.25


def test_systole_makes_the_heart_smaller():
    @jax.jit
    def size(phase):
        place = solids.to_reference(Anatomy(), WORLD)
        pose = pose_at(Anatomy(), 0.0, 0.0, phase)
        return jnp.sum(occupancy(solids.heart_distance(pose, place), VOXEL))

    assert 0.85 < float(size(0.25) / size(0.0)) < 0.98
