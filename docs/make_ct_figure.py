"""Draws docs/ct_projection.png: a CT seen by the X-ray machine from two sides.

Command: python docs/make_ct_figure.py CT.mha [OUT.png]

The picture in docs/ was made from `3DCT_lung_baseline_result.mha`, one lung, from the
test data of elastix (https://github.com/SuperElastix/elastix, Apache-2.0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from fluoro_jax.geometry import Geometry
from fluoro_jax.io.ct import read_ct
from fluoro_jax.sim.ct import ct_volume
from fluoro_jax.sim.xray.projector import project

# (gantry angle, letters at left, right, top, bottom), as seen from the source
VIEWS = ((0.0, "RLSI"), (90.0, "APSI"))
PIXEL_MM = 0.6  # at the isocentre


def main(ct_path: str, out: str = "docs/ct_projection.png") -> None:
    """Reads, projects and draws."""
    hu, grid = read_ct(Path(ct_path))
    volume = ct_volume(hu, grid)
    nz, ny, nx = hu.shape
    dx, dy, dz = grid.spacing_mm
    rows = int(1.06 * nz * dz / PIXEL_MM)
    cols = int(1.06 * max(nx * dx, ny * dy) / PIXEL_MM)
    pitch = 1.5 * PIXEL_MM
    figure, axes = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
    for ax, (angle, letters) in zip(axes, VIEWS, strict=True):
        view = Geometry(1000.0, 1500.0, angle, rows, cols, (pitch, pitch))
        line = np.asarray(project(volume.mu(), volume.grid, view))
        shown = ax.imshow(line, cmap="gray", vmin=0.0, vmax=np.percentile(line, 99.8))
        figure.colorbar(shown, ax=ax, label="line integral at 60 keV", shrink=0.8)
        for letter, place in zip(
            letters, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.97), (0.5, 0.03)), strict=True
        ):
            ax.text(
                *place,
                letter,
                transform=ax.transAxes,
                color="gold",
                weight="bold",
                size=14,
                ha="center",
                va="center",
            )
        ax.set_title(f"gantry {angle:g} degrees, seen from the source")
        ax.set_axis_off()
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
