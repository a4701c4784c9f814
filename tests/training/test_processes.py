from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import stand_in_run

from fluoro_jax.training.checkpoint import Checkpoints

pytestmark = pytest.mark.multiprocess

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture(scope="module")
def start():
    """Starts `stand_in_run`, or another program, as a process of its own."""

    def start_one(*arguments, program=(HERE / "stand_in_run.py",), devices=1, **more):
        env = dict(os.environ, **more)
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE)])
        env["JAX_NUM_CPU_DEVICES"] = str(devices)
        command = [sys.executable, *map(str, (*program, *arguments))]
        return subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start_one


def finish(process):
    """The digest that a run prints last."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return re.search(r"digest sha256 (\w{64})", text).group(1)


def kill_when(process, ready, wait_s):
    """Kills with -9 as soon as `ready()`, or says False if it has ended before."""
    deadline = time.monotonic() + wait_s
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(0.001)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


@pytest.mark.slow
def test_killed_during_a_save_it_goes_on_bit_equal(start, tmp_path):
    undisturbed = finish(start(tmp_path / "whole"))
    folder = tmp_path / "killed" / "ckpt"
    saving = lambda: folder.is_dir() and any("tmp" in p.name for p in folder.iterdir())
    assert kill_when(start(tmp_path / "killed"), saving, 120)
    assert finish(start(tmp_path / "killed")) == undisturbed


@pytest.mark.slow
def test_killed_ten_times_at_random_it_ends_the_same(start, tmp_path):
    undisturbed = finish(start(tmp_path / "whole", 60, 0.05))
    draw = random.Random(0)
    kills = 0
    for _ in range(10):
        process = start(tmp_path / "killed", 60, 0.05)
        end = time.monotonic() + draw.uniform(2.0, 12.0)
        kills += kill_when(process, lambda end=end: time.monotonic() > end, 120)
    assert kills >= 5
    assert finish(start(tmp_path / "killed", 60, 0.05)) == undisturbed


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def run_two(start, *arguments, wait_s, **how):
    """What two processes of one run print; both must end well, in time."""
    address = f"localhost:{free_port()}"
    together = dict(JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2")
    both = [
        start(*arguments, JAX_PROCESS_ID=str(i), **together, **how) for i in range(2)
    ]
    end = time.monotonic() + wait_s
    try:
        texts = [p.communicate(timeout=end - time.monotonic())[0] for p in both]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert [p.returncode for p in both] == [0, 0], "\n".join(texts)
    return texts


@pytest.mark.thorough
def test_two_processes_train_as_one(start, tmp_path):
    texts = run_two(start, tmp_path / "two", 1, devices=2, wait_s=300)
    finish(start(tmp_path / "one", 1))
    init_fn = stand_in_run.build(stand_in_run.config(1)).init
    states = []
    for name in ("one", "two"):
        with Checkpoints(tmp_path / name / "ckpt", keep=None) as checkpoints:
            states.append(checkpoints.restore(init_fn).state)
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert sum("digest" in text for text in texts) == 1  # one of them speaks


@pytest.mark.thorough
def test_the_first_process_reads_and_fails_alone(start, tmp_path):
    # Without the options of a reader orbax waits for the other process, for ever.
    program = (HERE / "first_alone_run.py",)
    texts = run_two(start, tmp_path, program=program, wait_s=120)
    first, other = (text.splitlines()[-1] for text in texts)
    both = "2 None AssertionError AssertionError"
    assert first == f"0 None 1 1 1 {both} ValueError"
    assert other == f"1 None None None 1 {both} UserError"


SMALL = (
    *("--config=configs/quickstart.py:smoke", "--config.train.num_steps=2"),
    *("--config.gen.levels=2", "--config.gen.refine_levels=1"),
    "--config.critic.levels=1",
)


@pytest.mark.thorough
def test_two_processes_reproduce_and_one_evaluates(start, tmp_path):
    # JAX ends processes that wait 300 s for one another at their end.
    program = ("-m", "launch.reproduce", *SMALL)
    texts = run_two(start, f"--workdir={tmp_path}", program=program, wait_s=280)
    assert [text.count(f"report: {tmp_path}") for text in texts] == [1, 0]
    assert (tmp_path / "report.html").exists()
