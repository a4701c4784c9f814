"""Sizes that cannot fit are refused from shapes alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from stand_ins import small_config

from configs import quickstart
from configs.base import base_config
from fluoro_jax.cli import commands
from fluoro_jax.config import validate
from fluoro_jax.errors import UserError
from fluoro_jax.io import memory as host_memory
from fluoro_jax.training import memory

ROOT = Path(__file__).parents[2]
GIB = 2**30
STATE = {"w": jax.ShapeDtypeStruct((10**6,), "float32")}


def with_values(**values):
    cfg = quickstart.get_config()
    changed = {key.replace("__", "."): value for key, value in values.items()}
    cfg.update_from_flattened_dict(changed)
    return validate(cfg, training=False)


def refusal(free=4 * GIB, **values):
    with pytest.raises(UserError) as caught:
        memory.check(with_values(**values), STATE, free=free)
    assert len(str(caught.value).splitlines()) == 4
    return caught.value


@pytest.mark.parametrize("scale", ["smoke", "quickstart", "cpu"])
def test_the_sizes_we_ship_fit_in_four_gib(scale):
    memory.check(base_config(scale), STATE, free=4 * GIB)
    memory.check(quickstart.get_config(), STATE, free=GIB)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(data__batch_size=4096), "activations"),
        (dict(study__voxel_mm=0.25), "a body's voxels"),
        (dict(data__pool_bodies=10_000, study__rows=4096), "the pool of bodies"),
        (dict(data__source="dataset", study__num_train=10**6), "the study's cases"),
    ],
)
def test_the_largest_part_is_named_with_a_value_that_fits(values, words):
    error = refusal(**values)
    assert words in error.found and "GiB" in error.needed
    key, value = error.fix.split(",")[0].removeprefix("--config.").split("=")
    assert key in error.found
    number = float(value) if "." in value else int(value)
    smaller = {k: v for k, v in values.items() if k != "study__rows"}
    smaller[key.replace(".", "__")] = number
    memory.check(with_values(**smaller), STATE, free=4 * GIB)


def test_a_state_of_many_parameters_is_refused():
    large = {"w": jax.ShapeDtypeStruct((10**9,), "float32")}
    with pytest.raises(UserError, match=r"gen.base = 8 needs .* the training state"):
        memory.check(quickstart.get_config(), large, free=GIB)


def test_a_limit_of_the_shell_counts_as_what_is_free(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (10**15, 10**15))
    unlimited = memory._free_on_host()
    taken = 1024 * host_memory._numbers(Path("/proc/self/status"))["VmSize:"]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (taken + GIB, -1))
    assert memory._free_on_host() <= min(unlimited, 1.1 * GIB)


def test_the_small_run_of_the_tests_is_counted_below_its_need():
    assert 0 < memory._activations(small_config(), "coarse") < GIB


@pytest.mark.multiprocess
@pytest.mark.slow
def test_under_a_limit_the_command_is_refused_before_memory_is_taken(tmp_path):
    command = (
        f"ulimit -v 6000000; exec {sys.executable} -m launch.train "
        "--config=configs/quickstart.py --config.data.batch_size=8192 "
        f"--workdir={tmp_path}/run"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 4, done.stderr
    assert "data.batch_size = 8192 needs" in done.stderr
    assert not (tmp_path / "run").exists()


GONE = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12345 bytes."


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        # Four virtual devices: a batch of 16 in halves, of 4 not at all.
        (dict(data__batch_size=16), "batch_size=8 --config.train.accumulate=2"),
        (
            dict(data__batch_size=24, train__accumulate=3),
            "batch_size=12 --config.train.accumulate=6",
        ),
        (dict(data__batch_size=20), "batch_size=4 --config.train.accumulate=5"),
        (dict(data__batch_size=4), "--config.gen.remat=True"),
        (
            dict(data__batch_size=4, gen__remat=True, gen__base=16, gen__group_size=4),
            "--config.gen.base=8, or smaller frames",
        ),
    ],
)
def test_memory_that_runs_out_names_flags_with_values_that_fit(values, fix):
    error = memory.explained(RuntimeError(GONE), with_values(**values))
    assert error is not None and len(str(error).splitlines()) == 4
    size = values["data__batch_size"]
    assert f"out of memory with data.batch_size = {size}" in error.found
    assert "12345 bytes" in error.found and "memory of each device" in error.needed
    assert fix in error.fix and "another --workdir" in error.fix
    assert memory.explained(RuntimeError("INTERNAL"), with_values()) is None


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("error", [RuntimeError(GONE), MemoryError("Unable to ...")])
def test_a_command_that_runs_out_of_memory_ends_in_four_lines(error, tmp_path, capsys):
    def fail(*_, **__):
        raise error

    assert commands.guarded(lambda: fail(), debug=False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "out of memory" in lines[0]
    argv = ["--config=configs/quickstart.py:smoke", f"--workdir={tmp_path / 'w'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fluoro_jax.training.loop.train", fail)
        assert commands.run("train", argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "data.batch_size" in lines[0] and "--config." in lines[3]
