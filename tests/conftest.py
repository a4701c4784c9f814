"""Four virtual devices, strict broadcasting, and a cache that spares recompiling."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A study in miniature, evaluated (`fakes.fake_results`)."""
    from fakes import fake_results

    return fake_results(tmp_path_factory.mktemp("run"))
