"""The examples in the docstrings of the public entry points run as they are printed."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fluoro_jax"
MODULES = (
    "fluoro_jax.cli.phase_flags",
    "fluoro_jax.cli.stated",
    "fluoro_jax.config_rules",
    "fluoro_jax.geometry",
    "fluoro_jax.io.dicom.patient",
    "fluoro_jax.io.dicom.write",
    "fluoro_jax.io.dicom.phase_names",
    "fluoro_jax.io.files",
    "fluoro_jax.io.memory",
    "fluoro_jax.io.overrides",
    "fluoro_jax.io.read_clip",
    "fluoro_jax.sim.fluoroscope",
    "fluoro_jax.tracking.replay",
    "fluoro_jax.tracking.resample",
    "fluoro_jax.tracking.tracker",
    "fluoro_jax.zoo",
    "fluoro_jax.zoo.registry",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name):
    found = doctest.testmod(importlib.import_module(name), verbose=False)
    assert found.attempted and not found.failed


def test_every_module_with_an_example_is_run():
    files = {p for p in PACKAGE.rglob("*.py") if ">>> " in p.read_text("utf-8")}
    names = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in files
    }
    assert {name.removesuffix(".__init__") for name in names} == set(MODULES)
