"""Published weights as the folder of a finished run."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_weights import put_weights, random_params, small_config

from fluoro_jax.errors import UserError
from fluoro_jax.experiments import reproduce
from fluoro_jax.training.nets import build, restore_generator
from fluoro_jax.training.parent import read_config, restore_parent
from fluoro_jax.training.workdir import record
from fluoro_jax.zoo import unpack as module
from fluoro_jax.zoo.publish import training
from fluoro_jax.zoo.unpack import unpack, unpacked

LENGTH = {"train.num_steps": 7}  # as the card of `put_weights` has it


@pytest.fixture
def folder(tmp_path):
    put_weights(tmp_path, "small", "edge", **LENGTH)
    return tmp_path


def test_the_folder_holds_the_weights_and_what_was_trained(folder):
    cfg = small_config("edge", **LENGTH)
    unpack("small", cfg, folder / "run", folder=folder)
    _, params, step = restore_generator(cfg, folder / "run")
    assert step == 7
    jax.tree.map(np.testing.assert_array_equal, params, random_params(cfg))
    note = unpacked(folder / "run")
    assert (note["name"], note["dtype"]) == ("small", "float32")
    assert note["training"] == training(folder / "run")
    assert note["training"] == {"step": 7, "begun": "then", "wall_s": 1.5}
    assert unpacked(folder) is None and unpacked(folder / "none") is None


def test_a_call_that_was_stopped_is_repeated(folder, monkeypatch):
    cfg, run = small_config("edge", **LENGTH), folder / "run"

    def stopped(path, text):
        if path.name == "config.json":
            raise KeyboardInterrupt
        write_text(path, text)

    write_text = module.write_text
    monkeypatch.setattr(module, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        unpack("small", cfg, run, folder=folder)
    assert not (run / "config.json").exists()  # by which a plan knows a whole folder
    monkeypatch.undo()
    unpack("small", cfg, run, folder=folder)
    assert read_config(run) and restore_generator(cfg, run)[2] == 7


def test_another_run_may_start_from_it(folder):
    unpack("small", small_config("edge", **LENGTH), folder / "run", folder=folder)
    cfg = ConfigDict(read_config(folder / "run"))
    parent = restore_parent(folder / "run", build(cfg).init)
    expected = random_params(cfg)
    jax.tree.map(np.testing.assert_array_equal, parent.ema, expected)
    jax.tree.map(np.testing.assert_array_equal, parent.gen.params, expected)


def test_what_is_asked_of_the_answer_may_differ_and_nothing_else(folder):
    asked = {"evaluation.answer": "component", "evaluation.outline": "clip"}
    cfg = small_config("edge", **LENGTH, **asked)
    unpack("small", cfg, folder / "run", folder=folder)
    assert read_config(folder / "run")["evaluation"]["outline"] == "clip"
    other = small_config("edge", **LENGTH, **{"gen_opt.learning_rate": 0.5})
    with pytest.raises(UserError, match="the weights small are of another config"):
        unpack("small", other, folder / "other", folder=folder)
    assert not (folder / "other").exists()


def test_a_folder_that_holds_something_else_is_refused(folder):
    cfg = small_config("edge", **LENGTH)
    (folder / "run" / "ckpt").mkdir(parents=True)
    with pytest.raises(UserError, match="run holds a run"):
        unpack("small", cfg, folder / "run", folder=folder)
    unpack("small", cfg, folder / "weights", folder=folder)
    note = folder / "weights" / "published.json"
    note.write_text(note.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(UserError, match="weights holds other weights"):
        unpack("small", cfg, folder / "weights", folder=folder)


def test_weights_of_another_length_are_refused(folder):
    cfg = small_config("edge", **{"train.num_steps": 8})
    with pytest.raises(UserError, match="the weights small are of step 7"):
        unpack("small", cfg, folder / "run", folder=folder)
    assert not (folder / "run").exists()


def test_such_a_folder_is_scored_and_not_trained(folder, monkeypatch):
    cfg = small_config("edge", **LENGTH)
    unpack("small", cfg, folder / "run", folder=folder)
    longer = small_config("edge", **{"train.num_steps": 9})
    with pytest.raises(UserError, match="holds published weights and no run"):
        record(longer, folder / "run", start=7)
    record(cfg, folder / "run", start=7)  # nothing is trained
    called = []
    monkeypatch.setattr(reproduce, "train", lambda *_, **__: called.append("train"))

    def restore(*_):
        raise InterruptedError

    monkeypatch.setattr(reproduce, "restore_generator", restore)
    for name, trained in (("run", []), ("other", ["train"])):
        with pytest.raises(InterruptedError):
            reproduce.reproduce(cfg, folder / name)
        assert called == trained
