"""The simulator, and its projector beside DiffDRR's renderers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.xray import projector as projecting
from fluoro_jax.studies import StudySpec
from launch.bench import timing

Row = dict[str, Any]


PEERS = ("diffdrr_siddon", "diffdrr_trilinear")
VOLUME_MM = (384.0, 256.0, 352.0)  # x, y, z: 192 x 128 x 176 voxels at the full preset


def projector(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """One view of a volume at gantry 0 and 30 degrees, and its gradient by the volume.

    The volume is smooth, so that ways of sampling it agree: sums of waves under a
    Gaussian.
    """
    grid, mu = projector_volume(cfg.study.voxel_mm)
    panel = StudySpec.from_config(cfg.study).geometry()
    rows = []
    for angle in (0.0, 30.0):
        view = dataclasses.replace(panel, gantry_deg=angle)
        look = lambda mu, view=view: projecting.project(mu, grid, view)
        square = lambda mu, look=look: jnp.mean(jnp.square(look(mu)))
        for variant, function in (("forward", look), ("grad", jax.grad(square))):
            programs: dict[str | None, timing.Program] = {
                None: timing.compile_program(function, mu)
            }

            def make(peer: str, view: Any = view, variant: str = variant) -> Any:
                from launch.bench.peers import diffdrr_projector

                return diffdrr_projector.projector_program(
                    peer, mu, grid, view, variant=variant
                )

            names = {"what": "projector", "variant": f"{variant}, gantry {angle:g}"}
            names["preset"] = cfg.name
            failed = timing.add_peers(programs, peers, make, names)
            rows += timing.compare(programs, names, repeats) + failed
    return rows


def projector_volume(voxel_mm: float) -> tuple[Grid, np.ndarray]:
    """A volume of `VOLUME_MM` about the isocentre: where it is, `[Z, Y, X]` 1/mm."""
    counts = [round(length / voxel_mm) for length in VOLUME_MM]
    first = tuple(-0.5 * (n - 1) * voxel_mm for n in counts)
    grid = Grid((first[0], first[1], first[2]), (voxel_mm, voxel_mm, voxel_mm))
    axes = [np.linspace(-1, 1, n) for n in reversed(counts)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    waves = 1.0 + 0.3 * np.sin(9.0 * x + 2.0) * np.cos(7.0 * y) * np.sin(8.0 * z)
    mu = 0.02 * waves * np.exp(-4.0 * (x**2 + y**2 + z**2))
    return grid, mu.astype(np.float32)
