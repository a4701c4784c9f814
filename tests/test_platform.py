"""A run asked for a GPU starts on one or not at all; XLA's flags for equal bits."""

from __future__ import annotations

import os

import jax
import pytest

from configs import best_group, paper_all, paper_group
from fluoro_jax import config
from fluoro_jax.cli import commands, surroundings
from fluoro_jax.errors import UserError
from fluoro_jax.experiments import reproduce
from fluoro_jax.training.loop import train

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
GPU = "--config.platform=gpu"
SMOKE = "--config=configs/best_group.py:smoke"


def smoke(**values):
    cfg = best_group.get_config("smoke")
    cfg.update(values)
    return cfg


@pytest.mark.parametrize("verb", ["train", "evaluate", "reproduce"])
def test_a_gpu_that_is_not_there_is_four_lines(verb, tmp_path, capsys):
    argv = [SMOKE, f"--workdir={tmp_path}/w", GPU]
    assert commands.run(verb, argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and lines[0] == (
        "ERROR   platform = 'gpu', and JAX runs on the cpu"
    )
    assert "on two CPU cores its training takes 1 min or more" in lines[2]
    assert "[cuda]" in lines[1] and "[cuda12]" in lines[1]
    assert "fluoro_jax[cuda]" in lines[3] and "--config.platform= " in lines[3]
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("call", [train, reproduce.reproduce])
def test_the_functions_refuse_too(call, tmp_path):
    with pytest.raises(UserError, match="JAX runs on the cpu"):
        call(smoke(platform="gpu"), tmp_path / "w")
    with pytest.raises(UserError, match="JAX runs on the cpu"):
        reproduce.reproduce(
            smoke(platform="gpu"), tmp_path / "w", network_of=(smoke(), tmp_path)
        )
    assert not (tmp_path / "w").exists()


def test_the_time_on_a_cpu_is_that_of_the_measured_step():
    """docs/performance.md: 5.2 s a step at the paper's size, one clip a batch."""
    cfg = paper_group.get_config("full")
    cfg.data.batch_size = 1
    assert 3600.0 * config.cpu_hours(cfg) / cfg.train.num_steps == pytest.approx(5.2)
    # configs/paper_group.py: `cpu`, of other pixels and levels, took about 12 min.
    assert config.cpu_words(paper_group.get_config("cpu")) == "12 min"
    assert config.cpu_words(paper_group.get_config("gpu")) == "39 days"
    cfg = best_group.get_config("full")  # trains without the critic
    alone = config.cpu_hours(cfg)
    cfg.train.accumulate = 3
    assert config.cpu_hours(cfg) == pytest.approx(3.0 * alone)
    assert alone == pytest.approx(2500 * 2 * 2 * config.CPU_GEN_S / 3600.0)


@pytest.mark.parametrize("platform", ["", "cpu"])
def test_the_platform_that_is_there_is_taken(platform):
    config.check_platform(smoke(platform=platform))
    with pytest.raises(UserError, match=r"\[tpu\]"):
        config.check_platform(smoke(platform="tpu"))


def test_equal_bits_are_asked_of_xla_before_it_starts(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    surroundings.settle_flags(smoke())
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x"
    for _ in range(2):  # once, however often
        surroundings.settle_flags(smoke(deterministic=True))
        assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {config.DETERMINISTIC}"
    monkeypatch.delenv("XLA_FLAGS")
    plan = paper_all.get_config("smoke")
    plan.parts.best_patient.run.deterministic = True
    surroundings.settle_flags(plan)
    assert os.environ["XLA_FLAGS"] == config.DETERMINISTIC


def test_a_gpu_without_the_flag_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(UserError, match="deterministic = True without"):
        config.check_platform(smoke(deterministic=True))
    monkeypatch.setenv("XLA_FLAGS", config.DETERMINISTIC)
    config.check_platform(smoke(deterministic=True))


def test_the_flag_is_one_that_xla_knows(monkeypatch):
    surroundings._check_flags(config.DETERMINISTIC)
