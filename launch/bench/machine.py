"""Describes the benchmark's machine and measures its peak rates."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.cli.surroundings import processor_name
from fluoro_jax.training.precision import PRECISIONS
from launch.bench import timing


def ceilings(size: int = 2048, mib: int = 256, repeats: int = 5) -> dict[str, float]:
    """The machine's limits: best of `repeats` of a large product and a large copy.

    Args:
        size: rows and columns of the float32 matrices.
        mib: of the array copied; each byte is read once and written once.
        repeats: runs of each.

    Returns:
        gflop_per_s and gbyte_per_s.
    """
    square = np.ones((size, size), np.float32)
    long = np.ones(mib * 2**18, np.float32)
    product = timing.compile_program(lambda a: a @ a, square)
    copy = timing.compile_program(lambda a: a + jnp.float32(1.0), long)
    for program in (product, copy):
        program.run()
    fastest = timing.run_in_turn([product, copy], repeats).min(axis=1)
    return {
        "gflop_per_s": 2.0 * size**3 / 1e9 / float(fastest[0]),
        "gbyte_per_s": 2.0 * long.nbytes / 1e9 / float(fastest[1]),
    }


def product_limits(
    precisions: Iterable[str], size: int = 8192, repeats: int = 5
) -> dict[str, float]:
    """An accelerator's limit in a large product at each precision; empty on a CPU.

    Args:
        precisions: of float32, tf32 and bfloat16.
        size: rows and columns.
        repeats: runs of each; the fastest counts.

    Returns:
        gflop_per_s_<precision>, which `timing.add_shares` compares rows with.
    """
    found = {}
    if jax.default_backend() == "cpu":  # one unit computes them all
        return found
    for precision in sorted(precisions):
        dtype = "bfloat16" if precision == "bfloat16" else "float32"
        square = jnp.ones((size, size), dtype)
        level = PRECISIONS["tf32" if precision == "tf32" else "highest"]
        with jax.default_matmul_precision(level):
            product = timing.compile_program(lambda a: a @ a, square)
        product.run()
        fastest = timing.run_in_turn([product], repeats).min()
        found[f"gflop_per_s_{precision}"] = 2.0 * size**3 / 1e9 / float(fastest)
    return found


def record() -> dict[str, Any]:
    """Processor, cores, load, devices and versions, as one JSON object."""
    device = jax.devices()[0]
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
