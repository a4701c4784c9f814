"""What the rooms hand each other: a film with its truth, and a tracker's answer."""

from __future__ import annotations

import jax
from flax import struct

from fluoro_jax.geometry import Geometry

Array = jax.Array


@struct.dataclass
class Clip:
    """A fluoroscopy film; row 0 is superior, seen from the source.

    Attributes:
        frames: `[T, H, W]` float32, line integrals [1] (see `domain`).
        time_s: `[T]` acquisition times, s; uneven allowed.
        geometry: the view; gives every pixel its millimetres.
        mask: `[T, H, W]` in {0, 1}, the tumour's projection, or None.
        centroid_px: `[T, 2]` (row, column), closed-form centroid of the tumour's
            outline on the detector (not of the pixel mask), or None.
        centre_mm: `[T, 3]` the tumour's centre in IEC axes about the isocentre, or
            None.
        periodic: exactly one breathing period, so a stack of frames may wrap.
        domain: what `frames` holds: "line_integral" or "log" (bone bright), "counts"
            (bone dark) or "display" (grey levels in [0, 1]).
    """

    frames: Array
    time_s: Array
    geometry: Geometry
    mask: Array | None = None
    centroid_px: Array | None = None
    centre_mm: Array | None = None
    periodic: bool = struct.field(pytree_node=False, default=False)
    domain: str = struct.field(pytree_node=False, default="line_integral")


@struct.dataclass
class Track:
    """A tracker's answer for one frame.

    Attributes:
        frame: index of the frame answered.
        centroid_px: `[2]` (row, column); NaN when lost.
        centroid_iso_mm: `[2]` (superior, right of image) mm in the isocentre plane
            from the isocentre; NaN when lost.
        probability: `[H, W]` in [0, 1]: mask probability of each pixel.
        confidence: in [0, 1].
        status: "ok" or "lost" (nothing found).
    """

    frame: int = struct.field(pytree_node=False)
    centroid_px: Array
    centroid_iso_mm: Array
    probability: Array
    confidence: float
    status: str = struct.field(pytree_node=False)
