from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from marks import further

from fluoro_jax.errors import UserError
from fluoro_jax.training.checkpoint import Checkpoints
from fluoro_jax.training.state import digest


def make_state(value=0.0):
    return {
        "w": jnp.linspace(value, 1.0, 5000).reshape(50, 100),
        "count": jnp.zeros((), jnp.int32),
        "half": jnp.full((7,), value, jnp.bfloat16),
    }


def saved(folder, steps=(2, 4), keep=3):
    with Checkpoints(folder, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step / 10), {"seed": 0})
    return folder


def restored(folder, keep=3):
    lines = []
    with Checkpoints(folder, keep=keep, say=lines.append) as checkpoints:
        return checkpoints.restore(make_state), lines


def spoil(folder, step, how):
    """Damages the file that holds the arrays of a step."""
    files = (folder / f"{step:08d}" / "state").rglob("*")
    path = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    if how == "bit":
        data[len(data) // 2] ^= 4
    path.write_bytes(data if how == "bit" else data[: len(data) // 2])


def test_what_was_saved_comes_back(tmp_path):
    found, lines = restored(saved(tmp_path / "ckpt"))
    assert (found.step, found.config, lines) == (4, {"seed": 0}, [])
    assert digest(found.state) == digest(make_state(0.4))
    assert isinstance(found.state["count"], np.ndarray)


def test_an_empty_folder_has_none(tmp_path):
    assert restored(tmp_path / "ckpt") == (None, [])


def test_only_the_newest_are_kept(tmp_path):
    folder = saved(tmp_path / "ckpt", steps=(1, 2, 3, 4), keep=2)
    with Checkpoints(folder, keep=None) as checkpoints:
        assert checkpoints.steps() == [3, 4]


@pytest.mark.parametrize("how", ["bit", "half"])
def test_a_damaged_one_falls_back_and_can_be_saved_again(tmp_path, how):
    folder = saved(tmp_path / "ckpt")
    spoil(folder, 4, how)
    found, lines = restored(folder)
    assert found.step == 2
    assert digest(found.state) == digest(make_state(0.2))
    assert len(lines) == 1 and "checkpoint 4 cannot be read" in lines[0]
    saved(folder, steps=(4,))
    found, lines = restored(folder)
    assert (found.step, lines) == (4, [])


def test_a_reader_leaves_a_damaged_one_where_it_is(tmp_path):
    folder = saved(tmp_path / "ckpt")
    spoil(folder, 4, "bit")
    found, _ = restored(folder, keep=None)
    assert found.step == 2 and (folder / "00000004").is_dir()


def test_an_edited_digest_or_a_missing_part_is_noticed(tmp_path):
    folder = saved(tmp_path / "ckpt")
    meta = folder / "00000004" / "meta" / "metadata"
    text = meta.read_text()
    meta.write_text(text.replace(text[-40:-38], "zz"))
    assert restored(folder, keep=None)[0].step == 2
    meta.unlink()
    assert restored(folder, keep=None)[0].step == 2


def test_nothing_readable_is_an_error_that_names_the_fix(tmp_path):
    folder = saved(tmp_path / "ckpt")
    for step in (2, 4):
        spoil(folder, step, "bit")
    with pytest.raises(UserError, match="rm -r") as error:
        restored(folder)
    assert "can be read" in error.value.found
    assert (folder / "00000004").is_dir()  # nothing was thrown away


def test_another_models_state_is_refused(tmp_path):
    folder = saved(tmp_path / "ckpt")
    with (
        Checkpoints(folder, keep=None, say=lambda _: None) as checkpoints,
        pytest.raises(UserError, match="other names"),
    ):
        checkpoints.restore(lambda: {"other": jnp.zeros(3)})


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Checkpoints(tmp_path / "file" / "ckpt", keep=1)


@contextlib.contextmanager
def small_files():
    """No file may grow past 2 KiB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_the_older_checkpoint_stays(tmp_path):
    folder = saved(tmp_path / "ckpt", steps=(2,))
    noise = np.random.default_rng(0).normal(size=20000).astype(np.float32)
    with (
        pytest.raises(UserError, match="cannot write checkpoints"),
        Checkpoints(folder, keep=3) as checkpoints,
        small_files(),
    ):
        checkpoints.save(4, {"w": noise}, {})
        checkpoints.wait()
    assert restored(folder)[0].step == 2


WRITE_TOO_MUCH = """
import pathlib, sys
import numpy as np
from fluoro_jax.cli.commands import guarded
from fluoro_jax.training.checkpoint import Checkpoints

if sys.argv[2] == "late":  # as if the disk had filled up while it was written
    Checkpoints._check_room = lambda self, needed: None
state = {f"w{i}": np.random.default_rng(i).normal(size=(200, 500)) for i in range(12)}

def work():
    with Checkpoints(pathlib.Path(sys.argv[1]) / "ckpt", keep=3) as checkpoints:
        for step in range(4):
            checkpoints.save(step, state, {})

sys.exit(guarded(work, debug=False))
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("when", ["early", further("late")])
def test_a_full_disk_ends_in_four_lines_and_nothing_else(tmp_path, when):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small file system needs root")
    try:
        done = subprocess.run(
            [sys.executable, "-c", WRITE_TOO_MUCH, str(disk), when],
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 4, done.stderr
    assert done.stderr.startswith("ERROR ") and str(disk) in done.stderr
    assert ("MB free" in done.stderr) == (when == "early")
