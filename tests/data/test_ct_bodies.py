"""CTs in the training pool: which one, when, and what an example then shows."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from chest import PITCH_MM, chest_hu

from configs import clinic
from fluoro_jax.data import ct_bodies
from fluoro_jax.data.appearance import PARTS
from fluoro_jax.data.batches import PoolPatient, SimulatorSource, patient_number
from fluoro_jax.data.ct_bodies import CtPatient, ct_files, ct_sizes, ct_turn
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid, project_point
from fluoro_jax.io.ct import write_ct
from fluoro_jax.sim.ct_tumor import path_mm
from fluoro_jax.studies import StudySpec, pool_patient
from fluoro_jax.training.workdir import CTS, record

BATCH = 4


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two chests of different field of view, one of them in a sub-folder."""
    folder = tmp_path_factory.mktemp("archive")
    hu = chest_hu(spine=True)
    write_ct(folder / "b.mha", hu, Grid((0.0, 0.0, 0.0), (PITCH_MM,) * 3))
    (folder / "a").mkdir()
    wide = np.pad(hu, ((0, 4), (6, 2), (3, 9)), constant_values=-2000.0)
    wide[-4:] = hu[-1:, :1, :1]
    write_ct(folder / "a" / "ct.mha", wide, Grid((-70.0, 9.0, 300.0), (7.5, 7.5, 7.0)))
    (folder / "README.md").write_text("two chests")
    return folder


def smoke(archive, **data):
    cfg = clinic.get_config("smoke")
    cfg.data.update(source="simulator", bodies="mixed", ct_dir=str(archive))
    cfg.data.randomise = "+".join(PARTS)
    cfg.data.update(batch_size=BATCH, pool_bodies=4, renew_every=2, **data)
    return cfg


@pytest.fixture(scope="module")
def mixed(archive):
    return SimulatorSource(smoke(archive))


def same(a, b) -> bool:
    return all(np.array_equal(a[k], b[k]) for k in ("frames", "mask", "id"))


def test_the_folder_is_read_in_order(archive):
    names = [p.relative_to(archive).as_posix() for p in ct_files(archive)]
    assert names == ["a/ct.mha", "b.mha"] == list(ct_sizes(archive))
    assert ct_sizes(archive)["b.mha"] == (archive / "b.mha").stat().st_size


@pytest.mark.parametrize("pool", [2, 5, 16])
def test_cts_come_in_turn_in_every_other_slot(pool):
    turns, numbers = [], set()
    for renewals in range(4 * pool):
        for slot in range(pool):
            number = patient_number(slot, renewals, pool)
            turn = ct_turn("mixed", slot, number, pool)
            assert (turn is None) == (slot % 2 == 0)
            assert ct_turn("phantom", slot, number, pool) is None
            assert ct_turn("ct", slot, number, pool) == number
            if turn is not None and number not in numbers:
                numbers.add(number)
                turns.append(turn)
    assert turns == list(range(len(turns)))  # none left out, none twice


def test_the_mixed_pool_alternates(mixed):
    spec = mixed._spec
    for slot in range(4):
        patient = mixed._patient(slot, 0)
        case, _ = pool_patient(spec, 0, slot)
        if slot % 2 == 0:
            assert isinstance(patient, PoolPatient)
            continue
        assert isinstance(patient, CtPatient)
        assert patient.breathing == case.breathing  # drawn as the study draws its own
        assert patient.frames.shape == (10, 32, 32)
        assert np.ptp(np.asarray(patient.frames), axis=0).max() > 0.05  # it breathes
    first, second = (mixed._patient(slot, 0).body for slot in (1, 3))
    assert first is not second and first.mu.shape[0] == second.mu.shape[0]
    assert mixed._patient(1, 2).body is first  # the third CT patient: in turn


@pytest.mark.slow
def test_an_example_is_a_function_of_its_number(mixed, archive):
    batch = jax.device_get(mixed.batch_at(1))
    for i in (9, 0, 4):  # every slot has been renewed since
        mixed.batch_at(i)
    assert same(batch, mixed.batch_at(1))
    parts = [SimulatorSource(smoke(archive), process=(rank, 2)) for rank in range(2)]
    shares = [jax.device_get(part.batch_at(1)) for part in parts]
    assert same(batch, {k: np.concatenate([s[k] for s in shares]) for k in batch})
    assert set(np.unique(batch["mask"])) == {0.0, 1.0}


