"""Commands, workdirs and surroundings that no run can have."""

from __future__ import annotations

import json
import warnings

import pytest
from bad import Bad

from configs.paper_group import get_config
from fluoro_jax.cli import commands, surroundings
from fluoro_jax.training import workdir
from launch import benchmark

SMOKE = "--config=configs/paper_group.py:smoke"


def _read(argv):
    with warnings.catch_warnings(action="ignore"):  # ml_collections: load_module()
        commands.parse("train", argv)


def _parse(*argv):
    return lambda folder: _read(argv)


def _config_file(text):
    def call(folder):
        path = folder / "mine.py"
        path.write_text(text)
        _read([f"--config={path}", f"--workdir={folder}/run"])

    return call


def _config_json(text):
    def call(folder):
        (folder / "config.json").write_text(text)
        workdir.check_same_config(workdir.resolve(get_config("smoke")), folder)

    return call


def _under(name, value, call):
    def run(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            call(folder)

    return run


def _no_backend(folder):
    raise surroundings.explained(RuntimeError("Unable to initialize backend 'tpux'"))


def _rows_of(text):
    def call(folder):
        (folder / "rows.jsonl").write_text(text)
        benchmark._earlier(folder / "rows.jsonl")

    return call


FORK = """
from configs.base import base_config
def get_config(preset=""):
    c = base_config("smoke")
    c.gen.levels = "%s"
    return c
"""
OTHER = json.dumps({**workdir.resolve(get_config("smoke")), "seed": 1})
ROWS = [
    Bad("no config", _parse("--workdir=w"), ("--config",)),
    Bad("no workdir", _parse(SMOKE), ("--workdir",)),
    Bad("an unknown home", _parse(SMOKE, "--workdir=~nobody_here/x"), ("no home",)),
    Bad("a blank workdir", _parse(SMOKE, "--workdir= "), ("an empty path",)),
    Bad("a word", _parse(SMOKE, "--workdir=w", "x"), ("'x'",)),
    Bad("a fork's TypeError", _config_file(FORK % ("x" * 900)), ("TypeError", "...")),
    Bad("a workdir of another run", _config_json(OTHER), ("another config", "seed")),
    Bad("a config.json cut short", _config_json("{"), ("cannot be read",)),
    Bad(
        "an unknown platform",
        _under("JAX_PLATFORMS", "tpux", _no_backend),
        ("JAX_PLATFORMS = 'tpux'", "unset"),
    ),
    Bad(
        "an unknown XLA flag",
        lambda folder: surroundings._check_flags("--xla_no_such_flag=1"),
        ("--xla_no_such_flag", "unset XLA_FLAGS"),
    ),
    Bad("rows that are none", _rows_of("a report\n"), ("--json=", "rows_2.jsonl")),
]
