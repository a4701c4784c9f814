"""Batches by number: resumable, shared out, complete; and the thread ahead of them."""

from __future__ import annotations

import threading
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from reads import host_reads, read_on

from configs import quickstart
from fluoro_jax import studies
from fluoro_jax.data import batches
from fluoro_jax.data.batches import DatasetSource, SimulatorSource
from fluoro_jax.data.prefetch import prefetch
from fluoro_jax.devices import on_host
from fluoro_jax.errors import UserError
from fluoro_jax.sim.tumor.tumor import sphere_centroid_px, tumor_path_mm

CASES, BATCH = 7, 4


@pytest.fixture(scope="module", autouse=True)
def accelerator():
    """Another device than the host's; all clips here are rendered on it.

    One test needs it, and rendering compiles for each device anew.
    """
    usual = jax.config.jax_default_device
    jax.config.update("jax_default_device", jax.local_devices()[-1])
    yield jax.local_devices()[-1]
    jax.config.update("jax_default_device", usual)


@pytest.fixture(scope="module")
def arrays():
    values = np.arange(CASES, dtype=np.float32).reshape(CASES, 1, 1, 1)
    frames = np.broadcast_to(values, (CASES, 2, 3, 3)).copy()
    return {"frames": frames, "mask": (frames > 2).astype(np.uint8)}


def smoke(**data) -> ConfigDict:
    cfg = quickstart.get_config("smoke")
    cfg.data.update(batch_size=BATCH, pool_bodies=2, renew_every=2, **data)
    return cfg


@pytest.fixture(scope="module")
def simulator():
    return SimulatorSource(smoke())


def same(a, b) -> bool:
    return all(np.array_equal(a[k], b[k]) for k in ("frames", "mask", "id"))


# ---- stored cases


def test_every_case_once_an_epoch_in_a_new_order(arrays):
    source = DatasetSource(arrays, BATCH, seed=3)
    stream = np.concatenate([source.case_rows(i) for i in range(14)])  # 8 epochs
    epochs = stream.reshape(8, CASES)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(CASES), (8, 1)))
    assert len({tuple(e) for e in epochs}) > 1
    other = DatasetSource(arrays, BATCH, seed=4)
    assert not np.array_equal(
        stream, np.concatenate([other.case_rows(i) for i in range(14)])
    )


def test_dataset_batch_is_a_function_of_its_number(arrays):
    source, fresh = (DatasetSource(arrays, BATCH, seed=3) for _ in range(2))
    for i in (0, 9, 2):
        source.batch_at(i)
    batch = source.batch_at(5)
    assert same(batch, fresh.batch_at(5))
    np.testing.assert_array_equal(batch["id"], 5 * BATCH + np.arange(BATCH))
    assert batch["frames"].dtype == batch["mask"].dtype == np.float32
    np.testing.assert_array_equal(batch["frames"][:, 0, 0, 0], fresh.case_rows(5))


@pytest.mark.parametrize("count", [2, 4])
def test_shares_make_up_the_global_batch(arrays, count):
    whole = DatasetSource(arrays, BATCH, seed=3)
    parts = [
        DatasetSource(arrays, BATCH, seed=3, process=(r, count)) for r in range(count)
    ]
    for i in range(5):
        shares = [part.batch_at(i) for part in parts]
        joined = {k: np.concatenate([s[k] for s in shares]) for k in shares[0]}
        assert same(joined, whole.batch_at(i))


# ---- fresh cases


def test_simulated_batch_is_a_function_of_its_number(simulator):
    batch = jax.device_get(simulator.batch_at(1))
    for i in (9, 0, 4):  # 9: every patient of the pool has been renewed since
        simulator.batch_at(i)
    assert same(batch, simulator.batch_at(1))
    assert batch["frames"].shape == (BATCH, 10, 32, 32)
    np.testing.assert_array_equal(batch["id"], BATCH + np.arange(BATCH))
    assert set(np.unique(batch["mask"])) == {0.0, 1.0}


def test_simulated_shares_make_up_the_global_batch(simulator):
    whole = jax.device_get(simulator.batch_at(3))
    for rank in range(2):
        part = SimulatorSource(smoke(), process=(rank, 2))
        share = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
        assert same({k: v[share] for k, v in whole.items()}, part.batch_at(3))


def test_every_example_is_another_tumour(simulator):
    masks = [m for i in range(3) for m in np.asarray(simulator.batch_at(i)["mask"])]
    assert len({m.tobytes() for m in masks}) == len(masks)
    other = SimulatorSource(smoke())
    other._seed = 1
    assert not same(simulator.batch_at(0), other.batch_at(0))


def test_random_start_rolls_film_and_mask_together():
    still, rolled = (SimulatorSource(smoke(random_start=r)) for r in (False, True))
    a, b = (jax.device_get(s.batch_at(0)) for s in (still, rolled))
    shifts = set()
    for k in range(BATCH):
        fits = [
            s
            for s in range(10)
            if np.array_equal(np.roll(a["frames"][k], -s, 0), b["frames"][k])
            and np.array_equal(np.roll(a["mask"][k], -s, 0), b["mask"][k])
        ]
        assert len(fits) == 1
        shifts.add(fits[0])
    assert len(shifts) > 1


