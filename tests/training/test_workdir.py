from __future__ import annotations

import json
import subprocess
import sys

import pytest
from stand_ins import small_config

from fluoro_jax.errors import UserError
from fluoro_jax.training.workdir import (
    LOCK,
    check_agrees,
    check_same_config,
    locked,
    record,
    resolve,
)


def open_workdir(cfg, folder):
    """What a run does with its folder once it is known to be valid."""
    check_same_config(resolve(cfg), folder)
    with locked(folder):
        record(cfg, folder, start=0)
    return folder


def test_it_holds_config_command_and_environment(tmp_path):
    cfg = small_config()
    folder = open_workdir(cfg, tmp_path / "run")
    open_workdir(cfg, folder)
    assert json.loads((folder / "config.json").read_text()) == resolve(cfg)
    assert len((folder / "command.txt").read_text().splitlines()) == 2
    environment = json.loads((folder / "env.json").read_text())
    assert environment["packages"]["jax"] and environment["devices"]


def test_another_config_is_refused_and_changes_nothing(tmp_path):
    cfg = small_config()
    folder = open_workdir(cfg, tmp_path / "run")
    before = (folder / "config.json").read_text()
    cfg.gen.base, cfg.study.seed = 99, 1
    with pytest.raises(UserError) as error:
        open_workdir(cfg, folder)
    assert "gen.base: 4 there, 99 now" in error.value.found
    assert "study.seed: 2020 there, 1 now" in error.value.found
    assert "the same config" in error.value.needed
    assert "another --workdir" in error.value.fix
    assert (folder / "config.json").read_text() == before


def test_lengths_and_cadences_may_change(tmp_path):
    cfg = small_config()
    folder = open_workdir(cfg, tmp_path / "run")
    cfg.train.update(num_steps=1000, log_every=7)
    cfg.evaluation.bootstrap = 11
    open_workdir(cfg, folder)
    assert json.loads((folder / "config.json").read_text())["train"]["log_every"] == 7


@pytest.mark.parametrize(
    ("source", "allowed"), [("simulator", True), ("dataset", False)]
)
def test_stored_training_cases_may_change_if_none_is_trained_on(
    tmp_path, source, allowed
):
    cfg = small_config()
    cfg.data.source = source
    folder = open_workdir(cfg, tmp_path / "run")
    cfg.study.num_train += 1
    if allowed:
        open_workdir(cfg, folder)
    else:
        with pytest.raises(UserError, match=r"study\.num_train"):
            open_workdir(cfg, folder)


def test_a_key_of_another_version_is_shown(tmp_path):
    cfg = small_config()
    folder = open_workdir(cfg, tmp_path / "run")
    stored = resolve(cfg)
    stored["gen"]["old_key"] = 3
    (folder / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"gen.old_key: 3 there, \(absent\) now"):
        open_workdir(cfg, folder)


def test_a_broken_config_file_is_told(tmp_path):
    folder = open_workdir(small_config(), tmp_path / "run")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        open_workdir(small_config(), folder)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        open_workdir(small_config(), tmp_path / "file" / "run")


HOLD = """
import sys, time
from fluoro_jax.training.workdir import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_by_name_until_the_first_dies(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "locked\n"
        who = f"pid {first.pid} on "
        with pytest.raises(UserError, match=who) as error, locked(tmp_path):
            raise AssertionError("two processes in one workdir")
        assert str(tmp_path) in error.value.found
        assert len(str(error.value).splitlines()) == 4
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    with locked(tmp_path), locked(tmp_path):  # a process may take its own lock again
        assert "pid" in (tmp_path / LOCK).read_text()


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    cfg = small_config()
    stored = resolve(cfg)
    cfg.seed = 7
    with pytest.raises(UserError, match=r"of step 4 .*seed: 0 there, 7 now"):
        check_agrees(stored, resolve(cfg), "the checkpoint of step 4")