def test_masks_sit_on_the_projected_path_of_the_drawn_spheres(archive, monkeypatch):
    drawn = []
    real = CtPatient.draw

    def remember(self, rng, **how):
        drawn.append((self, real(self, rng, **how)))
        return drawn[-1][1]

    monkeypatch.setattr(CtPatient, "draw", remember)
    cfg = smoke(archive, smallest_mm=20.0, largest_mm=48.0)
    cfg.data.bodies, cfg.study.gantry_deg = "ct", 90.0
    cfg.data.randomise = ""  # a warp would move the mask off the path
    batch = jax.device_get(SimulatorSource(cfg).batch_at(0))
    view = StudySpec.from_config(cfg.study).geometry()
    seen = jax.jit(lambda *patient: project_point(view, path_mm(*patient)))
    assert len(drawn) == BATCH
    for mask, (patient, (centre, size)) in zip(batch["mask"], drawn, strict=True):
        assert 20.0 <= size <= 48.0 and float(patient.geometry.gantry_deg) == 90.0
        marks = patient.body.landmarks
        path = seen(marks, patient.breathing, patient.time_s, centre)
        found = np.array(
            [
                (mask * axis).sum((1, 2)) / mask.sum((1, 2))
                for axis in np.mgrid[:32, :32]
            ]
        )
        np.testing.assert_allclose(found.T, path, atol=0.5)


def test_the_gantry_angle_is_the_studys(archive):
    frames = []
    for angle in (0.0, 90.0):
        cfg = smoke(archive)
        cfg.study.gantry_deg = angle
        frames.append(np.asarray(SimulatorSource(cfg)._patient(1, 0).frames)[0])
    # From the front the body is as wide as it lies, 310 mm; from the side 216 mm.
    front, side = (int((f[16] > 0.3).sum()) for f in frames)
    assert front > 28 and 18 < side < 26


@pytest.mark.slow
def test_noise_and_appearance_reach_the_cts(archive):
    clean, plain = smoke(archive), smoke(archive)
    plain.data.randomise = "exposure"
    clean.data.bodies = plain.data.bodies = "ct"
    noisy = clean.copy_and_resolve_references()
    noisy.study.photons = 1e4
    frames = [
        np.asarray(SimulatorSource(cfg).batch_at(0)["frames"])
        for cfg in (clean, noisy, plain)
    ]
    assert (np.std(frames[1] - frames[0], axis=(1, 2, 3)) > 1e-3).all()
    assert (np.std(frames[2] - frames[0], axis=(1, 2, 3)) > 1e-3).all()


def test_the_largest_tumour_is_what_has_room(archive):
    cfg = smoke(archive, smallest_mm=20.0, largest_mm=150.0)
    cfg.data.bodies = "ct"
    patient = SimulatorSource(cfg)._patient(0, 0)
    rng = np.random.default_rng(0)
    how = dict(diameter_mm=(20.0, 150.0), even_in="diameter")
    sizes = [patient.draw(rng, **how)[1] for _ in range(200)]
    assert min(sizes) >= 20.0 and 80.0 < max(sizes) <= patient.body.room_mm


def test_a_ct_is_read_once_for_all_its_patients(archive, monkeypatch):
    reads = []
    real = ct_bodies.read_ct
    monkeypatch.setattr(ct_bodies, "read_ct", lambda p: reads.append(p) or real(p))
    source = SimulatorSource(smoke(archive))
    for renewals in (0, 2, 4):
        source._patient(1, renewals)
    assert len(reads) == 2


def test_a_run_names_its_cts_and_goes_on_with_no_others(archive, tmp_path):
    cfg = smoke(archive)
    record(cfg, tmp_path, start=0)
    assert json.loads((tmp_path / CTS).read_text()) == ct_sizes(archive)
    record(cfg, tmp_path, start=1)
    (tmp_path / CTS).write_text(json.dumps({"a/ct.mha": 1, "c.mha": 2}))
    with pytest.raises(UserError, match=r"other CTs in .*: a/ct\.mha, b\.mha, c\.mha"):
        record(cfg, tmp_path, start=1)
    record(cfg, tmp_path, start=cfg.train.num_steps)  # nothing is trained
