"""The error of a perfect mask on a pixel grid: a bound on every IoU and distance.

Command: python -m fluoro_jax.sim.quantisation

A strict mask counts a pixel when its centre's ray crosses the tumour. Even a perfect
answer in whole pixels therefore misses the true shadow's area, edge and centroid by
amounts that depend on the frame's size only. The table is kept in docs/quantisation.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.tumor.tumor import (
    Tumor,
    sphere_centroid_px,
    tumor_coverage,
    tumor_mask,
)

FRAMES = (32, 64, 96, 128, 256)
DIAMETERS_MM = (12.0, 20.0, 30.0, 40.0)
DETECTOR_MM = 480.0
PLACES = 200  # spheres at random places within a pixel
FINE = 8  # rows and columns of rays in a pixel that stand for the true shadow
HEAD = (
    "| frame | pixel mm | diameter mm | IoU mean | IoU 5th % | area error % "
    "| centroid mm mean | centroid mm 95th % |"
)


def measure(pixels: int, diameter_mm: float, *, seed: int = 0) -> dict[str, float]:
    """Returns the error of a sphere's binary mask against its exact outline.

    Args:
        pixels: rows and columns of the frame over 480 mm at the detector.
        diameter_mm: of the sphere, near the isocentre.
        seed: of its places.

    Returns:
        pixel_mm (in the isocentre plane); iou, iou_p5 of mask and shadow; area_pct,
        the standard deviation of the mask's relative area; centroid_mm,
        centroid_p95_mm, the distance of the centroids in the isocentre plane.
    """
    pitch = DETECTOR_MM / pixels
    side = math.ceil(1.6 * diameter_mm / pitch) + 4  # the panel about the tumour
    view = Geometry(1000.0, 1500.0, 0.0, side, side, (pitch, pitch))
    shift = np.random.default_rng(seed).uniform(-0.5, 0.5, (PLACES, 3)) * pitch / 1.5
    rows, cols = (
        np.arange(side, dtype=np.float32).reshape(s) for s in ((-1, 1), (1, -1))
    )

    @jax.jit
    @jax.vmap
    def one(centre: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        tumor = Tumor(centre, diameter_mm, 0.0, 0.0)
        mask = tumor_mask(view, tumor, centre)
        soft = tumor_coverage(view, tumor, centre, subrays=FINE)
        common = jnp.sum(mask * soft)
        area, true_area = jnp.sum(mask), jnp.sum(soft)
        place = jnp.stack([jnp.sum(mask * rows), jnp.sum(mask * cols)])
        miss = place / jnp.maximum(area, 1.0) - sphere_centroid_px(
            view, centre, diameter_mm
        )
        return common, area, true_area, jnp.linalg.norm(miss)

    common, area, true_area, miss_px = jax.device_get(
        one(jnp.asarray(shift, jnp.float32))
    )
    iou = common / (area + true_area - common)
    miss_mm = miss_px * pitch / 1.5
    return {
        "pixel_mm": pitch / 1.5,
        "iou": float(iou.mean()),
        "iou_p5": float(np.percentile(iou, 5)),
        "area_pct": float(100.0 * np.std(area / true_area - 1.0)),
        "centroid_mm": float(miss_mm.mean()),
        "centroid_p95_mm": float(np.percentile(miss_mm, 95)),
    }


def table(
    frames: Sequence[int] = FRAMES, diameters_mm: Sequence[float] = DIAMETERS_MM
) -> str:
    """Returns the measurements as a Markdown table."""
    lines = [HEAD, "|" + " --- |" * (HEAD.count("|") - 1)]
    for pixels in frames:
        for diameter_mm in diameters_mm:
            m = measure(pixels, diameter_mm)
            row = (
                f"{pixels} {m['pixel_mm']:.2f} {diameter_mm:.0f} {m['iou']:.3f} "
                f"{m['iou_p5']:.3f} {m['area_pct']:.1f} {m['centroid_mm']:.3f} "
                f"{m['centroid_p95_mm']:.3f}"
            )
            lines.append("| " + " | ".join(row.split()) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
