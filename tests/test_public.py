"""The public names: all there, and none imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import fluoro_jax


def test_every_public_name_is_there():
    for name in fluoro_jax.__all__:
        assert getattr(fluoro_jax, name) is not None
    assert set(dir(fluoro_jax)) == set(fluoro_jax.__all__)


def test_importing_the_package_starts_nothing():
    code = (
        "import sys, fluoro_jax; fluoro_jax.__version__;"
        "heavy = {'jax', 'numpy', 'flax', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
