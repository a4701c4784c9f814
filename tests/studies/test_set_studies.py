"""Sub-group and patient studies, and the group's held-out relatives."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluoro_jax.data import batches
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import project_point
from fluoro_jax.sim.fluoroscope import lung_clearance_mm
from fluoro_jax.sim.tumor.tumor import tumor_path_mm
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies import StudySpec, build_study, fresh_case, study_case
from fluoro_jax.studies.sets import displaced, fresh_factor, set_factors, set_patient

SMALL = dict(rows=32, cols=32, voxel_mm=8.0)
SUBGROUP = StudySpec(name="subgroup", num_train=150, num_val=15, num_test=150, **SMALL)
PATIENT = StudySpec(name="patient", num_train=80, num_val=10, num_test=20, **SMALL)


def factors(cases):
    return np.array([case.labels["factor"] for case in cases])


@pytest.fixture(scope="module")
def subgroup():
    return build_study(SUBGROUP)


def test_subgroup_trains_on_ten_amplitudes_and_tests_on_the_next_ten(subgroup):
    train = factors(subgroup["train"]).reshape(15, 10)
    test = factors(subgroup["test"]).reshape(15, 10)
    rising = np.broadcast_to(1.0 + 0.1 * np.arange(20), (15, 20))
    np.testing.assert_allclose(np.concatenate([train, test], 1), rising, atol=1e-6)
    assert [c.labels["set"] for c in subgroup["val"]] == list(range(15))
    kinds = [c.labels["kind"] for c in subgroup["val"]]
    assert kinds == (["trained", "tested"] * 8)[:15]  # in turn over the sets
    for kind, (low, high) in {"trained": (1.0, 1.9), "tested": (2.0, 2.9)}.items():
        found = factors([c for c in subgroup["val"] if c.labels["kind"] == kind])
        assert low < found.min() and found.max() < high
    assert {c.labels["kind"] for c in subgroup["test"]} == {"tested"}
    assert [c.id for cases in subgroup.values() for c in cases] == list(range(315))


def test_a_set_is_one_person_and_one_tumour(subgroup):
    for split in subgroup:
        for case in subgroup[split][::7]:
            first = subgroup["train"][10 * case.labels["set"]]
            moved = dataclasses.replace(case.case.tumor, si_mm=first.case.tumor.si_mm)
            same = dataclasses.replace(case.case, tumor=moved)
            for a, b in zip(*map(jax.tree.leaves, (same, first.case)), strict=True):
                np.testing.assert_array_equal(a, b)
            assert case.background_id == first.background_id
            assert case.geometry == first.geometry
    assert len({float(c.case.tumor.diameter_mm) for c in subgroup["test"]}) == 15


def test_every_set_has_room_for_its_longest_path(subgroup):
    for number in range(15):
        case = subgroup["test"][10 * number + 9].case
        clearance = lung_clearance_mm(
            case.anatomy, case.breathing, case.tumor, jnp.linspace(0.0, 5.0, 21)
        )
        assert clearance > -0.5  # between the times that were checked, mm


def test_shuffled_sets_split_all_amplitudes_at_random():
    spec = dataclasses.replace(SUBGROUP, name="subgroup_shuffled")
    orders = set()
    for number in range(4):
        split = set_factors(spec, number)
        whole = np.sort(np.concatenate([split["train"], split["test"]]))
        np.testing.assert_allclose(whole, 1.0 + 0.1 * np.arange(20))
        assert len(split["train"]) == 10 and split["test"].min() < 2.0
        orders.add(tuple(split["train"]))
    assert len(orders) == 4


def test_patient_tests_numbers_41_to_60():
    study = build_study(PATIENT)
    np.testing.assert_allclose(factors(study["test"]), 5.0 + 0.1 * np.arange(20))
    train = factors(study["train"])
    np.testing.assert_allclose(train[[0, 39, 40, 79]], [1.0, 4.9, 7.0, 10.9])
    assert train.mean() == pytest.approx(factors(study["test"]).mean())
    case = study["test"][0]
    assert case.labels["diameter_mm"] == 30.0
    assert (case.labels["side"], case.labels["lobe"]) == ("right", "upper")
    assert not set(np.round(factors(study["val"]), 2)) & set(np.round(train, 2))
    inside = (factors(study["val"]) > 4.96) & (factors(study["val"]) < 7.0)
    np.testing.assert_array_equal(inside, [False, True] * 5)
    both = np.concatenate([train, factors(study["test"])])
    assert not set(np.round(factors(study["val"]), 2)) & set(np.round(both, 2))


def test_fresh_amplitudes_stay_beside_the_trained_ones():
    rng = np.random.default_rng(0)
    drawn = np.array([fresh_factor(rng, PATIENT, 0) for _ in range(500)])
    assert drawn.min() >= 0.95 and drawn.max() <= 10.95
    assert not np.any((drawn > 4.951) & (drawn < 6.949))


def test_displaced_tumours_lie_near_their_place_in_the_lung():
    case = set_patient(SUBGROUP, 0)
    rng = np.random.default_rng(0)
    moved = [displaced(rng, case, 12.0).tumor for _ in range(40)]
    off_mm = np.array([tumor.centre_mm - case.tumor.centre_mm for tumor in moved])
    most = np.abs(off_mm).max(axis=0)
    assert np.all(most <= [3.0, 3.0, 12.0]) and np.all(most > [2.0, 2.0, 8.0])
    for tumor in moved:
        room = lung_clearance_mm(case.anatomy, case.breathing, tumor, case.time_s)
        assert room >= 0.0


def test_a_tumour_without_room_beside_it_stays():
    case = set_patient(SUBGROUP, 0)
    tumor = dataclasses.replace(case.tumor, diameter_mm=np.float32(200.0))
    stuck = dataclasses.replace(case, tumor=tumor)
    assert displaced(np.random.default_rng(0), stuck, 12.0) is stuck


def test_a_fresh_case_is_displaced_only_where_it_is_asked():
    case = set_patient(SUBGROUP, 0)
    draw = lambda mm: fresh_case(
        np.random.default_rng(1),
        *(SUBGROUP, case),
        number=0,
        diameter_mm=(20.0, 40.0),
        displaced_mm=mm,
    )
    still, moved = draw(0.0), draw(12.0)
    assert np.array_equal(still.tumor.centre_mm, case.tumor.centre_mm)
    assert not np.array_equal(moved.tumor.centre_mm, case.tumor.centre_mm)
    assert still.tumor.si_mm == moved.tumor.si_mm


def test_more_cases_than_amplitudes_are_refused():
    with pytest.raises(UserError, match="num_test = 21"):
        study_case(PATIENT, "test", 20)


def test_collimated_panel_holds_the_whole_path():
    spec = dataclasses.replace(
        PATIENT, rows=96, cols=64, detector_mm=216.0, collimate=True
    )
    case = study_case(spec, "train", 79)
    c = case.case
    path = tumor_path_mm(c.tumor, c.breathing, c.time_s, c.anatomy)
    place = np.asarray(project_point(case.geometry, path))
    radius = 0.5 * 30.0 * 1.6 / 2.25
    assert place[:, 0].min() > radius and place[:, 0].max() < 95 - radius
    assert place[:, 1].min() > radius and place[:, 1].max() < 63 - radius
    assert (place.min(0) + place.max(0)) / 2 == pytest.approx([47.5, 31.5], abs=0.01)


def test_simulated_training_reads_the_sets_themselves():
    from configs.base import base_config

    cfg = base_config("smoke")
    cfg.study.update(name="subgroup", num_train=150, num_test=150, collimate=True)
    cfg.data.update(source="simulator", pool_bodies=3, random_start=False)
    source = batches.SimulatorSource(cfg)
    batch = jax.device_get(source.batch_at(0))
    assert batch["mask"].any(axis=(2, 3)).all()
    spec = StudySpec.from_config(cfg.study)
    for patient in source._pool.values():
        same = study_case(spec, "train", 10 * patient.number)
        assert patient.geometry == same.geometry


@pytest.mark.parametrize(
    ("name", "diameter_mm"),
    [("small", (8, 15)), ("large_to_small", (15, 25)), ("small_to_large", (30, 40))],
)
def test_sizes_of_the_other_studies(name, diameter_mm):
    spec = StudySpec(name=name, **SMALL)
    for index in range(3):
        found = study_case(spec, "test", index).labels["diameter_mm"]
        assert diameter_mm[0] <= found <= diameter_mm[1]


def test_heart_lies_over_the_tested_tumours_only():
    spec = StudySpec(name="no_overlap", **SMALL)
    share = lambda case: np.asarray(
        overlap(case.case, case.geometry, voxel_mm=8.0)["heart"]
    )
    assert share(study_case(spec, "train", 0)).max() <= 0.01
    assert share(study_case(spec, "test", 0)).mean() >= 0.3


@pytest.mark.slow
def test_held_out_views_breaths_and_bodies():
    spec = StudySpec(name="gantry", **SMALL)
    angles = [study_case(spec, "test", i).geometry.gantry_deg for i in range(12)]
    assert all(15.0 <= abs(a) <= 60.0 for a in angles) and min(angles) < 0 < max(angles)
    uneven = study_case(StudySpec(name="irregular", **SMALL), "test", 0).case
    assert uneven.breathing.breaths is not None and not uneven.periodic
    bulky = study_case(StudySpec(name="population", **SMALL), "test", 0).case
    assert float(bulky.anatomy.bmi) >= 31.0
