"""The shell scripts that start several processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("local_multiprocess.sh", "slurm.sbatch", "tpu_vm.sh")
TRAIN = ("launch.train", "--config=configs/paper_group.py:smoke", "--workdir=a b")


@pytest.fixture
def bash(tmp_path):
    """Runs a script of `launch/`, with small programs in place of a cluster's."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def run(script, *arguments, stubs=(), **environment):
        for name, text in dict(stubs).items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        env |= {"PATH": f"{folder}:/usr/bin:/bin", "PYTHON": sys.executable}
        command = ["bash", str(ROOT / "launch" / script), *arguments]
        return subprocess.run(
            command,
            env=env | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=540,
        )

    return run


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_bash_and_clean_under_shellcheck(script):
    path = str(ROOT / "launch" / script)
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)


SLURM = dict(
    SLURM_SUBMIT_DIR=str(ROOT),
    SLURM_JOB_NODELIST="n[1-2]",
    SLURM_JOB_ID="20007",
    SLURM_NTASKS="8",
)
HOSTS = {"scontrol": "printf 'n1\\nn2\\n'"}


def test_slurm_dry_run_prints_what_it_would_do(bash):
    stubs = HOSTS | {"srun": "echo started; exit 1"}
    done = bash("slurm.sbatch", *TRAIN, stubs=stubs, **SLURM, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    assert "JAX_COORDINATOR_ADDRESS=n1:20007\nJAX_NUM_PROCESSES=8\n" in done.stdout
    assert "latency_hiding_scheduler=true" in done.stdout
    assert "'srun'" in done.stdout and "'--workdir=a b'" in done.stdout
    assert "started" not in done.stdout


def test_slurm_tasks_know_their_number_and_gpu(bash):
    task = 'SLURM_PROCID=5 SLURM_LOCALID=1 exec "$@"'
    python = 'echo "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES, GPU $CUDA_VISIBLE_DEVICES"'
    stubs = HOSTS | {"srun": task, "py": python + '; for a; do echo "<$a>"; done'}
    flags = dict(PYTHON="py", XLA_FLAGS="--mine")
    done = bash("slurm.sbatch", *TRAIN, stubs=stubs, **SLURM, **flags)
    assert done.returncode == 0, done.stderr
    wanted = ["5 of 8, GPU 1", "<-m>", *(f"<{word}>" for word in TRAIN)]
    assert done.stdout.splitlines() == wanted


def curl(endpoints):
    return (
        'for last; do :; done; case "$last" in '
        f"*/worker-network-endpoints) echo {endpoints};; "
        "*/agent-worker-number) echo 1;; *) exit 22;; esac"
    )


@pytest.mark.parametrize("hosts", [1, 3])
def test_tpu_dry_run(bash, hosts):
    endpoints = ",".join(f"a:b:10.0.0.{i}" for i in range(hosts))
    stubs = {"curl": curl(endpoints)}
    done = bash("tpu_vm.sh", *TRAIN, stubs=stubs, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    *variables, command = done.stdout.splitlines()
    assert command.endswith("'launch.train' " + " ".join(f"'{a}'" for a in TRAIN[1:]))
    together = [
        "JAX_COORDINATOR_ADDRESS=10.0.0.0:8476",
        "JAX_NUM_PROCESSES=3",
        "JAX_PROCESS_ID=1",
    ]
    assert variables == (together if hosts > 1 else [])


def test_local_dry_run_gives_each_process_its_number_and_gpu(bash):
    stubs = {"nvidia-smi": "exit 0"}
    done = bash("local_multiprocess.sh", "2", *TRAIN, stubs=stubs, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines):
        assert f"'JAX_PROCESS_ID={number}'" in line and "'JAX_NUM_PROCESSES=2'" in line
        assert f"'CUDA_VISIBLE_DEVICES={number}'" in line and "latency_hiding" in line
    ports = re.findall(r"127\.0\.0\.1:(\d+)", done.stdout)
    assert len(ports) == 2 and len(set(ports)) == 1


@pytest.mark.multiprocess
def test_a_process_that_fails_ends_the_others(bash):
    stubs = {
        "py": 'if [ "$1" = -c ]; then echo 1; exit; fi\n'
        'if [ "$JAX_PROCESS_ID" = 1 ]; then exit 3; fi\nexec sleep 60'
    }
    done = bash("local_multiprocess.sh", "2", *TRAIN, stubs=stubs, PYTHON="py")
    assert done.returncode == 3


SMALL = (
    *("--config.study.rows=16", "--config.study.cols=16"),
    *("--config.study.voxel_mm=16.0", "--config.gen.levels=2"),
    *("--config.gen.refine_levels=1", "--config.critic.levels=1"),
    *("--config.train.num_steps=2", "--config.data.batch_size=2"),
)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_local_processes_train_together(bash, tmp_path):
    work = tmp_path / "two"
    argv = [*TRAIN[:2], f"--workdir={work}", *SMALL]
    done = bash("local_multiprocess.sh", "2", *argv, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("final checkpoint digest") == 1
    assert [int(p.name) for p in (work / "ckpt").iterdir()] == [2]


@pytest.mark.parametrize("script", ["local_multiprocess.sh", "tpu_vm.sh"])
def test_without_arguments_it_says_how(bash, script):
    done = bash(script)
    assert done.returncode == 2 and "launch.train" in done.stderr
