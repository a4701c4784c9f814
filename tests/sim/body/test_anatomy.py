import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.sim.body import skeleton, solids
from fluoro_jax.sim.body.anatomy import Anatomy, Population, sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.motion import check_pose, pose_at
from fluoro_jax.sim.placement import sample_tumor, to_numpy
from fluoro_jax.studies import STUDIES

STANDARD = Population()


@functools.partial(jax.jit, static_argnums=(1, 2))
def many(seed, count, population=STANDARD):
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.vmap(lambda key: sample_anatomy(key, population))(keys)


def leaves(anatomies):
    return np.stack([np.asarray(leaf) for leaf in jax.tree.leaves(anatomies)], -1)


def test_population_is_seeded_and_in_range():
    one = jax.jit(sample_anatomy)
    first, again = (jax.device_get(one(jax.random.key(5))) for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(a == b), first, again))
    narrow = Population(scale_lateral=(1.0, 1.0))
    assert (np.asarray(many(5, 1000, narrow).scale_lateral) == 1.0).all()
    draws = jax.device_get(many(0, 1000))
    for name, (low, high) in vars(Population()).items():
        values = np.asarray(getattr(draws, name))
        assert low <= values.min() and values.max() <= high + 1e-5
        assert np.ptp(values) > 0.8 * (high - low)
    assert set(np.unique(draws.sex)) == {0.0, 1.0}
    height = np.asarray(draws.scale_height)
    assert height[draws.sex == 1].mean() < height[draws.sex == 0].mean() - 0.03


def test_every_field_has_a_range_that_holds_the_default():
    fields = [field.name for field in dataclasses.fields(Anatomy)]
    assert fields == [field.name for field in dataclasses.fields(Population)]
    for name, (low, high) in vars(Population()).items():
        assert low <= getattr(Anatomy(), name) <= high


def test_a_thousand_patients_are_different_and_can_breathe():
    """No two share an outline; the largest breath of the studies is open to all."""
    patients = jax.device_get(many(1, 1000))
    numbers = leaves(patients)
    assert np.isfinite(numbers).all()
    spread = (numbers - numbers.mean(0)) / numbers.std(0)
    length_sq = np.sum(spread**2, 1)
    distance_sq = length_sq[:, None] + length_sq[None] - 2.0 * spread @ spread.T
    assert np.min(distance_sq + 1e6 * np.eye(1000)) > 1.0
    most = np.asarray(jax.jit(jax.vmap(skeleton.most_ap_mm))(patients)).min(1)
    assert most.min() > 20.0  # the studies' largest AP amplitude
    for index in range(0, 1000, 200):
        one = jax.tree.map(lambda leaf, i=index: np.asarray(leaf[i]), patients)
        check_pose(one, 40.0, 20.0)


@pytest.mark.parametrize(
    ("anatomy", "si_mm", "ap_mm", "message"),
    [
        (Anatomy(), 61.0, 10.0, r"SI displacement = 61 mm\n.*-10 to 60\.0 mm"),
        (Anatomy(), 20.0, 45.0, r"AP displacement = 45 mm\n.*-10 to 2\d\.\d mm"),
        (Anatomy(), -12.0, 0.0, "SI displacement = -12 mm"),
        (Anatomy(), 20.0, float("nan"), "AP displacement = nan mm"),
        (
            Anatomy(scale_ap=1.3),
            20.0,
            10.0,
            r"anatomy\.scale_ap = 1\.3\n.*0\.8 to 1\.2",
        ),
    ],
)
def test_impossible_poses_are_refused_with_their_limit(anatomy, si_mm, ap_mm, message):
    with pytest.raises(UserError, match=message) as caught:
        check_pose(anatomy, si_mm, ap_mm)
    assert len(str(caught.value).splitlines()) == 4
    check_pose(Anatomy(), 40.0, 20.0)


def test_the_refusal_names_the_rib():
    with pytest.raises(UserError, match=r"rib \d+ then lies level"):
        check_pose(Anatomy(), 20.0, 100.0)


def test_no_tumour_is_placed_in_an_impossible_breath():
    drawn = to_numpy((Anatomy(), Breathing(si_mm=20.0, ap_mm=45.0), np.zeros(2)))
    with pytest.raises(UserError, match="AP displacement = 45 mm"):
        sample_tumor(np.random.default_rng(0), *drawn, diameter_mm=20.0)


@jax.jit
def nearest_mm(patients, faces):
    """Distance of skin and breasts from faces of the volume, `[N, ...]`."""

    @jax.vmap
    def nearest(anatomy):
        found = []
        for ap_mm in (0.0, 20.0):
            pose = pose_at(anatomy, 16.0, ap_mm)
            for face in faces:
                place = solids.to_reference(anatomy, face)
                found.append(jnp.min(solids.skin_distance(pose, place)))
                found.append(jnp.min(solids.breast_distance(pose, place)))
        return jnp.stack(found)

    return nearest(patients)


@pytest.mark.parametrize("population", [Population(), STUDIES["population"].population])
def test_a_thousand_patients_fit_the_volume(population):
    """No skin or breast at the volume's sides, at exhale and 20 mm of chest motion."""
    patients = many(1, 1000, population)
    axes = jax.jit(lambda: solids.grid_axes(*solids.body_grid(16.0)))()
    x, y, z = jax.device_get(axes)
    half_x, half_y = (0.5 * length for length in solids.EXTENT_MM[:2])
    flat = lambda value: np.full((1, 1, 1), value, np.float32)
    faces = [(flat(s * half_x), y, z) for s in (-1.0, 1.0)]
    faces += [(x, flat(s * half_y), z) for s in (-1.0, 1.0)]

    assert np.asarray(nearest_mm(patients, faces)).min() > 0.0
