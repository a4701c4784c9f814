"""Describes the benchmark's machine and measures its peak rates."""

from __future__ import annotations

import os
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


def record() -> dict[str, Any]:
    """Processor, cores, load, devices and versions, as one JSON object."""
    device = jax.devices()[0]
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":", 1)[1] for line in lines if "model name" in line]
        return names[0].strip()
    except (OSError, IndexError):  # not Linux, or a processor that does not say
        return platform.processor()