def test_diameters_come_from_the_config(monkeypatch):
    asked = []
    real = batches.fresh_case

    def remember(*args, **kwargs):
        case = real(*args, **kwargs)
        asked.append(float(case.tumor.diameter_mm))
        return case

    monkeypatch.setattr(batches, "fresh_case", remember)
    SimulatorSource(smoke(smallest_mm=11.0, largest_mm=12.0)).batch_at(0)
    assert len(asked) == 4 and all(11.0 <= d <= 12.0 for d in asked)
    assert len(set(asked)) == 4


def test_a_share_of_the_tumours_lies_near_the_midline(monkeypatch):
    asked, real = [], batches.fresh_case
    monkeypatch.setattr(
        batches, "fresh_case", lambda *_, **how: asked.append(how) or real(*_, **how)
    )
    # The source does not check that the study has places to be displaced from.
    SimulatorSource(smoke(midline_share=0.25, displaced_mm=9.0)).batch_at(0)
    assert [how["midline_share"] for how in asked] == [0.25] * 4
    assert [how["displaced_mm"] for how in asked] == [9.0] * 4


def test_masks_sit_on_the_tumours_that_were_drawn(monkeypatch):
    """Centroid of the pixels against the closed form, through the whole source."""
    drawn = []
    real = batches.fresh_case

    def remember(*args, **kwargs):
        drawn.append(real(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(batches, "fresh_case", remember)
    source = SimulatorSource(smoke(random_start=False))
    masks = np.asarray(source.batch_at(0)["mask"])
    geometry = studies.StudySpec.from_config(smoke().study).geometry()
    closed_form = jax.jit(
        lambda case: jax.vmap(
            lambda c: sphere_centroid_px(geometry, c, case.tumor.diameter_mm)
        )(tumor_path_mm(case.tumor, case.breathing, case.time_s))
    )
    for mask, case in zip(masks, drawn, strict=True):
        truth = closed_form(case)
        rows, cols = (
            (mask * axis).sum((1, 2)) / mask.sum((1, 2)) for axis in np.mgrid[:32, :32]
        )
        np.testing.assert_allclose(np.stack([rows, cols], 1), truth, atol=0.5)


def test_noise_is_fresh_for_every_example():
    cfg = smoke()
    cfg.study.photons = 1e4
    cfg.data.random_start = False
    noisy, clean = SimulatorSource(cfg), SimulatorSource(smoke(random_start=False))
    a, b = noisy.batch_at(0), clean.batch_at(0)
    error = np.asarray(a["frames"]) - np.asarray(b["frames"])
    assert np.all(np.std(error, axis=(1, 2, 3)) > 1e-3)
    assert not np.array_equal(error[0], error[1])
    assert same(a, SimulatorSource(cfg).batch_at(0))


def test_one_patient_at_a_time_is_renewed():
    numbers = [[batches.patient_number(s, r, 3) for s in range(3)] for r in range(5)]
    assert numbers == [[0, 1, 2], [3, 1, 2], [3, 4, 2], [3, 4, 5], [6, 4, 5]]


def test_unknown_source_is_explained(tmp_path):
    cfg = smoke(source="disk")
    with pytest.raises(UserError, match="dataset, simulator"):
        batches.open_batches(cfg, tmp_path)


# ---- running ahead


class Numbers:
    """Batch i is i; fails at `fails`."""

    def __init__(self, fails=None):
        self.fails, self.made = fails, []

    def batch_at(self, index):
        if index == self.fails:
            raise ValueError(f"batch {index}")
        self.made.append(index)
        return index


def test_prefetch_keeps_order_from_start():
    with prefetch(Numbers(), 5, lambda b: b * 10) as ahead:
        assert [next(ahead) for _ in range(4)] == [50, 60, 70, 80]


def test_prefetch_waits_for_its_consumer():
    source = Numbers()
    with prefetch(source, 0, lambda b: b) as ahead:
        next(ahead)
        time.sleep(0.3)
        assert len(source.made) <= 4  # one taken, two waiting, one in hand


def test_prefetch_raises_where_the_batch_was_due():
    ahead = prefetch(Numbers(fails=2), 0, lambda b: b)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(ValueError, match="batch 2"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


def test_close_joins_the_thread_and_may_be_repeated():
    before = threading.active_count()
    ahead = prefetch(Numbers(), 0, lambda b: b)
    next(ahead)
    ahead.close()
    ahead.close()
    assert threading.active_count() == before
    assert list(ahead) == []


def test_the_host_reads_nothing_from_an_accelerator_to_make_a_batch(
    simulator, accelerator
):
    """Placing a tumour reads several arrays an example, all of the host's own."""
    wanted = jax.device_get(simulator.batch_at(2))
    source = SimulatorSource(smoke())
    with host_reads() as reads:
        batch = source.batch_at(2)
    assert batch["frames"].devices() == {accelerator}
    assert len(reads) >= BATCH and read_on(reads, accelerator) == 0
    assert same(wanted, batch)


def test_without_a_cpu_backend_the_accelerator_places(monkeypatch, accelerator):
    def no_cpu(backend=None):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", no_cpu)
    with on_host():
        assert jax.config.jax_default_device is accelerator


def test_the_host_reads_nothing_from_an_accelerator_to_draw_a_case(accelerator):
    """Lung and heart decide which case is kept."""
    spec = studies.PRESETS["group_smoke"]
    with host_reads() as reads:
        studies.study_case(spec, "test", 2)
    assert len(reads) >= 2 and read_on(reads, accelerator) == 0
