"""Scattered radiation as a wide Gaussian added to the primary image.

S = a G_sigma(P L^b): the signal that a ray loses is scattered around it. `a` is set so
that scatter over primary, in the densest part of the first frame, equals `spr`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float

from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.xray.blur import blur

Array = jax.Array
Scalar = Any
Leaf = Any  # an array, or what `jax.tree.map` puts in its place

HALF_PATIENT_MM = 120.0  # a patient 240 mm thick about the isocentre
REFERENCE_GAP_MM = 380.0  # exit surface to panel at SAD 1000, SDD 1500
# Effective scatter source inside the exit surface: ours, the middle of 150 to 200 mm.
SOURCE_DEPTH_MM = 175.0
DENSE_SHARE = 0.1  # of the frame's pixels: those of largest line integral


@struct.dataclass
class Scatter:
    """Scatter that reaches the panel.

    Attributes:
        spr: scatter over primary in the mediastinum, without a grid and with an air
            gap of 380 mm [1].
        sigma_mm: standard deviation of the scatter kernel at the detector, mm.
        power: b, how scatter grows with the line integral [1].
        gap_mm: air between the patient's exit surface and the panel, mm.
        region: `[H, W]` weights of the pixels in which `spr` holds; None takes the
            tenth of the first frame with the largest line integrals.
    """

    spr: Scalar = 2.0
    sigma_mm: Scalar = 55.0
    power: Scalar = 1.0
    gap_mm: Scalar = REFERENCE_GAP_MM
    region: Leaf | None = None


@struct.dataclass
class AntiscatterGrid:
    """What a grid lets through.

    Attributes:
        primary: share of the primary that passes [1].
        scatter: share of the scatter that passes [1].

    Source:
        A 10:1 grid measured on a linac's panel behind 30 cm of acrylic: Altunbas et
        al. 2017, doi:10.1002/mp.12346.
    """

    primary: Scalar = 0.71
    scatter: Scalar = 0.21


def scatter_signal(
    primary: Float[Array, "t h w"],
    open_primary: Float[Array, "t h w"],
    geometry: Geometry,
    scatter: Scatter,
) -> Float[Array, "t h w"]:
    """Returns the scatter at the panel, before any grid.

    Args:
        primary: `[T, H, W]` primary signal, 1 in the open beam, behind the jaws.
        open_primary: the same with the jaws open; sets `a`, which is the patient's.
        geometry: the view.
        scatter: its parameters.

    Returns:
        `[T, H, W]` in the unit of `primary`.

    Source:
        The form is that of the scatter kernels of Ohnesorge et al. 1999
        (doi:10.1007/s003300050710); air gap as a point source inside the patient.
    """
    veil = _veil(primary, geometry, scatter)
    first = open_primary[:1]
    region = scatter.region
    region = dense_region(first[0]) if region is None else jnp.asarray(region)
    under = jnp.sum(region * _veil(first, geometry, scatter)[0])
    strength = scatter.spr * jnp.sum(region * first[0]) / jnp.maximum(under, 1e-12)
    return strength * gap_factor(scatter.gap_mm) * veil


def gap_factor(gap_mm: Scalar) -> Scalar:
    """Returns scatter with an air gap over that with 380 mm [1].

    ((380 + x) / (gap + x))^2 for a point source at depth x in the patient. It changes
    the strength of scatter only, not the width of its kernel.

    Args:
        gap_mm: patient's exit surface to panel, mm.
    """
    nearer = (REFERENCE_GAP_MM + SOURCE_DEPTH_MM) / (gap_mm + SOURCE_DEPTH_MM)
    return nearer * nearer


def air_gap_mm(geometry: Geometry) -> Scalar:
    """Returns the air between a patient 240 mm thick and the panel of a view, mm."""
    return geometry.sdd_mm - geometry.sad_mm - HALF_PATIENT_MM


def dense_region(primary: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Returns `[H, W]`: 1 in the tenth of pixels with the least primary, else 0."""
    return (primary <= jnp.quantile(primary, DENSE_SHARE)).astype(jnp.float32)


def _veil(primary: Array, geometry: Geometry, scatter: Scatter) -> Array:
    line = jnp.maximum(-jnp.log(jnp.maximum(primary, 1e-8)), 0.0)
    hit = line > 1e-6
    thick = jnp.where(hit, jnp.where(hit, line, 1.0) ** scatter.power, 0.0)
    rows, cols = (scatter.sigma_mm / pitch for pitch in geometry.pixel_mm)
    return blur(primary * thick, (rows, cols), closed=False)
