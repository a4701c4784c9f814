"""Types passed between the packages: a clip with its truth, and a tracker's answer."""

from __future__ import annotations

from flax import struct

from fluoro_jax.geometry import AnyArray, Geometry

DOMAINS = ("line_integral", "log", "counts", "display")
STATUSES = ("ok", "low_confidence", "missed", "held")


@struct.dataclass
class Clip:
    """A fluoroscopy sequence; row 0 is superior, seen from the source.

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
        domain: what `frames` holds, one of `DOMAINS`: "line_integral" (ideal) or "log"
            (minus the logarithm of a panel's reading over the open beam), both with
            bone bright; "counts" (bone dark); "display" (grey levels in [0, 1]).
    """

    frames: AnyArray
    time_s: AnyArray
    geometry: Geometry
    mask: AnyArray | None = None
    centroid_px: AnyArray | None = None
    centre_mm: AnyArray | None = None
    periodic: bool = struct.field(pytree_node=False, default=False)
    domain: str = struct.field(pytree_node=False, default="line_integral")


@struct.dataclass
class Track:
    """A tracker's answer for one frame.

    Attributes:
        frame: index of the frame answered.
        centroid_px: `[2]` (row, column); NaN when missed.
        centroid_iso_mm: `[2]` (superior, right of image) mm in the isocentre plane
            from the isocentre; NaN when missed.
        probability: `[H, W]` in [0, 1]: mask probability of each pixel.
        confidence: in [0, 1].
        status: one of `STATUSES`: "ok"; "low_confidence"; "missed" (an empty
            prediction); "held" (predicted from earlier frames, for a moment
            without a component; `tracking.posterior`, `tracking.anchored`).
    """

    frame: int = struct.field(pytree_node=False)
    centroid_px: AnyArray
    centroid_iso_mm: AnyArray
    probability: AnyArray
    confidence: float
    status: str = struct.field(pytree_node=False)
