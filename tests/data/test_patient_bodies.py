"""One patient's CT and tumour as the pool that training draws from."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from chest_patient import MOMENTS, write_chest_patient

from configs import clinic
from fluoro_jax.data import patient_bodies
from fluoro_jax.data.batches import (
    SimulatorSource,
    validation_clips,
    validation_views,
)
from fluoro_jax.data.patient_bodies import (
    PATIENT,
    VAL_FIRST,
    PatientBodies,
    PatientFile,
    read_patient,
    write_patient,
)
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import project_point
from fluoro_jax.metrics import centroid_px
from fluoro_jax.studies import StudySpec
from fluoro_jax.training.workdir import CTS, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_chest_patient(tmp_path_factory.mktemp("patient"))


def smoke(folder, **data):
    cfg = clinic.get_config("smoke")
    cfg.data.update(source="simulator", bodies="patient", ct_dir=str(folder))
    cfg.data.update(batch_size=2, pool_bodies=2, renew_every=2, randomise="", **data)
    return cfg


def test_the_file_comes_back_as_it_was(folder):
    patient = read_patient(folder / PATIENT)
    assert patient.hu.shape[0] == MOMENTS and patient.hu.min() >= -1000
    again = folder / "again.npz"
    write_patient(again, patient)
    same = read_patient(again)
    for a, b in zip(
        jax.tree.leaves(patient.gtv), jax.tree.leaves(same.gtv), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for field in dataclasses.fields(PatientFile):
        if field.name not in ("gtv", "grid"):
            one, other = (getattr(p, field.name) for p in (patient, same))
            np.testing.assert_array_equal(one, other)
    assert patient.grid == same.grid


@pytest.mark.parametrize("damage", ["absent", "cut off", "text", "another"])
def test_a_file_that_is_none_is_refused(folder, tmp_path, damage):
    path, data = tmp_path / PATIENT, (folder / PATIENT).read_bytes()
    if damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "text":
        path.write_text("no patient")
    elif damage == "another":
        np.savez(path, hu=np.zeros(3))
    with pytest.raises(UserError, match="no patient file") as caught:
        read_patient(path)
    assert len(str(caught.value).splitlines()) == 4


def test_examples_show_the_tumour_where_its_path_says(folder, monkeypatch):
    paths = []
    draw = patient_bodies.PatientClip.draw

    def noted(self, rng, **how):
        paths.append(draw(self, rng, **how))
        return paths[-1]

    monkeypatch.setattr(patient_bodies.PatientClip, "draw", noted)
    cfg = smoke(folder)
    batch = SimulatorSource(cfg).batch_at(3)
    assert batch["frames"].shape == batch["mask"].shape == (2, 10, 32, 32)
    view = StudySpec.from_config(cfg.study).geometry()
    for mask, path in zip(np.asarray(batch["mask"]), paths, strict=True):
        off = centroid_px(mask) - np.asarray(project_point(view, path))
        assert np.abs(off).max() < 0.5  # of pixels of 10 mm
    assert np.ptp(np.stack(paths), axis=(0, 1)).min() > 0.0  # it moves, and is set off
    again = SimulatorSource(cfg).batch_at(3)
    np.testing.assert_array_equal(batch["frames"], again["frames"])


def test_validation_sees_other_moments_and_breaths(folder):
    cfg = smoke(folder)
    bodies = PatientBodies(str(folder), StudySpec.from_config(cfg.study))
    trained, held = (bodies._moments(held_out=flag) for flag in (False, True))
    assert sorted(trained + held) == list(range(MOMENTS)) and held
    frames, masks = validation_clips(cfg, folder)
    assert frames.shape == masks.shape == (cfg.study.num_val, 10, 32, 32)
    assert masks.dtype == bool and masks.any(axis=(2, 3)).all()
    assert VAL_FIRST > 10_000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_moment_is_seen_from_every_angle(folder, count):
    cfg = smoke(folder)
    spec, angles = StudySpec.from_config(cfg.study), (0.0, 90.0, 180.0)[:count]
    bodies = PatientBodies(str(folder), spec, angles)
    for first, moments in ((0, MOMENTS - 1), (VAL_FIRST, 1)):
        seen = {
            (turn % moments, bodies.view_of(turn, spec.geometry()).gantry_deg)
            for turn in range(first, first + moments * count)
        }
        assert len(seen) == moments * count
    bodies = PatientBodies(str(folder), spec)
    assert bodies.view_of(3, spec.geometry()) == spec.geometry()


def test_a_tumour_is_seen_from_the_angle_of_its_patient(folder):
    """From the left (90 degrees) posterior is right, so another side than from 0."""
    cfg = smoke(folder, angles_deg="0,90")
    source = SimulatorSource(cfg)
    views = validation_views(cfg)
    assert {view.gantry_deg for view in views} == {0.0, 90.0}
    _, masks = validation_clips(cfg, folder)
    for view, mask, number in zip(views, masks, range(VAL_FIRST, 10**9), strict=False):
        patient = source._new_patient(0, number)
        assert patient.geometry == view
        # Its path strays by a few mm from where the lung carries it.
        off = centroid_px(mask) - np.asarray(project_point(view, patient.path_mm))
        assert np.abs(off).max() < 3.0
    batch = source.batch_at(0)
    assert batch["frames"].shape == (2, 10, 32, 32)


def test_a_run_remembers_whose_it_is(folder, tmp_path):
    cfg = smoke(folder)
    record(cfg, tmp_path, start=0)
    assert PATIENT in (tmp_path / CTS).read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / PATIENT).write_bytes(b"another patient")
    cfg.data.ct_dir = str(other)
    with pytest.raises(UserError, match="other CTs"):
        record(cfg, tmp_path, start=0)


@pytest.mark.parametrize(
    ("moved_mm", "held"),
    [
        ((0.0, 0.0, 150.0), "-338 to 14 mm head-foot"),
        ((0.0, 300.0, 0.0), "mm front-back"),
    ],
)
def test_a_ct_that_does_not_cover_the_beam_is_refused(folder, tmp_path, moved_mm, held):
    patient = read_patient(folder / PATIENT)
    spec = StudySpec.from_config(smoke(folder).study)
    away = patient.isocentre_mm + np.array(moved_mm)
    write_patient(tmp_path / PATIENT, dataclasses.replace(patient, isocentre_mm=away))
    with pytest.raises(UserError, match="does not cover the beam") as caught:
        PatientBodies(str(tmp_path), spec)
    assert held in caught.value.found and "-160 to 160 mm" in caught.value.found
    assert "75% of the frames' height" in caught.value.needed
    assert "--isocentre-mm X Y Z" in caught.value.fix
    assert len(str(caught.value).splitlines()) == 4
