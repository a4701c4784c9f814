"""DiffDRR's two renderers on our volume and view.

Called directly with source and pixels in voxel coordinates: its `DRR` class would read
the volume from a file and rescale it to a density of its own. Needs PyTorch.

The trilinear one sums n samples at range / (n - 1): n / (n - 1) too much where the
volume reaches both ends of the range, and right where it is zero there, as here (its
range spans all rays, so the ends of each lie outside the volume).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from diffdrr.renderers import Siddon, Trilinear  # pyright: ignore[reportMissingImports]

from fluoro_jax.geometry import (
    Geometry,
    Grid,
    pixel_positions_mm,
    source_mm,
    view_axes,
)
from launch.bench.peers.torch_device import device, tensor, to_numpy, waits
from launch.bench.timing import Program

POINTS = 200  # samples of a ray, of the trilinear renderer
KINDS = {"diffdrr_siddon": Siddon, "diffdrr_trilinear": Trilinear}


def projector_program(
    kind: str, mu: np.ndarray, grid: Grid, geometry: Geometry, *, variant: str
) -> Program:
    """One view of a volume, or the gradient of its mean square by the volume.

    Args:
        kind: one of `KINDS`.
        mu: `[Z, Y, X]` 1/mm.
        grid: where the voxels are.
        geometry: the view.
        variant: "forward" or "grad".
    """
    rays = _rays(grid, geometry)
    volume = tensor(np.ascontiguousarray(mu.transpose(2, 1, 0)))
    renderer = KINDS[kind]().to(device())
    trilinear = kind == "diffdrr_trilinear"
    settings: dict[str, Any] = dict(n_points=POINTS) if trilinear else {}

    def render(volume: torch.Tensor) -> torch.Tensor:
        line = renderer(volume, *rays, **settings)
        return line.reshape(geometry.rows, geometry.cols)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return render(volume)

    def grad() -> torch.Tensor:
        leaf = volume.detach().requires_grad_()
        return torch.autograd.grad(render(leaf).square().mean(), leaf)[0]

    if variant == "forward":
        return Program(waits(forward), read=to_numpy)
    read = lambda answer: to_numpy(answer).transpose(2, 1, 0)
    return Program(waits(grad), read=read)


def _rays(grid: Grid, geometry: Geometry) -> tuple[torch.Tensor, ...]:
    """Source and pixels in voxel coordinates (x, y, z), and each ray's length, mm."""
    right, down, beam = (np.asarray(axis, np.float64) for axis in view_axes(geometry))
    rows, cols = (np.asarray(v, np.float64) for v in pixel_positions_mm(geometry))
    source = np.asarray(source_mm(geometry), np.float64)
    panel = source + geometry.sdd_mm * beam
    pixels = panel + rows[:, None, None] * down + cols[None, :, None] * right
    pixels = pixels.reshape(1, -1, 3)
    length = np.linalg.norm(pixels - source, axis=-1)
    voxels = lambda p: (p - np.asarray(grid.origin_mm)) / np.asarray(grid.spacing_mm)
    arrays = (voxels(source.reshape(1, 1, 3)), voxels(pixels), length[:, None])
    return tuple(tensor(a.astype(np.float32)) for a in arrays)
