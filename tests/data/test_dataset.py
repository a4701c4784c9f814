"""The stored study: complete, repeatable, checked, rebuilt, never half-written."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import re
import shutil

import jax
import numpy as np
import pytest

from fluoro_jax.data import dataset
from fluoro_jax.data.batches import DatasetSource
from fluoro_jax.data.codec import MAX_ERROR
from fluoro_jax.data.dataset import clips_of, damage, load_split
from fluoro_jax.errors import UserError
from fluoro_jax.sim.fluoroscope import render_body
from fluoro_jax.studies import PRESETS, SPLITS, build_study

SPEC = dataclasses.replace(PRESETS["group_smoke"], num_train=2, num_val=1, num_test=2)


EXAMPLES: dict = {}  # what was rendered for `data_dir`, by case


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    from fluoro_jax.data import builder

    folder, real = tmp_path_factory.mktemp("data"), builder.example_of

    def example_of(case, spec, **how):
        EXAMPLES[case.id] = real(case, spec, **how)
        return EXAMPLES[case.id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "example_of", example_of)
        dataset.ensure_built(SPEC, folder)
    return folder


@pytest.fixture
def rendered_before(data_dir, monkeypatch):
    """Builds take the examples of `data_dir`: nothing is rendered."""
    from fluoro_jax.data import builder

    monkeypatch.setattr(builder, "render_background", lambda *_: None)
    monkeypatch.setattr(builder, "example_of", lambda case, *_, **__: EXAMPLES[case.id])


@pytest.fixture
def copy(data_dir, tmp_path):
    """A private copy to break: (data_dir, folder of the dataset)."""
    shutil.copytree(data_dir, tmp_path / "d")
    return tmp_path / "d", next((tmp_path / "d").glob("fluoro_studies/*/*"))


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_arrays_hold_the_cases_of_the_study(data_dir):
    study = build_study(SPEC)
    for split in SPLITS:
        arrays = load_split(SPEC, data_dir, split)
        cases = study[split]
        assert arrays["id"].tolist() == [case.id for case in cases]
        n = len(cases)
        assert arrays["frames"].shape == arrays["mask"].shape == (n, 10, 32, 32)
        assert arrays["frames"].dtype == np.float32
        assert arrays["mask"].dtype == np.uint8
        for name in ("diameter_mm", "si_mm", "ap_mm"):
            expected = np.array([case.labels[name] for case in cases], np.float32)
            np.testing.assert_array_equal(arrays[name], expected)
        for name in ("lobe", "side", "kind"):
            assert arrays[name] == [case.labels[name] for case in cases]
        for name in ("rib", "heart", "spine", "diaphragm"):
            share = arrays[f"{name}_overlap"]
            assert share.shape == (n, 10)
            assert np.all((share >= 0.0) & (share <= 1.0))


def test_stored_film_is_the_simulated_one(data_dir):
    case = build_study(SPEC)["train"][1].case
    arrays = load_split(SPEC, data_dir, "train")
    body = np.asarray(render_body(case, SPEC.geometry(), voxel_mm=SPEC.voxel_mm))
    error = np.abs(arrays["frames"][1] - body)
    outside = arrays["mask"][1] == 0
    assert error[outside].max() <= MAX_ERROR + 1e-5
    assert error[~outside].max() > 0.05  # the tumour


def test_clips_carry_the_truth(data_dir):
    arrays = load_split(SPEC, data_dir, "test")
    clips = clips_of(arrays, SPEC)
    assert len(clips) == 2
    for clip in clips:
        assert clip.periodic
        assert all(isinstance(x, np.ndarray) for x in (clip.frames, clip.mask))
        rows = (clip.mask * np.arange(32).reshape(1, -1, 1)).sum((1, 2))
        rows = rows / clip.mask.sum((1, 2))
        np.testing.assert_allclose(rows, clip.centroid_px[:, 0], atol=0.5)
        # IEC y is superior: the path goes down by the SI amplitude
    travel = np.ptp(arrays["centre_mm"][..., 1], axis=1)
    np.testing.assert_allclose(travel, arrays["si_mm"], rtol=1e-4)


def test_two_builds_are_byte_identical(data_dir, tmp_path):
    dataset.ensure_built(SPEC, tmp_path)
    assert contents(tmp_path) == contents(data_dir)
    assert len(contents(tmp_path)) == 7  # 3 splits, 2 of tfds, manifest, lock


def test_a_good_dataset_is_not_built_again(data_dir, monkeypatch):
    monkeypatch.setattr(dataset, "_build", lambda *_: pytest.fail("built again"))
    load_split(SPEC, data_dir, "val")


def break_flip(folder):
    path = next(folder.glob("*train*"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def break_truncate(folder):
    path = next(folder.glob("*test*"))
    path.write_bytes(path.read_bytes()[:-100])


def break_remove(folder):
    next(folder.glob("*val*")).unlink()


def break_no_manifest(folder):
    (folder / dataset.MANIFEST).unlink()


def break_manifest(folder):
    (folder / dataset.MANIFEST).write_text("{")


def break_manifest_kind(folder):
    (folder / dataset.MANIFEST).write_text("[]")


def break_version(folder):
    path = folder / dataset.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "fingerprint": "older"}))


def break_study(folder):
    path = folder / dataset.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "study": "other"}))


BREAKS = [
    (break_flip, "train.* is missing, damaged or foreign"),
    (break_truncate, "test.* is missing, damaged or foreign"),
    (break_remove, "val.* is missing, damaged or foreign"),
    (break_no_manifest, "has no manifest"),
    (break_manifest, "has a damaged manifest"),
    (break_manifest_kind, "has a damaged manifest"),
    (break_version, "another version of the code"),
    (break_study, "another study"),
]


@pytest.mark.parametrize(("damage_it", "message"), BREAKS)
def test_every_damage_is_noticed(copy, damage_it, message):
    damage_it(copy[1])
    assert re.search(message, damage(copy[1], SPEC))


@pytest.mark.usefixtures("rendered_before")
def test_damage_is_said_in_one_line_and_rebuilt(copy, data_dir, caplog):
    break_flip(copy[1])
    (copy[0] / ".building-killed").mkdir()  # what a killed build leaves behind
    with caplog.at_level(logging.WARNING, logger="fluoro_jax"):
        load_split(SPEC, copy[0], "train")
    assert [r.message.count("\n") for r in caplog.records] == [0]
    assert "rebuilding" in caplog.text
    assert contents(copy[0]) == contents(data_dir)
    assert not list(copy[0].glob(".building-*"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Failed to finalize: write() failed: No space left on device; x"),
    ],
)
def test_full_disk_is_explained_and_leaves_nothing(tmp_path, monkeypatch, error):
    from fluoro_jax.data import builder

    def full(*_, **__):
        raise error

    monkeypatch.setattr(builder, "render_background", lambda *_: None)
    monkeypatch.setattr(builder, "render_case", full)
    with pytest.raises(UserError, match="No space left on device") as caught:
        load_split(SPEC, tmp_path, "train")
    assert len(str(caught.value).splitlines()) == 4
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


@pytest.mark.usefixtures("rendered_before")
def test_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    from fluoro_jax.data import builder

    real, calls = builder.example_of, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(builder, "example_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_split(SPEC, tmp_path, "train")
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_unwritable_folder_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the dataset"):
        load_split(SPEC, tmp_path / "file" / "data", "train")


def test_unknown_split_is_explained(tmp_path):
    with pytest.raises(UserError, match="train, val, test"):
        load_split(SPEC, tmp_path, "validation")


def test_named_configs_are_the_presets(data_dir, tmp_path):
    import tensorflow_datasets as tfds

    built = tfds.builder(
        "fluoro_studies/group_smoke", data_dir=tmp_path, file_format="array_record"
    )
    assert built.info.features["frames"].shape == (10, 32, 32)
    assert set(built.builder_configs) == set(PRESETS)


def test_source_reads_what_is_stored(data_dir):
    arrays = load_split(SPEC, data_dir, "train")
    batch = DatasetSource(arrays, 2, seed=0).batch_at(0)
    order = np.argsort([f.sum() for f in batch["frames"]])
    stored = np.argsort([f.sum() for f in arrays["frames"]])
    for a, b in zip(order, stored, strict=True):
        np.testing.assert_array_equal(batch["frames"][a], arrays["frames"][b])
        np.testing.assert_array_equal(batch["mask"][a], arrays["mask"][b])
    assert jax.tree.map(np.shape, batch)["id"] == (2,)
