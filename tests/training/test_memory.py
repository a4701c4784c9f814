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
